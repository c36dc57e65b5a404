"""ONNX and TFLite files of a Source: what they are called, take and say; and when they are not written."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest

from polytrainer.executors.errors import TrainingError
from polytrainer.executors.export.formats import signature
from polytrainer.executors.export.formats.source import SIGNATURE, Source
from polytrainer.executors.export.formats.write import problems, write
from polytrainer.proto.trainer_pb2 import ExportArgs

pytestmark = pytest.mark.line

VOCABULARY, WIDTH, CLASSES = 300, 16, 3


@pytest.fixture(scope="module")
def source():
    """Embeddings of ids beside numbers, two layers; with a feature that nothing is computed from, and odd names."""
    import tensorflow as tf

    random = np.random.RandomState(0)

    def variable(*shape):
        return tf.Variable(random.randn(*shape).astype(np.float32) / shape[0] ** 0.5)

    module = tf.Module()
    shift = tf.constant(random.randn(4).astype(np.float32))  # a tensor from outside, as Keras' Normalization has it
    module.table, module.hidden, module.last = variable(VOCABULARY, WIDTH), variable(2 * WIDTH + 4, 64), variable(64, 3)
    features = {
        "ids.values": random.randint(0, VOCABULARY, (40, 2)),
        "numbers": random.randn(40, 4).astype(np.float32),
        "unused": np.ones((40, 1), np.float32),
    }

    def outputs(given):
        rows = tf.reshape(tf.gather(module.table, given["ids.values"]), [-1, 2 * WIDTH])
        logits = tf.nn.relu(tf.concat([rows, given["numbers"] + shift], 1) @ module.hidden) @ module.last
        return {"logits": logits, "classes": tf.argmax(logits, -1)}

    return made(module, outputs, features)


def made(module, outputs, features):
    """A Source of a function of tensors by name."""

    def predict(batch):
        return {name: value.numpy() for name, value in outputs(batch).items()}

    return Source(lambda path: signature.save(module, outputs, features, path), features, predict, features)


def onnx_session(root):
    import onnxruntime

    return onnxruntime.InferenceSession(str(root / "Format-ONNX/model.onnx"), providers=["CPUExecutionProvider"])


def test_an_onnx_file_has_the_features_names_the_batch_and_the_opset(source, tmp_path):
    import onnx

    apart = write(source, ExportArgs(formats=["ONNX"], onnx={"opset": 15}), str(tmp_path))
    assert apart == {"onnx": pytest.approx(0, abs=1e-5)}
    session = onnx_session(tmp_path)
    assert {each.name: (each.shape, each.type) for each in session.get_inputs()} == {
        "ids.values": (["batch", 2], "tensor(int64)"),
        "numbers": (["batch", 4], "tensor(float)"),
        "unused": (["batch", 1], "tensor(float)"),
    }
    assert {each.name: each.shape for each in session.get_outputs()} == {"logits": ["batch", 3], "classes": ["batch"]}
    [logits] = session.run(["logits"], source.features)
    assert logits == pytest.approx(source.predict(source.features)["logits"], abs=1e-5)
    model = onnx.load(tmp_path / "Format-ONNX/model.onnx")
    onnx.checker.check_model(model)
    assert {each.version for each in model.opset_import if not each.domain} == {15}
    assert [path.name for path in tmp_path.iterdir()] == ["Format-ONNX"]


def written_tflite(source, root, quantization):
    import tensorflow as tf

    told = ExportArgs(formats=["TFLITE"], tflite={"quantization": quantization})
    [(key, apart)] = write(source, told, str(root)).items()
    assert key == "tflite"
    path = root / "Format-TFLite/model.tflite"
    runner = tf.lite.Interpreter(model_path=str(path)).get_signature_runner(SIGNATURE)
    types = {name: each["dtype"] for name, each in runner.get_input_details().items()}
    assert types == {"ids.values": np.int64, "numbers": np.float32, "unused": np.float32}
    assert {name: each["dtype"] for name, each in runner.get_output_details().items()} == {
        "logits": np.float32,
        "classes": np.int64,
    }
    assert runner(**source.features)["logits"].shape == (40, 3)
    return apart, path.stat().st_size


def test_a_quantized_tflite_file_is_smaller_and_says_nearly_the_same(source, tmp_path):
    found = {
        kind: written_tflite(source, tmp_path / kind, kind) for kind in ("none", "float16", "dynamic", "full_integer")
    }
    apart, size = ({kind: pair[number] for kind, pair in found.items()} for number in (0, 1))
    assert apart["none"] < 1e-5 < apart["float16"] < 1e-3 < min(apart["dynamic"], apart["full_integer"])
    assert size["float16"] < 0.65 * size["none"]
    assert max(size["dynamic"], size["full_integer"]) < 0.5 * size["none"]


def test_full_integer_computes_in_8_bits_with_ranges_of_the_calibration(source, tmp_path):
    import tensorflow as tf

    told = ExportArgs(formats=["TFLITE"], tflite={"quantization": "full_integer", "tolerance": 10})
    fine = write(source, told, str(tmp_path))["tflite"]
    details = tf.lite.Interpreter(str(tmp_path / "Format-TFLite/model.tflite")).get_tensor_details()
    assert {each["dtype"] for each in details if "MatMul" in each["name"]} <= {np.int8, np.int32}
    told.tflite.calibration_examples = 2  # which do not show how far the numbers of others go
    assert write(source, told, str(tmp_path))["tflite"] > 2 * fine


@pytest.mark.parametrize(("name", "cause"), [("ONNX", "draw at random"), ("TFLITE", "draw at random")])
def test_a_file_that_says_something_else_is_not_written(source, tmp_path, name, cause):
    def other(batch):
        return {**source.predict(batch), "logits": source.predict(batch)["logits"] + 0.01}

    with pytest.raises(TrainingError, match=rf"Format-.*got outputs that differ by 0.01.* at most 0\.0001.*{cause}"):
        write(replace(source, predict=other), ExportArgs(formats=[name]), str(tmp_path))
    assert not list(tmp_path.iterdir())
    [found] = problems(replace(source, predict=other), ExportArgs(formats=[name]))
    assert "differ by" in str(found)


def test_where_one_of_two_is_wrong_none_is_written(source, tmp_path):
    told = ExportArgs(formats=["ONNX", "TFLITE"], tflite={"quantization": "dynamic", "tolerance": 1e-6})
    with pytest.raises(TrainingError, match=r"Format-TFLite/model\.tflite: .*Another quantization than 'dynamic'"):
        write(source, told, str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_an_output_that_the_file_lacks_is_named(source, tmp_path):
    more = replace(source, predict=lambda batch: {**source.predict(batch), "more": np.ones(1)})
    with pytest.raises(TrainingError, match=r"without the outputs \['more'\]"):
        write(more, ExportArgs(formats=["TFLITE"]), str(tmp_path))


def test_an_untrained_model_that_can_be_written_has_no_problems(source):
    told = ExportArgs(formats=["ONNX", "TFLITE"], tflite={"quantization": "full_integer", "tolerance": 1e-9})
    assert problems(source, told) == []


def test_nothing_is_made_where_neither_is_asked_for(source, tmp_path):
    assert write(replace(source, write_saved_model=None), ExportArgs(formats=["TORCH"]), str(tmp_path)) == {}
    assert problems(replace(source, write_saved_model=None), ExportArgs()) == []


@pytest.mark.parametrize("name", ["ONNX", "TFLITE"])
def test_operators_that_a_format_does_not_have_are_named(name, tmp_path):
    import tensorflow as tf

    def outputs(given):
        y = tf.numpy_function(lambda x: x + 1, [given["x"]], tf.float32)
        return {"y": tf.ensure_shape(y, [None, 2])}

    python = made(tf.Module(), outputs, {"x": np.ones((3, 2), np.float32)})
    found = problems(python, ExportArgs(formats=[name]))
    assert len(found) == 1
    assert f"{name}, which this model cannot be written as (there is nothing for " in str(found[0])
    assert "PyFunc" in str(found[0])
    assert f"Leave {name} out of ExportArgs.formats" in str(found[0])
    with pytest.raises(TrainingError, match="PyFunc"):
        write(python, ExportArgs(formats=[name]), str(tmp_path))


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_half_precision_is_not_quantized_which_would_end_the_process(name, tmp_path):
    import tensorflow as tf

    module = tf.Module()
    module.weight = tf.Variable(np.ones((2, 3), np.float32))

    def outputs(given):
        product = tf.cast(given["x"], name) @ tf.cast(module.weight, name)
        return {"y": tf.cast(product, tf.float32)}

    half = made(module, outputs, {"x": np.ones((3, 2), np.float32)})
    [found] = problems(half, ExportArgs(formats=["TFLITE"], tflite={"quantization": "full_integer"}))
    assert "half precision" in str(found)


def test_operators_of_tensorflow_run_where_the_interpreter_has_them(tmp_path):
    import tensorflow as tf

    def outputs(given):
        x = given["x"]
        return {"y": tf.sparse.segment_mean(x, tf.range(tf.shape(x)[0]), tf.range(tf.shape(x)[0]))}

    exotic = made(tf.Module(), outputs, {"x": np.ones((3, 2), np.float32)})
    found = problems(exotic, ExportArgs(formats=["TFLITE"]))
    if tuple(map(int, tf.__version__.split(".")[:2])) < (2, 20):
        assert not found
        assert write(exotic, ExportArgs(formats=["TFLITE"]), str(tmp_path))["tflite"] < 1e-5
    else:  # its interpreter has no Flex delegate, so that nobody could say whether the file is right
        assert "operators of TensorFlow itself, such as FlexSparseSegmentMean" in str(found[0])


def test_missing_packages_are_named(source, monkeypatch):
    for name in ("onnxruntime", "tf2onnx"):
        monkeypatch.setitem(sys.modules, name, None)
    [found] = problems(source, ExportArgs(formats=["ONNX"]))
    assert "ONNX without onnxruntime and tf2onnx" in str(found)
    assert "pip install 'polytrainer[onnx]'" in str(found)
    [found] = problems(replace(source, write_onnx=lambda path, opset: None), ExportArgs(formats=["ONNX"]))
    assert "ONNX without onnxruntime;" in str(found)


def test_a_framework_may_have_its_own_way_to_onnx(source, tmp_path):
    import onnx

    def own(path, opset):
        x, y = (onnx.helper.make_tensor_value_info(name, 1, ["n", 4]) for name in ("numbers", "y"))
        graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["numbers"], ["y"])], "own", [x], [y])
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8)
        onnx.save(model, path)

    relu = replace(source, write_onnx=own, predict=lambda batch: {"y": np.maximum(batch["numbers"], 0)})
    assert write(relu, ExportArgs(formats=["ONNX"]), str(tmp_path)) == {"onnx": 0}
    session = onnx_session(tmp_path)
    assert {each.name: each.shape for each in session.get_inputs()} == {
        "numbers": ["n", 4],
        "ids.values": ["batch", 2],
        "unused": ["batch", 1],
    }
    assert len(session.run(None, source.features)[0]) == 40
