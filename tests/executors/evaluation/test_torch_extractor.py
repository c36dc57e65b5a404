"""A PyTorch program in TFX's own Evaluator: metrics, slices, thresholds and a baseline, as for a SavedModel."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytestmark = pytest.mark.line

EXTRACTOR = "polytrainer.executors.evaluation.torch_extractor"
CITIES, KINDS = ["Oslo", "Rome"], ["low", "high"]
ROWS: list[dict[str, Any]] = [
    {
        "city": [[b"Oslo"], [b"Rome"], [b"Bonn"]][i % 3],
        "ids": [i % 5, 1] * (i % 3),
        "age": [0.1 * i] if i % 4 else [],
        "kind": [[b"low"], [b"high"]][(i % 3 == 1) ^ (i % 7 == 0)],
        "score": [0.5 * i],
    }
    for i in range(30)
]
LABELS = [KINDS.index(row["kind"][0].decode()) for row in ROWS]


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory, splits: Any) -> Any:
    """An artifact with the rows above as both splits."""
    from tfx.types import standard_artifacts

    folder = tmp_path_factory.mktemp("examples")
    for split in ("train", "eval"):
        (folder / f"Split-{split}").mkdir()
        splits.write(folder / f"Split-{split}" / "data_tfrecord-00000-of-00001.gz", ROWS)
    artifact = standard_artifacts.Examples()
    artifact.uri, artifact.split_names = str(folder), '["train", "eval"]'
    return artifact


def trained(folder: Path, trainer: Any, examples: Any, **options: Any) -> Any:
    """A model artifact: `Format-Serving` with the program, `Format-Torch` with what comes before it."""
    from tfx.types import standard_artifacts

    files = {split: f"{examples.uri}/Split-{split}/*" for split in ("train", "eval")}
    trainer.fit(
        files["train"],
        files["eval"],
        output_dir=str(folder),
        **{"num_epochs": 1, "batch_size": 8, "seed": 1, **options},
    )
    model = standard_artifacts.Model()
    model.uri = str(folder / "model")
    return model


def cities(**options: Any) -> Any:
    """A trainer on words, some unknown, on any number of ids, and on ages that may be missing; its label is a word."""
    import tensorflow as tf
    from torch import nn

    from polytrainer import Features, TorchTrainer, Vocabulary

    class Cities(TorchTrainer):
        def model_fn(self) -> Any:
            sizes, words = {"city": 1, "ids": None, "age": 1}, {"city": 3, "ids": 5}
            features = Features(sizes, vocabulary_sizes=words, masks=["age"])
            return nn.Sequential(features, nn.Linear(features.out_features, 2))

    spec = {
        "city": tf.io.FixedLenFeature([1], tf.string),
        "ids": tf.io.VarLenFeature(tf.int64),
        "age": tf.io.VarLenFeature(tf.float32),
        "kind": tf.io.FixedLenFeature([1], tf.string),
    }
    encoders = {"city": Vocabulary(CITIES, num_oov=1), "kind": Vocabulary(KINDS)}
    return Cities("kind", feature_spec=spec, defaults={"age": -1.0}, encoders=encoders, **options)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, examples: Any) -> Any:
    """One that has learned something."""
    return trained(tmp_path_factory.mktemp("model"), cities(learning_rate=0.05), examples, num_epochs=4)


@pytest.fixture
def evaluate(tmp_path: Path, examples: Any) -> Callable[..., SimpleNamespace]:
    """Runs TFX's executor: `evaluate(model, eval_config, baseline=None, …)` → metrics by slice, whether blessed."""

    def run(model: Any, config: Mapping[str, Any], baseline: Any = None, schema: Any = None, **properties: Any) -> Any:
        import tensorflow_model_analysis as tfma
        from tfx.components.evaluator.executor import Executor
        from tfx.types import standard_artifacts

        from polytrainer.pipelines.penguins.pipeline import local_beam_args

        evaluation, blessing = standard_artifacts.ModelEvaluation(), standard_artifacts.ModelBlessing()
        for name, artifact in (("evaluation", evaluation), ("blessing", blessing)):
            artifact.uri = str(tmp_path / name)
            shutil.rmtree(artifact.uri, ignore_errors=True)
        optional = {"baseline_model": baseline, "schema": schema}
        inputs = {"examples": [examples], "model": [model], **{key: [each] for key, each in optional.items() if each}}
        told = {"eval_config": json.dumps(config), "module_path": EXTRACTOR, **properties}
        executor = Executor(
            Executor.Context(beam_pipeline_args=local_beam_args(), tmp_dir=str(tmp_path), unique_id="1")
        )
        executor.Do(inputs, {"evaluation": [evaluation], "blessing": [blessing]}, told)
        result = tfma.load_eval_result(evaluation.uri, model_name="candidate" if baseline else None)
        metrics = {}
        for key, outputs in result.slicing_metrics:
            for output, classes in outputs.items():
                for values in classes.values():
                    found = {name: value["doubleValue"] for name, value in values.items() if "doubleValue" in value}
                    metrics.setdefault(key, {}).update({f"{output}{name}": value for name, value in found.items()})
        return SimpleNamespace(metrics=metrics, blessed=Path(blessing.uri, "BLESSED").exists())

    return run


