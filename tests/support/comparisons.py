"""A ModelComparator node as its executor sees it, over test results of models that nobody trained."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest


def features_of(example, row):
    """Adds a row, name → value or values, to a tf.Example."""
    for name, value in row.items():
        values = np.asarray(value).ravel()
        feature = example.features.feature[name]
        if values.dtype.kind in "iub":
            feature.int64_list.value.extend(values.astype(np.int64))
        elif values.dtype.kind == "f":
            feature.float_list.value.extend(values)
        else:
            feature.bytes_list.value.extend(each if isinstance(each, bytes) else each.encode() for each in values)


def write_results(folder, rows, split="test", shards=2):
    """Writes test results as a Trainer does; the rows may be any iterable of name → value."""
    import tensorflow as tf

    path = Path(folder, f"Split-{split}")
    path.mkdir(parents=True)
    options = tf.io.TFRecordOptions(compression_type="GZIP")
    names = [str(path / f"test_results-{shard:05d}-of-{shards:05d}.gz") for shard in range(shards)]
    writers = [tf.io.TFRecordWriter(name, options) for name in names]
    for number, row in enumerate(rows):
        example = tf.train.Example()
        features_of(example, row)
        writers[number % shards].write(example.SerializeToString())
    for writer in writers:
        writer.close()


def rows_of(predictions, labels, **features):
    """Test results as rows: what a model said, the label, and features of the examples, each a column."""
    columns = {"number": range(len(labels)), "label": labels, "prediction": predictions, **features}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


@pytest.fixture
def comparing(tmp_path):
    """`comparing.give(name, rows)` adds a candidate, or the baseline; `comparing.run(**args)` → comparison.json."""
    return comparison_in(tmp_path)


def comparison_in(tmp_path):
    """The same in any folder, for fixtures that several tests share."""
    from tfx.types import artifact_utils, standard_artifacts

    from polytrainer import TestResults

    outputs = {
        "blessing": standard_artifacts.ModelBlessing(),
        "comparison": standard_artifacts.ModelEvaluation(),
        "best_model": standard_artifacts.Model(),
    }
    for key, artifact in outputs.items():
        artifact.uri = str(tmp_path / key)
        Path(artifact.uri).mkdir()
    inputs = {}

    def give(name, rows, split="test", **more_splits):
        results, model = TestResults(), standard_artifacts.Model()
        results.uri, model.uri = str(tmp_path / f"results_{name}"), str(tmp_path / f"model_{name}")
        model.id = 100 + len(inputs)
        model.set_string_custom_property("framework", f"framework of {name}")
        for each, of_split in {split: rows, **more_splits}.items():
            write_results(results.uri, of_split, each)
        results.split_names = artifact_utils.encode_split_names([split, *more_splits])
        serving = Path(model.uri, "Format-Serving")
        serving.mkdir(parents=True)
        (serving / "model.txt").write_text(name)
        keys = (
            ("baseline_results", "baseline_model") if name == "baseline" else (f"test_results_{name}", f"model_{name}")
        )
        inputs.update(zip(keys, ([results], [model]), strict=True))

    def run(**args):
        from polytrainer.executors.comparison.executor import ModelComparatorExecutor
        from polytrainer.pipelines.penguins.pipeline import local_beam_args

        context = ModelComparatorExecutor.Context(
            beam_pipeline_args=local_beam_args(), tmp_dir=str(tmp_path / "tmp"), unique_id="1"
        )
        told = {"comparator_args": json.dumps({"label_key": "label", **args}), "current_component_id": "comparator"}
        written = {key: [artifact] for key, artifact in outputs.items()}
        ModelComparatorExecutor(context).Do(inputs, written, told)
        return json.loads(Path(outputs["comparison"].uri, "comparison.json").read_text())

    return SimpleNamespace(inputs=inputs, give=give, run=run, **outputs)
