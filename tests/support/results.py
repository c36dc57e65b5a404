"""A Trainer node with the output `test_results`, and what was written into it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

RESULTS_SCHEMA = """
    feature { name: "x" type: FLOAT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 2 } } }
    feature { name: "label" type: INT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
"""
TORCH = """
    from torch import nn
    from polytrainer import TorchTrainer

    class Linear(nn.Linear):
        def forward(self, x):
            return super().forward(x)

    class Mine(TorchTrainer):
        def model_fn(self):
            return Linear(2, 3)

    run_fn = Mine("label", metrics=["accuracy"], learning_rate=0.1, classes=["low", "mid", "high"]).run_fn
"""
CITIES = (b"Oslo", b"Rome", b"Bonn")


def rows_of(count, first, seed):
    """Examples of three classes; one in five is another than `x` says. `id` and `city` are in no schema."""
    random = np.random.RandomState(seed)
    for number in range(first, first + count):
        x = np.round(random.randn(2), 3)
        label = int(np.argmax([0.3, *x])) if number % 5 else number % 3
        row = {"x": x.tolist(), "label": [label], "id": [number], "city": [CITIES[number % 3]]}
        yield row if number % 4 else {**row, "note": [b"\0 rare", b""]}


def read(pattern):
    """Examples of files, in order, as name → list."""
    import tensorflow as tf

    files = sorted(tf.io.gfile.glob(str(pattern)))
    for record in tf.data.TFRecordDataset(files, "GZIP").as_numpy_iterator():
        features = tf.train.Example.FromString(record).features.feature
        yield {name: list(getattr(each, each.WhichOneof("kind")).value) for name, each in features.items()}


def publish_as_examples(node):
    """Makes the node's test results TFX's Examples, as `Trainer(test_results_as_examples=True)` does."""
    from tfx.types import standard_artifacts

    artifact = standard_artifacts.Examples()
    artifact.uri = node.test_results.uri
    node.test_results = artifact
    node.output_dict["test_results"] = [artifact]


@pytest.fixture
def with_results(tmp_path):
    """Gives a node the output `test_results`, and `told(split)` and `stored(split)`: what is written, what was read."""
    from polytrainer import TestResults

    def give(node):
        artifact = TestResults()
        artifact.uri = str(tmp_path / "test_results")
        Path(artifact.uri).mkdir()
        node.output_dict["test_results"] = [artifact]
        node.test_results = artifact
        node.told = lambda split="test": list(read(Path(artifact.uri, f"Split-{split}", "*")))
        node.stored = lambda split="test": list(read(node.examples_uri / f"Split-{split}" / "*"))
        node.metric = lambda name: node.model.mlmd_artifact.custom_properties[f"metric.{name}"].double_value
        return node

    return give


@pytest.fixture
def tested_node(node, splits, with_results):
    """The `node` with 60, 11 and 23 of the rows above, the last in two files, a schema, and `test_results`."""
    counts = {"train": [60], "eval": [11], "test": [13, 10]}
    first = 0
    for split, sizes in counts.items():
        folder = node.examples_uri / f"Split-{split}"
        next(folder.iterdir()).unlink()
        for shard, count in enumerate(sizes):
            rows = list(rows_of(count, first, first))
            splits.write(folder / f"data_tfrecord-{shard:05d}-of-{len(sizes):05d}.gz", rows)
            first += count
    node.give("schema", "Schema", "schema", {"schema.pbtxt": RESULTS_SCHEMA})
    node.exec_properties["train_args"] = json.dumps({"num_epochs": 3, "batch_size": 8, "seed": 1})
    node.exec_properties["eval_args"] = json.dumps({"test_splits": ["test"]})
    return with_results(node)


@pytest.fixture(scope="session")
def without_model(tmp_path_factory):
    """TFX's own Evaluator without a model: `without_model(examples, config, split)` → metrics by slice."""

    def evaluate(artifact, config, split="test"):
        import tensorflow_model_analysis as tfma
        from tfx.components.evaluator.executor import Executor
        from tfx.types import standard_artifacts

        from polytrainer.pipelines.penguins.pipeline import local_beam_args

        evaluation = standard_artifacts.ModelEvaluation()
        evaluation.uri = str(tmp_path_factory.mktemp("evaluation"))
        context = Executor.Context(beam_pipeline_args=local_beam_args(), tmp_dir=evaluation.uri, unique_id="1")
        told = {"eval_config": json.dumps(config), "example_splits": json.dumps([split])}
        Executor(context).Do({"examples": [artifact]}, {"evaluation": [evaluation]}, told)
        found = {}
        for key, outputs in tfma.load_eval_result(evaluation.uri).slicing_metrics:
            [[values]] = [list(classes.values()) for classes in outputs.values()]
            found[key] = SimpleNamespace(**{name: each.get("doubleValue") for name, each in values.items()})
        return found

    return evaluate
