"""What TFX runs is run: a `run_fn` of one's own gets at most a warning, the trainer classes refuse what they read."""

from __future__ import annotations

import gzip
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest

pytestmark = pytest.mark.line


def shard(node, split="train"):
    return node.examples_uri / f"Split-{split}" / "data_tfrecord-00000-of-00001.gz"


def _gzip_without_suffix(node):
    shard(node).rename(shard(node).with_suffix(""))


def _csv_that_the_user_reads(node):
    shard(node).unlink()
    (node.examples_uri / "Split-train" / "part.csv").write_text("x,label\n1,0\n")


def _folders_of_images(node):
    shard(node).unlink()
    (node.examples_uri / "Split-train" / "cats").mkdir()
    (node.examples_uri / "Split-train" / "cats" / "1.png").write_bytes(b"\x89PNG")


def _base_model_of_tfx_0_28(node):
    node.give("base_model", "Model", "base", {"serving_model_dir/model.txt": "old"})
    node.input_dict["base_model"][0].mlmd_artifact.state = 2  # LIVE, and no `tfx_version`


TOLERATED = {
    "an eval split without examples": lambda node: shard(node, "eval").write_bytes(gzip.compress(b"")),
    "an eval split without files": lambda node: shard(node, "eval").unlink(),
    "a damaged file": lambda node: shard(node, "eval").write_bytes(b"half a fi"),
    "a marker": lambda node: (node.examples_uri / "Split-train" / "_SUCCESS").write_bytes(b""),
    "gzip without .gz": _gzip_without_suffix,
    "CSV": _csv_that_the_user_reads,
    "images": _folders_of_images,
    "a schema of another form": lambda node: node.give("schema", "Schema", "schema", {"schema.json": "{}"}),
    "half a transform graph": lambda node: node.give("transform_graph", "TransformGraph", "tg", {"other": ""}),
    "a base model elsewhere": lambda node: node.give("base_model", "Model", "base", {"weights.bin": "old"}),
    "a base model that is one file": lambda node: node.give("base_model", "Model", "base", {"Format-Serving": "old"}),
    "a base model of TFX 0.28": _base_model_of_tfx_0_28,
    "a list of hyperparameters": lambda node: node.give("hyperparameters", "HyperParameters", "hp", {"h": "[1, 2]"}),
    "-1 steps": lambda node: node.exec_properties.update(train_args='{"num_steps": -1}', eval_args='{"num_steps": -1}'),
    "a split named twice": lambda node: node.exec_properties.update(train_args='{"splits": ["train", "train"]}'),
}
SAVES_ONE_FILE = """
    import pathlib
    def run_fn(fn_args):
        path = pathlib.Path(fn_args.serving_model_dir)
        assert not path.parent.joinpath("seen").exists()
        path.write_text("\\n".join(f"{name}={getattr(fn_args, name)}" for name in
            ("train_files", "train_steps", "eval_steps", "base_model", "hyperparameters")))
"""


def test_what_tfx_runs_is_run(node, module_file, caplog):
    """One module file for all: its model is one file, which TFX takes, too."""
    from polytrainer.executors.errors import PreflightError

    source, refused_cases = module_file(SAVES_ONE_FILE, "saves_one_file"), {}
    for name, change in TOLERATED.items():
        with changed(node, change):
            try:
                node.run(module_file=source)
            except PreflightError as error:
                refused_cases[name] = str(error)
            else:
                Path(node.model.uri, "Format-Serving").unlink()
    assert refused_cases == {}
    for warning in (
        "no example in the split 'eval'", "no file for the split 'eval'", "expected one schema.pbtxt",
        "no serving model at", "JSON which holds a list", "expected a positive number of steps",
        r"got ['train', 'train']; expected different names",
    ):  # fmt: skip
        assert warning in caplog.text
    assert "Training goes on, as the user's code may not need it: " in caplog.text
    assert "_SUCCESS" not in caplog.text


def test_its_values_reach_fn_args_as_tfx_hands_them_on(node, module_file):
    _base_model_of_tfx_0_28(node)
    node.give("hyperparameters", "HyperParameters", "hp", {"h": "[1, 2]"})
    args = {"train_args": '{"num_steps": -1, "splits": ["train", "train"]}', "eval_args": '{"num_steps": -1}'}
    node.run(module_file=module_file(SAVES_ONE_FILE), **args)
    told = dict(line.split("=", 1) for line in Path(node.model.uri, "Format-Serving").read_text().splitlines())
    files = f"{node.examples_uri}/Split-train/*"
    assert told == {
        "train_files": repr([files, files]), "train_steps": "-1", "eval_steps": "-1", "hyperparameters": "[1, 2]",
        "base_model": f"{node.input_dict['base_model'][0].uri}/serving_model_dir",
    }  # fmt: skip


@pytest.mark.parametrize("source", ["run_fn = Mine().run_fn", "def run_fn(fn_args): return Mine().run_fn(fn_args)"])
def test_a_trainer_class_refuses_what_it_would_fail_on(node, module_file, source):
    """Whether `run_fn` is its method or calls it; what it does not read it does not refuse."""
    from polytrainer.executors.errors import PreflightError

    source = module_file(f"from polytrainer import KerasTrainer\nclass Mine(KerasTrainer): ...\n{source}", "trainer")
    not_read = {"a marker", "a base model of TFX 0.28"}
    for name in TOLERATED.keys() - not_read:
        with changed(node, TOLERATED[name]), pytest.raises(PreflightError, match=REFUSED.get(name, "")):
            node.run(module_file=source)


REFUSED = {
    "gzip without .gz": "TFRecords that are not compressed, by the file's name",
    "a list of hyperparameters": "hyperparameters: got JSON which holds a list",
    "-1 steps": r"train_args\.num_steps: got -1(?s:.*)eval_args\.num_steps: got -1",
    "a split named twice": r"train_args\.splits: got \['train', 'train'\]",
    "an eval split without files": "no file for the split 'eval'",
}


@contextmanager
def changed(node, change):
    """The node after a change, and as it was again: its Examples, inputs and properties."""
    whole = {path: path.read_bytes() for path in node.examples_uri.rglob("*.gz")}
    inputs, arguments = dict(node.input_dict), dict(node.exec_properties)
    change(node)
    yield
    for path in sorted(node.examples_uri.rglob("*"), reverse=True):
        if path not in whole and path.parent != node.examples_uri:
            path.rmdir() if path.is_dir() else path.unlink()
    for path, content in whole.items():
        path.write_bytes(content)
    for key in node.input_dict.keys() - inputs.keys():
        shutil.rmtree(node.input_dict[key][0].uri)
    node.input_dict.clear()
    node.input_dict.update(inputs)
    node.exec_properties.clear()
    node.exec_properties.update(arguments)