def config(*metrics: Mapping[str, Any], models: Any = None, slices: Any = ()) -> dict[str, Any]:
    return {
        "model_specs": models or [{"label_key": "kind"}],
        "slicing_specs": [{}, *slices],
        "metrics_specs": [{"metrics": list(metrics)}],
    }


def metric(name: str, at_least: float | None = None, change: float | None = None, **options: Any) -> dict[str, Any]:
    threshold: dict[str, Any] = {}
    if at_least is not None:
        threshold["value_threshold"] = {"lower_bound": at_least}
    if change is not None:
        threshold["change_threshold"] = {"direction": "HIGHER_IS_BETTER", "absolute": change}
    return {"class_name": name, "config": json.dumps(options), **({"threshold": threshold} if threshold else {})}


LOSS = metric("SparseCategoricalCrossentropy", from_logits=True)


def logits(model: Any) -> Any:
    """What PyTorch alone says of the rows, from features that are made here."""
    import torch

    program = torch.export.load(Path(model.uri, "Format-Serving", "model.pt2")).module()
    known = {b"Oslo": 0, b"Rome": 1}
    features = {
        "city": torch.tensor([[known.get(row["city"][0], 2)] for row in ROWS]),
        "ids.values": torch.tensor([each for row in ROWS for each in row["ids"]]),
        "ids.row_lengths": torch.tensor([len(row["ids"]) for row in ROWS]),
        "age": torch.tensor([row["age"] or [-1.0] for row in ROWS]),
        "age_mask": torch.tensor([[bool(row["age"])] for row in ROWS]),
    }
    with torch.no_grad():
        return program(features)


def test_metrics_and_slices_are_those_of_pytorch_itself(model: Any, evaluate: Any) -> None:
    import torch

    outputs, labels = logits(model), torch.tensor(LABELS)
    wanted = {}
    for city in (None, "Oslo", "Rome", "Bonn"):
        here = torch.tensor([city in (None, row["city"][0].decode()) for row in ROWS])
        loss = torch.nn.functional.cross_entropy(outputs[here], labels[here])
        wanted[(("city", city),) if city else ()] = {
            "sparse_categorical_crossentropy": float(loss),
            "sparse_categorical_accuracy": float((outputs[here].argmax(1) == labels[here]).float().mean()),
            "example_count": int(here.sum()),
        }
    found = evaluate(
        model,
        config(
            metric("SparseCategoricalAccuracy", at_least=0.2),
            LOSS,
            metric("ExampleCount"),
            slices=[{"feature_keys": ["city"]}],
        ),
    )
    assert found.blessed
    assert set(found.metrics) == set(wanted)
    for key, values in wanted.items():
        assert found.metrics[key] == pytest.approx(values, abs=1e-5), key


BOTH = [{"name": "candidate", "label_key": "kind"}, {"name": "baseline", "label_key": "kind", "is_baseline": True}]


def by_hand(folder: Path, network: Any, transformed: Callable[[Any], Mapping[str, Any]] = lambda _: {}) -> Any:
    """A model artifact of a network on ages and how many ids there are, without a training."""
    import tensorflow as tf
    import torch
    from tfx.types import standard_artifacts

    class Before(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])  # type: ignore[untyped-decorator]
        def program_features(self, examples: Any) -> Any:
            ids = tf.io.RaggedFeature(tf.int64, row_splits_dtype=tf.int64)
            spec = {"age": tf.io.FixedLenFeature([1], tf.float32, [-1.0]), "ids": ids}
            features = tf.io.parse_example(examples, spec)
            return {"zage": features["age"], "ids.row_lengths": features["ids"].row_lengths()}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])  # type: ignore[untyped-decorator]
        def transform_features(self, examples: Any) -> Any:
            return transformed(examples)

    artifact = standard_artifacts.Model()
    artifact.uri = str(folder / "by_hand")
    tf.saved_model.save(Before(), f"{artifact.uri}/Format-Torch/preprocessing")
    sample = {"zage": torch.zeros(3, 1), "ids.row_lengths": torch.zeros(3, dtype=torch.int64)}
    sizes = {name: {0: torch.export.Dim("batch", min=1)} for name in sample}
    Path(artifact.uri, "Format-Serving").mkdir()
    program = torch.export.export(network.eval(), (sample,), dynamic_shapes=(sizes,))
    torch.export.save(program, Path(artifact.uri, "Format-Serving", "model.pt2"))
    return artifact


