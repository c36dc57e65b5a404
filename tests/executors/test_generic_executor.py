"""The executor, called as TFX calls it, on real artifacts."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.line

COPIES_FN_ARGS = """
    import json, pathlib
    def run_fn(fn_args):
        seen = {name: repr(getattr(fn_args, name)) for name in vars(fn_args)}
        pathlib.Path(fn_args.serving_model_dir).mkdir(parents=True)
        (pathlib.Path(fn_args.serving_model_dir) / "seen.json").write_text(json.dumps(seen))
"""


def properties(artifact):
    return {
        name: getattr(value, value.WhichOneof("value"))
        for name, value in artifact.mlmd_artifact.custom_properties.items()
    }


# ---- what works


def test_a_run_fn_trains_and_the_model_is_described(node, saves_a_model):
    node.run(module_file=saves_a_model)
    told = properties(node.model)
    assert told["framework"] == "tensorflow"
    assert told["signatures"] == "serving_default"
    assert len(told["user_code_sha256"]) == 64
    assert told["train_seconds"] > 0
    assert properties(node.model_run) == told


def test_returned_metrics_and_steps_become_properties(node, module_file):
    node.run(
        module_file=module_file(
            """
            import pathlib
            from polytrainer import TrainResult
            def run_fn(fn_args):
                pathlib.Path(fn_args.serving_model_dir).mkdir(parents=True)
                pathlib.Path(fn_args.serving_model_dir, "model.txt").write_text("a model")
                return TrainResult({"accuracy": 0.5, "loss": float("nan")}, steps=7, framework="mine",
                                   framework_version="1.2")
            """
        )
    )
    told = properties(node.model)
    assert (told["framework"], told["framework_version"]) == ("mine", "1.2")
    assert (told["train_steps"], told["metric.accuracy"], told["metric.loss"]) == (7, 0.5, "nan")


def test_a_torch_program_is_loaded_again_before_it_is_published(node, module_file):
    node.run(
        module_file=module_file(
            """
            import pathlib, torch
            def run_fn(fn_args):
                program = torch.export.export(torch.nn.Linear(2, 1), (torch.ones(2, 2),))
                pathlib.Path(fn_args.serving_model_dir).mkdir(parents=True)
                torch.export.save(program, pathlib.Path(fn_args.serving_model_dir) / "model.pt2")
            """
        )
    )
    assert properties(node.model)["framework"] == "pytorch"


def test_every_input_reaches_fn_args(node, module_file, tmp_path):
    from tfx.types import standard_artifacts

    schema = node.give("schema", "Schema", "schema", {"schema.pbtxt": 'feature { name: "x" type: FLOAT }'})
    node.give("hyperparameters", "HyperParameters", "hp", {"best_hyperparameters.txt": json.dumps({"lr": 0.1})})
    base = node.give("base_model", "Model", "base", {"Format-Serving/model.txt": "old"})
    vocabulary = standard_artifacts.String()
    vocabulary.uri = str(tmp_path / "vocabulary")
    node.input_dict["extra_inputs_vocabulary"] = [vocabulary]
    node.run(
        module_file=module_file(COPIES_FN_ARGS),
        train_args=json.dumps({"num_epochs": 2, "batch_size": 4}),
        eval_args=json.dumps({"test_splits": ["test"]}),
        custom_config=json.dumps({"a": 1}),
    )
    seen = json.loads(Path(node.model.uri, "Format-Serving", "seen.json").read_text())
    assert seen["schema_path"] == repr(str(schema / "schema.pbtxt")) == seen["schema_file"]
    assert seen["hyperparameters"] == "{'lr': 0.1}"
    assert seen["base_model"] == repr(str(base / "Format-Serving"))
    assert seen["custom_config"] == "{'a': 1}"
    assert seen["num_examples"] == "None"
    assert seen["test_files"] == repr({"test": [f"{node.examples_uri}/Split-test/*"]})
    assert "batch_size: 4" in seen["train_args"].replace("\\n", " ")
    assert "vocabulary" in seen["extra_inputs"]


def test_several_examples_artifacts_are_read_one_after_the_other(node, module_file):
    node.input_dict["examples"] *= 2
    node.run(module_file=module_file(COPIES_FN_ARGS))
    seen = json.loads(Path(node.model.uri, "Format-Serving", "seen.json").read_text())
    assert seen["train_files"] == repr([f"{node.examples_uri}/Split-train/*"] * 2)


def test_a_worker_that_is_not_the_chief_need_not_write_a_model(node, module_file, monkeypatch):
    cluster = {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(cluster))
    node.run(module_file=module_file("def run_fn(fn_args): ..."))


# ---- what is refused before training


def refused(node, match, **changes):
    from polytrainer.executors.errors import PreflightError

    with pytest.raises(PreflightError, match=rf"(?s)Nothing was trained: .*{match}") as caught:
        node.run(**changes)
    assert not list(Path(node.model.uri).iterdir())
    return caught.value


def test_an_unknown_split_is_shown_beside_the_known_ones(node, saves_a_model):
    refused(
        node,
        r"train_args\.splits: got the split 'trian', while the Examples at .* have \['train', 'eval', 'test'\]",
        module_file=saves_a_model,
        train_args=json.dumps({"splits": ["trian"]}),
    )


def test_an_unknown_test_split_is_found_before_training_too(node, saves_a_model):
    args = json.dumps({"test_splits": ["tset"]})
    refused(node, r"eval_args\.test_splits: got the split 'tset'", module_file=saves_a_model, eval_args=args)


def test_an_unknown_field_of_train_args_is_named(node, saves_a_model):
    refused(node, '"num_stepz"', module_file=saves_a_model, train_args=json.dumps({"num_stepz": 3}))


@pytest.mark.parametrize("config", ["[1, 2]", '"text"', "7"])
def test_a_custom_config_that_is_no_dict(node, saves_a_model, config):
    refused(node, "custom_config: got .*; expected a dict", module_file=saves_a_model, custom_config=config)


def test_a_custom_config_that_is_no_json(node, saves_a_model):
    refused(node, "custom_config: got '{'", module_file=saves_a_model, custom_config="{")


@pytest.fixture
def trainer_class(module_file):
    """A module_file whose run_fn is a trainer's: polytrainer itself reads what the node is given."""
    return module_file(
        "from polytrainer import KerasTrainer\nclass Mine(KerasTrainer): ...\nrun_fn = Mine().run_fn", "trainer_class"
    )


