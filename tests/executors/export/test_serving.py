"""A PyTorch model as a model server sees it: loaded by TensorFlow's C++ runtime and its command line, without PyTorch.

TensorFlow Serving's binary is in no package registry, and TFX's InfraValidator starts it in Docker or Kubernetes; so
the loader and the session that it stands on are asked themselves, in processes of their own.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytestmark = [pytest.mark.line]

WORDS = ["red", "green", "blue"]
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def network() -> Any:
    """A bit of everything: an embedding, a convolution, a loop over steps, attention, two outputs."""
    import torch
    from torch import nn

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.convolution = nn.Embedding(4, 8), nn.Conv1d(1, 8, 3, padding=1)
            self.steps, self.attention = nn.GRU(8, 8, batch_first=True), nn.TransformerEncoderLayer(8, 2, 16)
            self.norm, self.head = nn.BatchNorm1d(8), nn.Linear(8, 3)

        def forward(self, word: Any, numbers: Any) -> dict[str, Any]:
            sequence = self.convolution(numbers[:, None]).relu().transpose(1, 2) + self.embedding(word)
            mixed = self.attention(self.steps(sequence)[0].transpose(0, 1)).mean(0)
            logits = self.head(self.norm(mixed))
            return {"logits": logits, "class": logits.argmax(-1)}

    torch.manual_seed(0)
    return Network().eval()


@pytest.fixture(scope="module")
def served(network: Any, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A SavedModel of it, behind a vocabulary in a file as Transform's is; rows, and what PyTorch makes of them."""
    import tensorflow as tf
    import torch

    from polytrainer.executors.export import saved_model, signatures
    from polytrainer.executors.export.aten_to_tf import convert, export

    folder = tmp_path_factory.mktemp("served")
    (folder / "vocabulary.txt").write_text("\n".join(WORDS))

    class Vocabulary(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            whole_line, its_number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
            file = str(folder / "vocabulary.txt")
            lines = tf.lookup.TextFileInitializer(file, tf.string, whole_line, tf.int64, its_number)
            self.table = tf.lookup.StaticHashTable(lines, default_value=len(WORDS))

        def __call__(self, raw: Any) -> Any:
            return {**raw, "word": self.table.lookup(raw["word"])}

    rows = [{"word": word, "numbers": [0.5 * i, -1.0, 0.1 * i, 3.0]} for i, word in enumerate([*WORDS, "?"] * 2)]
    ids = torch.tensor([[[*WORDS, "?"].index(row["word"])] for row in rows])
    numbers = torch.tensor([row["numbers"] for row in rows])
    with torch.no_grad():
        wanted = {name: value.numpy() for name, value in network(ids, numbers).items()}
    spec = {
        "word": tf.io.FixedLenFeature([1], tf.string),
        "numbers": tf.io.FixedLenFeature([4], tf.float32),
        "label": tf.io.FixedLenFeature([1], tf.int64),
    }
    module = convert(export(network, (ids, numbers)))
    needed = ("numbers", "word")
    own_spec, sources = {name: spec[name] for name in needed}, {name: frozenset([name]) for name in needed}
    between = signatures.Interface(spec, needed, Vocabulary(), needed, own_spec, sources, needed)
    made = signatures.signatures(module, lambda features: module(features["word"], features["numbers"]), between)
    del made[signatures.TRANSFORM]
    saved_model.write(module, str(folder / "model"), made)
    (folder / "vocabulary.txt").unlink()  # a server has nothing but the SavedModel
    return SimpleNamespace(path=folder / "model", rows=rows, wanted=wanted, folder=folder)


def serialized(row: dict[str, Any]) -> bytes:
    import tensorflow as tf

    example = tf.train.Example()
    example.features.feature["word"].bytes_list.value.append(row["word"].encode())
    example.features.feature["numbers"].float_list.value.extend(row["numbers"])
    return bytes(example.SerializeToString())


def meta_graph(path: Path) -> Any:
    from tensorflow.core.protobuf import saved_model_pb2

    return saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes()).meta_graphs[0]


def strings(values: list[bytes], shape: list[int]) -> dict[str, Any]:
    return {"shape": shape, "values": [base64.b64encode(value).decode() for value in values]}


