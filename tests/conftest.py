"""Shared by all tests: small Examples on disk, a node to run, and where the checkout is."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace
from typing import Any

import pytest

from polytrainer.executors.backends import triton_beside_tensorflow

# fixtures, in tests/support
pytest_plugins = [
    "aten_calls", "boundary_cases", "comparisons", "keras_runs", "kubernetes_api", "lightning_trainings", "odd_names",
    "own_loops", "results", "splits", "stores",
    "torch_fits", "trainings", "transforms",
]  # fmt: skip
ROOT = Path(__file__).parents[1]

triton_beside_tensorflow.install()  # tests import TensorFlow and PyTorch in any order, in one process


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Of the unit tier only the files that have tests of it: others may import a framework."""
    if config.option.markexpr != "unit" or not collection_path.name.startswith("test_"):
        return None
    return True if "mark.unit" not in collection_path.read_text() else None


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture
def module_file(tmp_path: Path) -> Callable[..., str]:
    """Writes a user module alone in a folder, with siblings where asked for, and returns its path."""

    def write(source: str, name: str = "user_module", **siblings: str) -> str:
        folder = tmp_path / f"code_of_{name}"
        folder.mkdir(exist_ok=True)
        for stem, text in {name: source, **siblings}.items():
            (folder / f"{stem}.py").write_text(dedent(text))
        return str(folder / f"{name}.py")

    return write


SAVES_A_MODEL = """
    import tensorflow as tf

    def run_fn(fn_args):
        module = tf.Module()
        module.double = tf.function(lambda x: {"y": 2.0 * x}, input_signature=[tf.TensorSpec([None], tf.float32)])
        tf.saved_model.save(module, fn_args.serving_model_dir, signatures={"serving_default": module.double})
"""


def write_examples(uri: Path, splits: Mapping[str, Iterable[Mapping[str, Any]]]) -> None:
    """Writes gzipped TFRecords of tf.Examples, one shard a split, as ExampleGen lays them out."""
    import tensorflow as tf

    kinds = {int: "int64_list", float: "float_list", bytes: "bytes_list"}
    for split, rows in splits.items():
        folder = uri / f"Split-{split}"
        folder.mkdir(parents=True)
        path = str(folder / "data_tfrecord-00000-of-00001.gz")
        with tf.io.TFRecordWriter(path, tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
            for row in rows:
                example = tf.train.Example()
                for name, value in row.items():
                    values = value if isinstance(value, list) else [value]
                    getattr(example.features.feature[name], kinds[type(values[0])]).value.extend(values)
                writer.write(example.SerializeToString())


def tfrecord_frame(record: bytes) -> bytes:
    """A record with its framing but with checksums of zero: what a damaged file looks like."""
    return struct.pack("<QI", len(record), 0) + record + struct.pack("<I", 0)


def gzipped(content: bytes) -> bytes:
    return gzip.compress(content)


SMALL_SCHEMA = """
feature { name: "x" type: FLOAT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 2 } } }
feature { name: "label" type: INT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
"""


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Files of a small task without TFX: `train` (103 examples), `eval` (41), `other` (10), and a `schema`.

    The label of an example says whether the sum of `x`, two numbers, is positive, which one in ten gets wrong.
    """
    import numpy as np

    folder = tmp_path_factory.mktemp("small")
    random = np.random.RandomState(0)

    def rows(count: int) -> Iterable[Mapping[str, Any]]:
        for x in random.randn(count, 2).tolist():
            yield {"x": x, "label": int((sum(x) > 0) != (random.rand() < 0.1))}

    write_examples(folder, {"train": rows(103), "eval": rows(41), "other": rows(10)})
    (folder / "schema.pbtxt").write_text(SMALL_SCHEMA)
    files = {split: str(folder / f"Split-{split}" / "*") for split in ("train", "eval", "other")}
    return SimpleNamespace(schema=str(folder / "schema.pbtxt"), folder=folder, **files)


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., str]:
    """Writes rows as tf.Examples and returns a pattern of their files."""

    def write(rows: Iterable[Mapping[str, Any]], name: str = "written") -> str:
        write_examples(tmp_path / name, {"train": rows})
        return str(tmp_path / name / "Split-train" / "*")

    return write


@pytest.fixture
def node(tmp_path: Path) -> SimpleNamespace:
    """A Trainer node as its executor sees it: input_dict, output_dict and exec_properties, to be changed at will.

    Its Examples have the splits train (8 rows), eval (4) and test (2) of one float feature and one integer label.
    """
    from tfx.types import artifact_utils, standard_artifacts

    uri = tmp_path / "examples"
    sizes = {"train": 8, "eval": 4, "test": 2}
    write_examples(uri, {split: [{"x": float(i), "label": i % 2} for i in range(n)] for split, n in sizes.items()})
    examples = standard_artifacts.Examples()
    examples.uri = str(uri)
    examples.split_names = artifact_utils.encode_split_names(list(sizes))

    model, model_run = standard_artifacts.Model(), standard_artifacts.ModelRun()
    model.uri, model_run.uri = str(tmp_path / "model"), str(tmp_path / "model_run")
    for artifact in (model, model_run):
        Path(artifact.uri).mkdir()

    def run(context: Any = None, **changes: Any) -> None:
        from polytrainer.executors.generic_executor import GenericExecutor

        GenericExecutor(context).Do(result.input_dict, result.output_dict, {**result.exec_properties, **changes})

    def give(key: str, kind: str, folder: str, files: Mapping[str, str]) -> Path:
        """Adds an input artifact with files in it."""
        artifact = getattr(standard_artifacts, kind)()
        artifact.uri = str(tmp_path / folder)
        for name, content in files.items():
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        result.input_dict[key] = [artifact]
        return tmp_path / folder

    result = SimpleNamespace(
        input_dict={"examples": [examples]},
        output_dict={"model": [model], "model_run": [model_run]},
        exec_properties={
            "train_args": json.dumps({"num_steps": 3}),
            "eval_args": json.dumps({}),
            "custom_config": "null",
        },
        examples_uri=uri,
        model=model,
        model_run=model_run,
        run=run,
        give=give,
    )
    return result


@pytest.fixture
def saves_a_model(module_file: Callable[..., str]) -> str:
    """A module_file whose run_fn writes a SavedModel and does nothing else."""
    return module_file(SAVES_A_MODEL, "saves_a_model")