def shard(node, split="train"):
    return node.examples_uri / f"Split-{split}" / "data_tfrecord-00000-of-00001.gz"


def test_a_shard_of_zero_bytes(node, trainer_class):
    shard(node).write_bytes(b"")
    refused(node, r"Split-train/data_tfrecord.*: got a file of 0 bytes", module_file=trainer_class)


def test_a_truncated_gzip(node, trainer_class):
    shard(node).write_bytes(shard(node).read_bytes()[:-5])
    refused(node, "cut short after 8 records.*expected a whole file", module_file=trainer_class)


def test_garbage_instead_of_records(node, trainer_class):
    shard(node, "eval").write_bytes(gzip.compress(b"these are no TFRecords, " * 10))
    refused(node, "Split-eval/.*: got data that cannot be read .*corrupted record", module_file=trainer_class)


def test_a_file_that_is_not_compressed_though_its_name_says_so(node, trainer_class):
    shard(node).write_bytes(gzip.decompress(shard(node).read_bytes()))
    refused(node, "cannot be read.*expected gzipped TFRecords", module_file=trainer_class)


def test_a_split_without_files(node, trainer_class):
    shard(node).unlink()
    refused(node, "no file for the split 'train'", module_file=trainer_class)


def test_a_split_without_examples(node, trainer_class):
    shard(node).write_bytes(gzip.compress(b""))
    refused(node, "no example in the split 'train'", module_file=trainer_class)


def test_no_examples_at_all(node, saves_a_model):
    node.input_dict["examples"] = []
    refused(node, "examples: got no artifact", module_file=saves_a_model)


@pytest.mark.parametrize(
    ("files", "match"),
    [
        ({}, "no folder at"),
        ({"a.pbtxt": "", "b.pbtxt": ""}, r"2 files in .*: \['a.pbtxt', 'b.pbtxt'\]; expected one schema.pbtxt"),
    ],
)
def test_a_schema_that_is_missing_or_double(node, saves_a_model, files, match):
    node.give("schema", "Schema", "schema", files)
    refused(node, f"schema: got .*{match}", module_file=saves_a_model)


@pytest.mark.parametrize(
    ("content", "match"), [("this is { no schema", ""), ('feature { name: "x" kind: FLOAT }', r' .*"kind"')]
)
@pytest.mark.parametrize("reader", ["trainer_class", "trainer_fn"])
def test_a_schema_that_cannot_be_read(node, trainer_class, module_file, content, match, reader):
    node.give("schema", "Schema", "schema", {"schema.pbtxt": content})
    source = trainer_class if reader == "trainer_class" else module_file("def trainer_fn(fn_args, schema): ...", reader)
    refused(node, f"schema: got .*which is not a schema{match}", module_file=source)


