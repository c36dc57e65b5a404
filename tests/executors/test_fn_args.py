"""FnArgs beside TFX's own, value for value, on the same inputs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

pytestmark = pytest.mark.line


def both(node):
    """(what TFX's executor makes of a node, what ours makes of it)"""
    from tfx.components.trainer.executor import GenericExecutor

    from polytrainer.executors import fn_args

    inputs = (node.input_dict, node.output_dict, node.exec_properties)
    return GenericExecutor()._GetFnArgs(*inputs), fn_args.resolve(*inputs)


def assert_same(theirs, ours):
    import attr
    from tfx.components.trainer import fn_args_utils

    assert isinstance(ours, fn_args_utils.FnArgs)
    for field in attr.fields(fn_args_utils.FnArgs):
        if field.name != "data_accessor":  # closures, made anew each time
            assert getattr(ours, field.name) == getattr(theirs, field.name), field.name
    assert type(ours.data_accessor) is type(theirs.data_accessor)


def test_the_least_there_can_be(node):
    assert_same(*both(node))


def test_everything_there_can_be(node):
    node.give("schema", "Schema", "schema", {"schema.pbtxt": 'feature { name: "x" type: FLOAT }'})
    node.give("transform_graph", "TransformGraph", "graph", {"transform_fn/a": "", "transformed_metadata/b": ""})
    node.give("hyperparameters", "HyperParameters", "hp", {"best_hyperparameters.txt": '{"lr": 0.1}'})
    node.give("base_model", "Model", "base", {"Format-Serving/model.txt": "old"})
    node.input_dict["examples"] *= 2
    node.exec_properties.update(
        train_args=json.dumps({"splits": ["train", "eval"], "num_steps": 5}),
        eval_args=json.dumps({"splits": ["test"], "num_steps": 2}),
        custom_config=json.dumps({"a": [1, {"b": None}]}),
    )
    theirs, ours = both(node)
    assert_same(theirs, ours)
    assert ours.base_model.endswith("base/Format-Serving")


def test_an_estimators_folder_as_base_model(node):
    node.give("base_model", "Model", "base", {"Format-Serving/export/exporter/123/saved_model.pb": ""})
    theirs, ours = both(node)
    assert_same(theirs, ours)
    assert ours.base_model.endswith("export/exporter/123")


def test_zero_steps_are_none(node):
    node.exec_properties["train_args"] = "{}"
    theirs, ours = both(node)
    assert ours.train_steps is theirs.train_steps is None


def test_the_data_accessor_reads_the_split(node):
    import tensorflow as tf
    from tensorflow_metadata.proto.v0 import schema_pb2
    from tfx_bsl.public.tfxio import TensorFlowDatasetOptions

    schema = schema_pb2.Schema()
    feature = schema.feature.add(name="x", type=schema_pb2.FLOAT)
    feature.presence.min_fraction = 1
    feature.shape.dim.add(size=1)
    _, ours = both(node)
    options = TensorFlowDatasetOptions(batch_size=8, num_epochs=1, shuffle=False)
    [batch] = ours.data_accessor.tf_dataset_factory(ours.train_files, options, schema)
    assert tf.reshape(batch["x"], [-1]).numpy().tolist() == [float(row) for row in range(8)]


def test_num_examples_come_from_the_statistics(node, tmp_path):
    import tensorflow_data_validation as tfdv
    from tfx.types import artifact_utils, standard_artifacts

    statistics = standard_artifacts.ExampleStatistics()
    statistics.uri = str(tmp_path / "statistics")
    statistics.split_names = artifact_utils.encode_split_names(["train", "eval"])
    for split in ("train", "eval"):
        folder = tmp_path / "statistics" / f"Split-{split}"
        folder.mkdir(parents=True)
        made = tfdv.generate_statistics_from_tfrecord(f"{node.examples_uri}/Split-{split}/*")
        (folder / "FeatureStats.pb").write_bytes(made.SerializeToString())
    node.input_dict["statistics"] = [statistics]
    theirs, ours = both(node)
    assert ours.num_examples == {"train": 8, "eval": 4}
    assert getattr(theirs, "num_examples", ours.num_examples) == ours.num_examples  # TFX has it from 1.17 on


def test_test_splits_have_their_files_by_name(node):
    node.exec_properties["eval_args"] = json.dumps({"test_splits": ["test"]})
    _, ours = both(node)
    assert ours.test_files == {"test": [str(Path(node.examples_uri) / "Split-test" / "*")]}
    assert list(ours.eval_args.splits) == ["eval"]


def test_the_checkpoint_folder_is_the_same_for_the_same_training_in_new_output_folders(node):
    first, second = (checkpoint_dir(node, number) for number in (1, 2))
    assert first == second
    assert Path(first).parent == Path(node.model.uri).parents[1] / ".checkpoints"


@pytest.mark.parametrize("what", ["arguments", "code", "inputs", "config"])
def test_what_is_not_the_same_training_has_another_checkpoint_folder(node, what):
    before = checkpoint_dir(node)
    code = "a fingerprint"
    if what == "arguments":
        node.exec_properties["train_args"] = json.dumps({"num_steps": 4})
    elif what == "code":
        code = "another"
    elif what == "config":
        node.exec_properties["custom_config"] = json.dumps({"a": 1})
    else:
        node.give("base_model", "Model", "base", {"Format-Serving/model.txt": "old"})
    assert checkpoint_dir(node, code=code) != before


@pytest.mark.parametrize(("split", "another"), [("train", True), ("eval", True), ("test", False)])
def test_data_that_were_written_anew_are_another_training(node, split, another):
    before = checkpoint_dir(node)
    [file] = Path(node.examples_uri, f"Split-{split}").iterdir()
    os.utime(file, ns=(1, 1))
    assert (checkpoint_dir(node) != before) is another


def test_outputs_on_a_remote_file_system_have_no_checkpoint_folder(node):
    from polytrainer.executors import fn_args

    assert fn_args._checkpoint_dir("gs://bucket/Trainer/model/1", node.input_dict, node.exec_properties, "") is None


def test_checkpoints_can_be_on_a_volume_that_outlives_the_machine(node, monkeypatch):
    from polytrainer.executors import fn_args

    beside_outputs = checkpoint_dir(node)
    monkeypatch.setenv("POLYTRAINER_CHECKPOINT_ROOT", "/checkpoints")
    assert checkpoint_dir(node) == f"/checkpoints/{Path(beside_outputs).name}"
    in_a_bucket = fn_args._checkpoint_dir("gs://bucket/Trainer/model/1", node.input_dict, node.exec_properties, "")
    assert in_a_bucket.startswith("/checkpoints/")


def checkpoint_dir(node, number=1, code="a fingerprint"):
    from polytrainer.executors import fn_args

    for key, artifacts in node.output_dict.items():
        artifacts[0].uri = str(Path(node.examples_uri).parent / "Trainer" / key / str(number))
    return fn_args.resolve(node.input_dict, node.output_dict, node.exec_properties, code).checkpoint_dir