def as_fed(signature: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Rows as a signature takes them, by the names of its arguments."""
    if signature == "serving_default":
        return {"examples": strings([serialized(row) for row in rows], [len(rows)])}
    return {
        "word": strings([row["word"].encode() for row in rows], [len(rows), 1]),
        "numbers": {"shape": [len(rows), 4], "values": [row["numbers"] for row in rows], "dtype": "float32"},
    }


def answers(checkout: Path, served: SimpleNamespace, signature: str, batches: list[list[int]], threads: int) -> Any:
    """What the C++ runtime makes of batches, a dict of outputs each."""
    definition = meta_graph(served.path).signature_def[signature]
    outputs = {name: info.name for name, info in definition.outputs.items()}
    calls = [as_fed(signature, [served.rows[i] for i in batch]) for batch in batches]
    named = [{definition.inputs[name].name: value for name, value in call.items()} for call in calls]
    done = subprocess.run(
        [sys.executable, str(checkout / "tests/support/cpp_runtime.py"), str(served.path)],
        input=json.dumps({"fetches": list(outputs.values()), "calls": named, "threads": threads}),
        cwd=served.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [dict(zip(outputs, each, strict=True)) for each in json.loads(done.stdout)]


def assert_same(served: SimpleNamespace, batch: list[int], got: Any) -> None:
    from polytrainer.executors.export.parity import difference

    assert difference({name: value[batch] for name, value in served.wanted.items()}, got) <= TOLERANCE


@pytest.mark.parametrize("signature", ["serving_default", "predict"])
def test_the_cpp_runtime_says_what_pytorch_says(checkout: Path, served: SimpleNamespace, signature: str) -> None:
    batches = [[3], list(range(7))]
    for batch, got in zip(batches, answers(checkout, served, signature, batches, threads=1), strict=True):
        assert_same(served, batch, got)


def test_several_threads_get_the_answers_that_one_gets(checkout: Path, served: SimpleNamespace) -> None:
    batches = [[i % 8, *range(i % 7)] for i in range(64)]  # the first calls meet in a session that nobody warmed up
    for batch, got in zip(batches, answers(checkout, served, "serving_default", batches, threads=8), strict=True):
        assert_same(served, batch, got)


def test_the_command_line_of_saved_models_says_what_pytorch_says(served: SimpleNamespace) -> None:
    import numpy as np

    rows = served.rows[:7]
    columns = {"word": np.array([[row["word"].encode()] for row in rows]), "numbers": [row["numbers"] for row in rows]}
    for name, values in columns.items():
        np.save(served.folder / f"{name}.npy", np.asarray(values, None if name == "word" else np.float32))
    lists = [{"word": [row["word"]], "numbers": row["numbers"]} for row in rows]
    given = {
        "serving_default": ["--input_examples", f"examples={json.dumps(lists)}"],
        "predict": ["--inputs", ";".join(f"{name}={served.folder / name}.npy" for name in columns)],
    }
    running = {}
    for signature, arguments in given.items():  # side by side: each spends its time on importing TensorFlow
        out = served.folder / f"cli_{signature}"
        command = [sys.executable, "-m", "tensorflow.python.tools.saved_model_cli", "run", "--dir", str(served.path)]
        options = ["--tag_set", "serve", "--signature_def", signature, *arguments, "--outdir", str(out)]
        quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        pipe = subprocess.PIPE
        running[out] = subprocess.Popen([*command, *options], stdout=pipe, stderr=subprocess.STDOUT, env=quiet)
    for out, process in running.items():
        said = process.communicate()[0].decode()
        assert process.returncode == 0, said[-3000:]
        assert_same(served, list(range(7)), {name: np.load(out / f"{name}.npy") for name in served.wanted})


def test_every_operator_is_one_that_tensorflow_brings(served: SimpleNamespace) -> None:
    from tensorflow.python.framework import op_def_registry

    graph = meta_graph(served.path).graph_def
    own = {function.signature.name for function in graph.library.function}
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    used = {node.op for node in nodes} - own
    assert {op for op in used if op_def_registry.get(op) is None or "PyFunc" in op} == set()
    assert {"While", "StatelessWhile"} & used  # the loop is one, however long the sequence