def test_hyperparameters_that_are_no_json(node, saves_a_model):
    node.give("hyperparameters", "HyperParameters", "hp", {"best.txt": "{"})
    refused(node, "hyperparameters: got .*not JSON", module_file=saves_a_model)


def test_a_transform_graph_that_is_not_whole(node, trainer_class):
    node.give("transform_graph", "TransformGraph", "graph", {"transform_fn/saved_model.pb": ""})
    refused(node, "transform_graph: got no transformed_metadata in", module_file=trainer_class)


def test_statistics_that_are_not_there(node, saves_a_model):
    folder = node.give("statistics", "ExampleStatistics", "statistics", {})
    node.input_dict["statistics"][0].split_names = '["train"]'
    refused(node, f"statistics: got .*{folder}.*the output of a StatisticsGen", module_file=saves_a_model)


def test_a_base_model_that_was_cleaned_up(node, trainer_class):
    node.give("base_model", "Model", "base", {})
    refused(node, "base_model: got no serving model at", module_file=trainer_class)


def test_all_problems_come_at_once_the_users_code_included(node, module_file):
    node.give("schema", "Schema", "schema", {})
    error = refused(
        node,
        "4 problems",
        module_file=module_file("import no_such_lib"),
        train_args=json.dumps({"splits": ["nope"]}),
        custom_config="7",
    )
    assert [problem.where for problem in error.problems] == [
        "train_args.splits",
        "custom_config",
        "schema",
        error.problems[-1].where,
    ]
    assert isinstance(error.__cause__, ModuleNotFoundError)


# ---- what fails after training


def unpublished(node, match, **changes):
    from polytrainer.executors.errors import TrainingError

    with pytest.raises(TrainingError, match=rf"(?s)Nothing is published: .*{match}"):
        node.run(**changes)
    assert not properties(node.model)


def test_a_run_fn_that_writes_nothing(node, module_file):
    unpublished(node, "run_fn failed to generate model", module_file=module_file("def run_fn(fn_args): ..."))


def test_a_run_fn_that_writes_an_empty_folder(node, module_file):
    source = "import os\ndef run_fn(fn_args): os.makedirs(fn_args.serving_model_dir)"
    unpublished(node, "an empty folder", module_file=module_file(source))


def test_a_saved_model_that_does_not_load(node, module_file):
    source = """
        import pathlib
        def run_fn(fn_args):
            pathlib.Path(fn_args.serving_model_dir).mkdir(parents=True)
            pathlib.Path(fn_args.serving_model_dir, "saved_model.pb").write_bytes(b"half a mod")
    """
    unpublished(node, "a SavedModel that does not load", module_file=module_file(source))


def test_an_eval_model_that_does_not_load(node, module_file, saves_a_model):
    source = Path(saves_a_model).read_text() + (
        "\n    import pathlib\n    pathlib.Path(fn_args.eval_model_dir).mkdir(parents=True)\n"
        "    pathlib.Path(fn_args.eval_model_dir, 'saved_model.pb').write_bytes(b'half')\n"
    )
    unpublished(node, r"fn_args\.eval_model_dir: got a SavedModel", module_file=module_file(source))


def test_a_torch_program_that_does_not_load(node, module_file):
    source = """
        import pathlib
        def run_fn(fn_args):
            pathlib.Path(fn_args.serving_model_dir).mkdir(parents=True)
            pathlib.Path(fn_args.serving_model_dir, "model.pt2").write_bytes(b"half a program")
    """
    unpublished(node, "a program that does not load", module_file=module_file(source))


def test_a_run_fn_that_exits(node, module_file):
    source = "import sys\ndef run_fn(fn_args): sys.exit(0)"
    unpublished(node, r"a call of exit\(0\) while training", module_file=module_file(source))


def test_an_exception_of_the_users_goes_on_as_it_is(node, module_file):
    with pytest.raises(ZeroDivisionError):
        node.run(module_file=module_file("def run_fn(fn_args): 1 / 0"))


def test_damage_that_preflight_did_not_reach_is_traced_to_its_file(node, module_file, monkeypatch):
    from polytrainer.executors.data import records

    content = gzip.decompress(shard(node).read_bytes())
    shard(node).write_bytes(gzip.compress(content[:-3]))  # the last record is cut within the stream
    monkeypatch.setattr(records.inspect, "__defaults__", (0,))  # as if the split were large
    source = """
        import tensorflow as tf
        def run_fn(fn_args):
            for _ in tf.data.TFRecordDataset(tf.io.gfile.glob(fn_args.train_files), "GZIP"):
                pass
    """
    unpublished(node, "Split-train/data_tfrecord.*truncated record", module_file=module_file(source))