def kinds(examples: Any) -> Mapping[str, Any]:
    """The label as a program's Transform might make it."""
    import tensorflow as tf

    words = tf.io.parse_example(examples, {"kind": tf.io.FixedLenFeature([1], tf.string)})["kind"]
    return {"kind": tf.cast(words == KINDS[1], tf.int64)}


@pytest.fixture(params=["program", "SavedModel"])
def zeros(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A baseline for which all is the first class."""
    import tensorflow as tf
    from tfx.types import standard_artifacts
    from torch import nn

    class Zeros(nn.Module):  # type: ignore[misc]
        def forward(self, features: Any) -> Any:
            return features["zage"] * 0 * features["zage"].new_tensor([[1.0, 1.0]])

    if request.param == "program":
        return by_hand(tmp_path, Zeros(), kinds)
    artifact = standard_artifacts.Model()
    artifact.uri, module = str(tmp_path / "zeros"), tf.Module()
    functions = {"serving_default": lambda examples: {"outputs": tf.zeros([tf.size(examples), 2])}}
    made = {
        name: tf.function(function, input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
        for name, function in {**functions, "transform_features": kinds}.items()
    }
    tf.saved_model.save(module, f"{artifact.uri}/Format-Serving", signatures=made)
    return artifact


def test_a_baseline_may_be_a_program_or_a_saved_model(
    model: Any, zeros: Any, evaluate: Any, request: pytest.FixtureRequest
) -> None:
    import torch

    ours = float((logits(model).argmax(1) == torch.tensor(LABELS)).float().mean())
    better, enough = ours - LABELS.count(0) / len(LABELS), "program" in request.node.name
    wanted = better + (-0.01 if enough else 0.01)
    found = evaluate(model, config(metric("SparseCategoricalAccuracy", change=wanted), models=BOTH), baseline=zeros)
    assert found.metrics[()]["sparse_categorical_accuracy_diff"] == pytest.approx(better, abs=1e-5)
    assert found.blessed == enough


def preprocessing_fn(inputs: Mapping[str, Any]) -> dict[str, Any]:
    import tensorflow as tf
    import tensorflow_transform as tft

    age = inputs["age"]
    column = tf.SparseTensor(age.indices, age.values, [age.dense_shape[0], 1])
    return {
        "age_xf": tft.scale_to_z_score(tf.sparse.to_dense(column, -1.0)),
        "city_xf": tft.compute_and_apply_vocabulary(inputs["city"]),
        "kind_xf": tft.compute_and_apply_vocabulary(inputs["kind"]),
        "ids_xf": inputs["ids"],
    }


RAW_SCHEMA = """
    feature { name: "city" type: BYTES presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
    feature { name: "ids" type: INT }
    feature { name: "age" type: FLOAT value_count { min: 0 max: 1 } }
    feature { name: "kind" type: BYTES presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
"""


@pytest.fixture
def transform(tmp_path: Path, examples: Any) -> SimpleNamespace:
    """A transform graph, and the rows as it made them: serialized, and in an artifact."""
    import apache_beam as beam
    import tensorflow as tf
    import tensorflow_transform.beam as tft_beam
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2
    from tfx_bsl.coders import example_coder
    from tfx_bsl.public import tfxio

    schema = text_format.Parse(RAW_SCHEMA, schema_pb2.Schema())
    source = tfxio.TFExampleRecord(f"{examples.uri}/Split-eval/*", schema=schema, telemetry_descriptors=["test"])
    made, graph = tmp_path / "transformed", tmp_path / "graph"
    with beam.Pipeline(runner="FnApiRunner") as pipeline, tft_beam.Context(temp_dir=str(tmp_path / "tmp")):
        data = (pipeline | source.BeamSource(), source.TensorAdapterConfig())
        (transformed, _), function = data | tft_beam.AnalyzeAndTransformDataset(
            preprocessing_fn, output_record_batches=True
        )
        function | tft_beam.WriteTransformFn(str(graph))
        rows = transformed | beam.FlatMapTuple(lambda batch, _: example_coder.RecordBatchToExamples(batch))
        for split in ("train", "eval"):
            rows | split >> beam.io.WriteToTFRecord(f"{made}/Split-{split}/data", file_name_suffix=".gz")
    (graph / "metadata").mkdir()  # as TFX's Transform leaves it
    (graph / "metadata" / "schema.pbtxt").write_text(RAW_SCHEMA)
    (tmp_path / "schema").mkdir()
    (tmp_path / "schema" / "schema.pbtxt").write_text(RAW_SCHEMA)
    files = tf.io.gfile.glob(f"{made}/Split-eval/*")
    return SimpleNamespace(
        graph=str(graph),
        schema=str(tmp_path / "schema"),
        examples=SimpleNamespace(uri=str(made)),
        rows=list(tf.data.TFRecordDataset(files, "GZIP").as_numpy_iterator()),
    )


def test_what_transform_makes_is_learned_from_compared_with_and_sliced_by(
    transform: Any, evaluate: Any, tmp_path: Path
) -> None:
    import tensorflow as tf
    import torch
    from tfx.types import standard_artifacts
    from torch import nn

    from polytrainer import Features, TorchTrainer

    class Cities(TorchTrainer):
        def model_fn(self) -> Any:
            features = Features(
                {"city_xf": 1, "ids_xf": None, "age_xf": 1}, vocabulary_sizes={"city_xf": 3, "ids_xf": 5}
            )
            return nn.Sequential(features, nn.Linear(features.out_features, 2))

    model = trained(tmp_path, Cities("kind_xf"), transform.examples, transform_graph=transform.graph)
    spec = {
        "age_xf": tf.io.FixedLenFeature([1], tf.float32),
        "city_xf": tf.io.FixedLenFeature([1], tf.int64),
        "kind_xf": tf.io.FixedLenFeature([], tf.int64),
        "ids_xf": tf.io.RaggedFeature(tf.int64),
    }
    parsed = tf.io.parse_example(tf.constant(transform.rows), spec)
    ids, label = parsed.pop("ids_xf"), torch.tensor(parsed.pop("kind_xf").numpy())
    features = {name: torch.tensor(value.numpy()) for name, value in parsed.items()}
    features["ids_xf.values"], features["ids_xf.row_lengths"] = (
        torch.tensor(part.numpy()) for part in (ids.values, ids.row_lengths())
    )
    with torch.no_grad():
        outputs = torch.export.load(Path(model.uri, "Format-Serving", "model.pt2")).module()(features)
    wanted = {
        (): torch.nn.functional.cross_entropy(outputs, label),
        **{
            (("city_xf", city),): torch.nn.functional.cross_entropy(outputs[here], label[here])
            for city in range(3)
            if (here := features["city_xf"][:, 0] == city).any()
        },
    }
    schema = standard_artifacts.Schema()
    schema.uri = transform.schema
    slices = [{"feature_keys": ["city"]}, {"feature_keys": ["city_xf"]}]
    found = evaluate(model, config(LOSS, models=[{"label_key": "kind_xf"}], slices=slices), schema=schema).metrics
    assert {(("city", city),) for city in ("Oslo", "Rome", "Bonn")} | set(wanted) == set(found)
    for key, loss in wanted.items():
        assert found[key]["sparse_categorical_crossentropy"] == pytest.approx(float(loss), abs=1e-5), key


@pytest.fixture
def two_outputs(tmp_path: Path) -> Any:
    """A model with two outputs, one of them in double precision; it needs no transformed label."""
    import torch
    from torch import nn

    class Two(nn.Module):  # type: ignore[misc]
        def forward(self, features: Any) -> Any:
            count = features["ids.row_lengths"]
            return {"older": features["zage"].double() + 1, "count": torch.stack([count, -count], 1)}

    return by_hand(tmp_path, Two())


def test_one_of_several_outputs_against_a_raw_label_a_missed_threshold_and_the_module_as_a_file(
    two_outputs: Any, evaluate: Any, checkout: Path
) -> None:
    models = [{"label_key": "score", "prediction_key": "older"}]
    wanted = [((row["age"] or [-1.0])[0] + 1 - row["score"][0]) ** 2 for row in ROWS]
    file = {"module_file": str(checkout / "executors" / "evaluation" / "torch_extractor.py"), "module_path": None}
    found = evaluate(two_outputs, config(metric("MeanSquaredError", at_least=1e3), models=models), **file)
    assert found.metrics[()]["mean_squared_error"] == pytest.approx(sum(wanted) / len(wanted), rel=1e-6)
    assert not found.blessed


def loaded(artifact: Any) -> Any:
    from polytrainer.executors.evaluation.torch_model import TorchModel

    return TorchModel(f"{artifact.uri}/Format-Serving")


@pytest.mark.parametrize("count", [0, 1, 2, 30])
def test_batches_may_have_any_size(two_outputs: Any, model: Any, examples: Any, count: int) -> None:
    import numpy as np
    import tensorflow as tf

    files = tf.io.gfile.glob(f"{examples.uri}/Split-eval/*")
    rows = tf.constant([*tf.data.TFRecordDataset(files, "GZIP").take(count).as_numpy_iterator()], tf.string)
    found = loaded(two_outputs).signatures["serving_default"](rows)
    assert {name: (value.dtype.name, value.shape.as_list()) for name, value in found.items()} == {
        "older": ("float32", [count, 1]),
        "count": ("int64", [count, 2]),
    }
    said = loaded(model).signatures["serving_default"](rows)["outputs"].numpy()
    assert np.abs(said - logits(model).numpy()[:count]).max(initial=0) <= 1e-5
    assert loaded(model).signatures["transform_features"](rows)["kind"].numpy().tolist() == [
        [label] for label in LABELS[:count]
    ]


@pytest.mark.parametrize("pickler", ["dill", "cloudpickle"])
def test_it_travels_to_a_worker_as_a_path(two_outputs: Any, pickler: str) -> None:
    import tensorflow_model_analysis as tfma

    from polytrainer.executors.evaluation import torch_extractor

    by = pytest.importorskip(pickler)
    shared = torch_extractor.custom_eval_shared_model(
        eval_saved_model_path=f"{two_outputs.uri}/Format-Serving",
        model_name="",
        eval_config=tfma.EvalConfig(model_specs=[tfma.ModelSpec()]),
        add_metrics_callbacks=None,
    )
    content = by.dumps(shared.model_loader)
    assert len(content) < 1000
    assert set(by.loads(content).load().signatures) == {"serving_default", "transform_features"}


def test_an_output_that_is_not_of_examples_is_named(tmp_path: Path) -> None:
    import tensorflow as tf
    from torch import nn

    class Mean(nn.Module):  # type: ignore[misc]
        def forward(self, features: Any) -> Any:
            return {"older": features["zage"] + features["ids.row_lengths"][:, None], "mean": features["zage"].mean()}

    rows = tf.constant(["", ""])
    with pytest.raises(
        ValueError, match=r"the output 'mean': got a tensor of shape \[\] for 2 examples; expected a row"
    ):
        loaded(by_hand(tmp_path, Mean())).signatures["serving_default"](rows)


def test_features_that_examples_do_not_give_are_named(tmp_path: Path) -> None:
    import tensorflow as tf
    from torch import nn

    class Older(nn.Module):  # type: ignore[misc]
        def forward(self, features: Any) -> Any:
            return features["zage"] + features["ids.row_lengths"][:, None]

    artifact = by_hand(tmp_path, Older())
    bare = tf.Module()
    bare.program_features = tf.function(lambda examples: {"age": tf.zeros([tf.size(examples), 1])})
    bare.transform_features = bare.program_features
    bare.program_features.get_concrete_function(tf.TensorSpec([None], tf.string))
    tf.saved_model.save(bare, f"{artifact.uri}/Format-Torch/preprocessing")
    with pytest.raises(ValueError, match=r"got no \['ids.row_lengths', 'zage'\] among \['age'\].*input_fn of your own"):
        loaded(artifact).signatures["serving_default"](tf.constant([""]))


def test_what_is_no_program_or_lacks_its_preprocessing_is_refused(two_outputs: Any, tmp_path: Path) -> None:
    import tensorflow as tf
    import tensorflow_model_analysis as tfma

    from polytrainer.executors.evaluation.torch_extractor import custom_eval_shared_model

    shutil.rmtree(f"{two_outputs.uri}/Format-Torch")
    tf.saved_model.save(tf.Module(), str(tmp_path / "saved_model"))
    for path, said in (
        (
            f"{two_outputs.uri}/Format-Serving",
            r"preprocessing: got no such folder, .*; expected what makes the program",
        ),
        (
            str(tmp_path / "saved_model"),
            r"got a SavedModel; expected model\.pt2.*leave module_path and module_file out",
        ),
        (str(tmp_path / "nothing"), r"got no model\.pt2; expected model\.pt2.*Is this the model of a Trainer"),
    ):
        config = tfma.EvalConfig(model_specs=[tfma.ModelSpec()])
        with pytest.raises(ValueError, match=said):
            custom_eval_shared_model(eval_saved_model_path=path, model_name="", eval_config=config)
