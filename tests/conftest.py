"""Shared by all tests: small Examples on disk, a node to run, and where the checkout is."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace
from typing import Any

import pytest

from polytrainer.executors.backends import triton_beside_tensorflow

ROOT = Path(__file__).parents[1]

triton_beside_tensorflow.install()  # tests import TensorFlow and PyTorch in any order, in one process


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


class ForkedTraining:
    """A PyTorch training in a process of its own, which took no time to start; `tests/nursery.py` has the model."""

    def __init__(self, nursery: subprocess.Popen[str], log: Path, told: Mapping[str, Any]):
        self._nursery, self._log, self._code = nursery, log, -1
        self.pid = self._ask({"log": str(log), "env": {}, **told})

    def send(self, how: signal.Signals) -> None:
        """Sends it a signal, unless it has ended."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, how)

    def ended(self) -> bool:
        """Waits for its end; whether it ended well."""
        if self._code < 0:
            self._code = self._ask({"wait": self.pid})
        return self._code == 0

    @property
    def said(self) -> str:
        """What it has printed so far."""
        return self._log.read_text() if self._log.exists() else ""

    def _ask(self, line: Mapping[str, Any]) -> int:
        assert self._nursery.stdin is not None
        assert self._nursery.stdout is not None
        self._nursery.stdin.write(json.dumps(line) + "\n")
        return int(self._nursery.stdout.readline())


@pytest.fixture(scope="session")
def nursery() -> Iterator[subprocess.Popen[str]]:
    """The process that forks trainings."""
    command = [sys.executable, str(ROOT / "tests" / "nursery.py")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield process
    process.communicate()


@pytest.fixture
def forked(nursery: subprocess.Popen[str], small: SimpleNamespace, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Starts a training of `small`: `forked(name, **options)`; the same name is the same one, in `tmp_path/name`."""
    told = {"train_files": small.train, "eval_files": small.eval, "schema": small.schema, "batch_size": 8, "seed": 3}
    started = []

    def start(name: str, log: str | None = None, **options: Any) -> ForkedTraining:
        output = {"output_dir": str(tmp_path / name)}
        training = ForkedTraining(nursery, tmp_path / f"{log or name}.log", {**told, **output, **options})
        started.append(training)
        return training

    yield start
    for training in started:
        training.send(signal.SIGKILL)
        training.ended()


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

    def run(**changes: Any) -> None:
        from polytrainer.executors.generic_executor import GenericExecutor

        GenericExecutor().Do(result.input_dict, result.output_dict, {**result.exec_properties, **changes})

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


# ---- for the tests of executors/data: splits on disk, and batches as plain Python

KINDS = {int: "int64_list", float: "float_list", bytes: "bytes_list"}


def write(path, rows):
    """Writes rows (name → list of values, none where a feature is missing) as tf.Examples; gzipped by the name."""
    import tensorflow as tf

    options = tf.io.TFRecordOptions(compression_type="GZIP" if str(path).endswith(".gz") else "")
    with tf.io.TFRecordWriter(str(path), options) as writer:
        for row in rows:
            example = tf.train.Example()
            for name, values in row.items():
                if values:
                    getattr(example.features.feature[name], KINDS[type(values[0])]).value.extend(values)
            writer.write(row if isinstance(row, bytes) else example.SerializeToString())
    return str(path)


def write_raw(path, records):
    """Writes serialized records."""
    import tensorflow as tf

    options = tf.io.TFRecordOptions(compression_type="GZIP" if str(path).endswith(".gz") else "")
    with tf.io.TFRecordWriter(str(path), options) as writer:
        for record in records:
            writer.write(record)
    return str(path)


def write_parquet(path, rows, names, *, row_group_size=4):
    """Writes the same rows to Parquet: a column of lists for each name, null where a row has no value."""
    import pyarrow as pa
    from pyarrow import parquet

    types = {int: pa.int64(), float: pa.float32(), bytes: pa.binary()}
    columns = {
        name: pa.array([row.get(name) or None for row in rows], pa.list_(types[kind])) for name, kind in names.items()
    }
    parquet.write_table(pa.table(columns), str(path), row_group_size=row_group_size)
    return str(path)


def rows_of(value, words=False):
    """A feature of a batch as a list with an entry for each example; `words` makes bytes of the innermost uint8."""
    if hasattr(value, "size") and hasattr(value, "columns"):
        values, columns, splits = rows_of(value.values, words), value.columns.tolist(), value.row_splits.tolist()
        pairs = [*zip(columns, values, strict=True)] if words else [*zip(columns, value.values.tolist(), strict=True)]
        return [pairs[start:stop] for start, stop in itertools.pairwise(splits)]
    if hasattr(value, "row_splits"):
        splits = value.row_splits.tolist()
        innermost = words and not hasattr(value.values, "row_splits")
        inner = bytes(value.values.tolist()) if innermost else rows_of(value.values, words)
        return [inner[start:stop] for start, stop in itertools.pairwise(splits)]
    return value.tolist()


def parsed(files, spec):
    """What tf.io.parse_example makes of all records of files, as `rows_of` would say it."""
    import tensorflow as tf

    records = [*tf.data.TFRecordDataset(files, "GZIP" if files[0].endswith(".gz") else "").as_numpy_iterator()]
    result = {}
    for name, value in tf.io.parse_example(tf.constant(records, tf.string), spec).items():
        if isinstance(spec[name], tf.io.SparseFeature):
            rows = [[] for _ in records]
            for (row, *columns), element in zip(
                value.indices.numpy().tolist(), value.values.numpy().tolist(), strict=True
            ):
                rows[row].append((columns[0] if len(columns) == 1 else columns, element))
            result[name] = rows
        elif isinstance(value, tf.SparseTensor):
            result[name] = tf.RaggedTensor.from_sparse(value).to_list()
        else:
            result[name] = value.to_list() if isinstance(value, tf.RaggedTensor) else value.numpy().tolist()
    return result


@pytest.fixture(scope="session")
def splits():
    """write, write_raw, write_parquet, rows_of, parsed."""
    return SimpleNamespace(
        write=write, write_raw=write_raw, write_parquet=write_parquet, rows_of=rows_of, parsed=parsed
    )


@pytest.fixture(scope="session")
def numbered(tmp_path_factory):
    """Two files with the numbers 0 to 22, the spec that reads them, and a folder for what is decoded from them."""
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("numbered")
    files = [
        write(folder / "a.gz", [{"n": [number]} for number in range(10)]),
        write(folder / "b.gz", [{"n": [number]} for number in range(10, 23)]),
    ]
    return SimpleNamespace(files=files, spec={"n": tf.io.FixedLenFeature([], tf.int64)}, folder=str(folder / "cache"))
