"""TensorFlow.js models of a Source: what they are called and hold; and when they are not written."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace

import numpy as np
import pytest

from polytrainer.executors.errors import TrainingError
from polytrainer.executors.export.formats import signature, tfjs
from polytrainer.executors.export.formats.source import Source
from polytrainer.executors.export.formats.write import problems, write
from polytrainer.proto.trainer_pb2 import ExportArgs

TFJS = ExportArgs(formats=["TFJS"])


def make_source(module, outputs, features):
    """A Source of a function of tensors by name."""

    def predict(batch):
        return {name: value.numpy() for name, value in outputs(batch).items()}

    return Source(lambda path: signature.save(module, outputs, features, path), features, predict, features)


@pytest.fixture(scope="module")
def source():
    """Embeddings of ids beside numbers; with features of one shape, an unused one, and odd names."""
    import tensorflow as tf

    random = np.random.RandomState(0)
    module = tf.Module()
    module.table = tf.Variable(random.randn(300, 16).astype(np.float32))
    module.last = tf.Variable(random.randn(24, 3).astype(np.float32))
    features = {
        "ids.values": random.randint(0, 300, (40, 1)),
        "numbers": random.randn(40, 4).astype(np.float32),
        "more numbers": random.randn(40, 4).astype(np.float32),
        "unused": np.ones((40, 1), np.float32),
    }

    def outputs(given):
        rows = tf.reshape(tf.gather(module.table, given["ids.values"]), [-1, 16])
        logits = tf.nn.relu(tf.concat([rows, given["numbers"], 2 * given["more numbers"]], 1) @ module.last)
        return {"logits": logits, "twice": 2 * logits, "classes": tf.argmax(logits, -1), "10": logits + 1, "9": -logits}

    made = make_source(module, outputs, features)
    made.predict.table = module.table.numpy()
    return made


def test_without_its_package_it_is_refused_with_the_lines_that_it_resolves_on(source, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflowjs", None)
    [found] = problems(replace(source, write_saved_model=None), TFJS)
    assert "export_args.formats: got TFJS without tensorflowjs; expected the package installed" in str(found)
    assert "pip install 'polytrainer[tfjs]'. It resolves with TFX 1.15 and 1.16, not with 1.21" in str(found)


@pytest.fixture(scope="module")
def folder(source, tmp_path_factory):
    """`Format-TFJS` of it."""
    pytest.importorskip("tensorflowjs")
    root = tmp_path_factory.mktemp("tfjs")
    assert problems(source, TFJS) == []
    assert write(source, TFJS, str(root)) == {}  # no parity: TensorFlow.js itself was not run
    return root / "Format-TFJS"


def described(infos):
    return {
        name: (info["dtype"], [int(axis["size"]) for axis in info["tensorShape"]["dim"]])
        for name, info in infos.items()
    }


def test_its_signature_has_the_names_types_and_shapes_of_the_model(folder):
    model = json.loads((folder / "model.json").read_text())
    assert model["format"] == "graph-model"
    assert described(model["signature"]["inputs"]) == {
        "ids.values": ("DT_INT64", [-1, 1]),
        "numbers": ("DT_FLOAT", [-1, 4]),
        "more numbers": ("DT_FLOAT", [-1, 4]),
        "unused": ("DT_FLOAT", [-1, 1]),
    }
    assert described(model["signature"]["outputs"]) == {
        "logits": ("DT_FLOAT", [-1, 3]),
        "twice": ("DT_FLOAT", [-1, 3]),
        "classes": ("DT_INT64", [-1]),
        "10": ("DT_FLOAT", [-1, 3]),
        "9": ("DT_FLOAT", [-1, 3]),
    }
    nodes = {node["name"] for node in model["modelTopology"]["node"]}
    infos = [*model["signature"]["inputs"].values(), *model["signature"]["outputs"].values()]
    assert {info["name"].split(":")[0] for info in infos} <= nodes


def test_its_outputs_are_in_the_order_in_which_javascript_has_the_keys(folder):
    model = json.loads((folder / "model.json").read_text())
    assert list(model["signature"]["outputs"]) == ["9", "10", "classes", "logits", "twice"]
    assert model["userDefinedMetadata"]["structuredOutputKeys"] == list(model["signature"]["outputs"])


def test_its_files_hold_the_weights_of_the_model(folder, source):
    from tensorflowjs.read_weights import read_weights

    manifest = json.loads((folder / "model.json").read_text())["weightsManifest"]
    assert {path.name for path in folder.iterdir()} == {
        "model.json",
        *(name for group in manifest for name in group["paths"]),
    }
    weights = {entry["name"]: entry["data"] for entry in read_weights(manifest, str(folder), flatten=True)}
    assert any(np.array_equal(array, source.predict.table) for array in weights.values())


def test_its_graph_with_these_weights_says_what_the_model_says(folder, source, tmp_path):
    [got] = tfjs.run(str(folder / "model.json"), [source.features])
    for name, wanted in source.predict(source.features).items():
        assert got[name] == pytest.approx(wanted, abs=1e-4), name
    table = source.predict.table
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes().replace(table.tobytes(), (table + 1).tobytes()))
    [other] = tfjs.run(str(tmp_path / "model.json"), [source.features])
    assert abs(other["logits"] - got["logits"]).max() > 0.1


def test_a_graph_that_says_something_else_is_not_written(folder, source, tmp_path):
    def other(batch):
        return {**source.predict(batch), "logits": source.predict(batch)["logits"] + 1}

    with pytest.raises(TrainingError, match=r"Format-TFJS/model\.json: got outputs that differ by .* at most 0\.0001"):
        write(replace(source, predict=other), TFJS, str(tmp_path))
    assert not list(tmp_path.iterdir())


def python_function(x, module):
    import tensorflow as tf

    return tf.ensure_shape(tf.numpy_function(lambda x: x + 1, [x], tf.float32), [None, 2])


def half_precision(x, module):
    import tensorflow as tf

    return tf.cast(tf.cast(x, tf.bfloat16) * 2, tf.float32)


def table_lookup(x, module):
    import tensorflow as tf

    with tf.init_scope():
        pairs = tf.lookup.KeyValueTensorInitializer(tf.constant([1, 2], tf.int64), tf.constant([3.0, 4.0]))
        module.table = tf.lookup.StaticHashTable(pairs, 0.0)
    return module.table.lookup(tf.cast(x, tf.int64))


@pytest.mark.parametrize(
    ("function", "cause"),
    [
        (python_function, "there is nothing for .*PyFunc"),
        (half_precision, "there is nothing for DT_BFLOAT16"),
        (table_lookup, "lookup tables"),
    ],
)
def test_what_tensorflowjs_cannot_compute_is_named(function, cause):
    pytest.importorskip("tensorflowjs")
    import tensorflow as tf

    module = tf.Module()
    features = {"x": np.ones((3, 2), np.float32)}
    made = make_source(module, lambda given: {"y": function(given["x"], module)}, features)
    [found] = problems(made, TFJS)
    assert found.got.startswith("TFJS, which this model cannot be written as")
    assert re.search(cause, found.got)
    assert "Leave TFJS out of ExportArgs.formats" in found.remedy


def test_operators_of_tensorflowjs_own_are_written_and_said_not_to_have_run(tmp_path, caplog):
    pytest.importorskip("tensorflowjs")
    import tensorflow as tf

    module = tf.Module()
    module.alpha = tf.Variable([0.25, 0.5])

    def outputs(given):
        x = given["x"]
        return {"y": tf.nn.relu(x) + -module.alpha * tf.nn.relu(-x)}  # as Keras' PReLU has it

    made = make_source(module, outputs, {"x": np.array([[-1, 2], [3, -4]], np.float32)})
    write(made, TFJS, str(tmp_path))
    nodes = json.loads((tmp_path / "Format-TFJS/model.json").read_text())["modelTopology"]["node"]
    assert "Prelu" in {node["op"] for node in nodes}
    assert "TFJS: the graph was not run, as TensorFlow has no operators Prelu." in caplog.text
