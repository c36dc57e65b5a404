"""KerasTrainer → ONNX, TFLite and TensorFlow.js, from a Trainer node."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.line

SCHEMA = """
    feature { name: "x" type: FLOAT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
    feature { name: "label" type: INT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
"""
WORDS = 'feature { name: "words" type: BYTES }'
MORE = 'feature { name: "more" type: INT }'

MODULE = """
    import tensorflow as tf
    from polytrainer import KerasTrainer

    class Mine(KerasTrainer):
        def model_fn(self):
            told = self.fn_args.custom_config or {}
            inputs = {"x": tf.keras.Input((1,), name="x")}
            hidden = tf.keras.layers.Dense(4, activation="tanh")(inputs["x"])
            outputs = tf.keras.layers.Dense(1, activation="sigmoid")(hidden)
            if told.get("subclassed"):
                class Python(tf.keras.Model):
                    def __init__(self):
                        super().__init__()
                        self.dense = tf.keras.layers.Dense(1)

                    def call(self, features):
                        twice = tf.numpy_function(lambda x: 2 * x, [features["x"]], tf.float32)
                        return self.dense(tf.ensure_shape(twice, [None, 1]))
                model = Python()
            else:
                model = tf.keras.Model(inputs, {"p": outputs, "hidden": hidden})
            model.compile("adam", "mse" if told.get("subclassed") else {"p": "mse"})
            return model

    run_fn = Mine(label_key="label").run_fn
"""


@pytest.fixture
def keras_node(node, module_file):
    """The `node` with a schema and the module above."""
    node.give("schema", "Schema", "schema", {"schema.pbtxt": SCHEMA})
    node.exec_properties["train_args"] = json.dumps({"num_epochs": 1, "batch_size": 4, "seed": 1})
    node.exec_properties["module_file"] = module_file(MODULE, "keras_module")
    return node


def test_it_writes_what_is_asked_for_and_says_how_far_it_is_from_the_model(keras_node):
    import onnxruntime
    import tensorflow as tf

    keras_node.run(export_args=json.dumps({"formats": ["SAVED_MODEL", "ONNX", "TFLITE"], "onnx": {"opset": 15}}))
    root = Path(keras_node.model.uri)
    properties = keras_node.model.mlmd_artifact.custom_properties
    apart = {name: float(properties[f"parity.{name}"].string_value) for name in ("saved_model", "onnx", "tflite")}
    assert all(0 <= value < 1e-5 for value in apart.values()), apart
    told = json.loads(Path(keras_node.model_run.uri, "trainer_state.json").read_text())["parity"]
    assert told == pytest.approx(apart, rel=0.01)  # which has three digits

    import numpy as np

    x = np.array([[1.0], [2.0], [3.0]], np.float32)
    named = tf.saved_model.load(str(root / "Format-Serving")).signatures["predict"](x=tf.constant(x))
    session = onnxruntime.InferenceSession(str(root / "Format-ONNX/model.onnx"), providers=["CPUExecutionProvider"])
    [p] = session.run(["p"], {"x": x})
    assert p == pytest.approx(named["p"].numpy(), abs=1e-6)
    runner = tf.lite.Interpreter(str(root / "Format-TFLite/model.tflite")).get_signature_runner("model")
    assert runner(x=x)["hidden"] == pytest.approx(named["hidden"].numpy(), abs=1e-6)


def test_tensorflowjs_has_what_predict_takes_and_gives_and_no_parity(keras_node):
    pytest.importorskip("tensorflowjs")
    keras_node.run(export_args=json.dumps({"formats": ["SAVED_MODEL", "TFJS"]}))
    told = json.loads(Path(keras_node.model.uri, "Format-TFJS", "model.json").read_text())["signature"]
    shapes = {
        name: (info["dtype"], [axis["size"] for axis in info["tensorShape"]["dim"]])
        for name, info in {**told["inputs"], **told["outputs"]}.items()
    }
    assert shapes == {
        "x": ("DT_FLOAT", ["-1", "1"]),
        "p": ("DT_FLOAT", ["-1", "1"]),
        "hidden": ("DT_FLOAT", ["-1", "4"]),
    }
    parity = [name for name in keras_node.model.mlmd_artifact.custom_properties if name.startswith("parity.")]
    assert "parity.saved_model" in parity
    assert "parity.tfjs" not in parity


def test_tensorflowjs_is_refused_before_training_where_its_package_is_not_installed(keras_node, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflowjs", None)
    match = r"got TFJS without tensorflowjs.*pip install 'polytrainer\[tfjs\]'.*TFX 1\.15 and 1\.16"
    refusal(keras_node, match, export_args=json.dumps({"formats": ["TFJS"]}))


def test_it_writes_no_more_than_is_asked_for(keras_node):
    keras_node.run()
    assert sorted(path.name for path in Path(keras_node.model.uri).iterdir()) == [
        "Format-Keras",
        "Format-Serving",
        "Format-TFMA",
    ]
    assert "parity.saved_model" in keras_node.model.mlmd_artifact.custom_properties


def test_tfxs_own_rewriter_makes_tflite_of_what_is_served(keras_node, tmp_path):
    import numpy as np
    import tensorflow as tf
    from tfx.components.trainer.rewriting import rewriter, rewriter_factory

    keras_node.run()
    serving = str(Path(keras_node.model.uri, "Format-Serving"))
    original = rewriter.ModelDescription(rewriter.ModelType.SAVED_MODEL, serving)
    rewritten = rewriter.ModelDescription(rewriter.ModelType.TFLITE_MODEL, str(tmp_path / "rewritten"))
    # `serving_default` parses serialized examples, for which TFLite has no operator
    made = rewriter_factory.create_rewriter(rewriter_factory.TFLITE_REWRITER, name="tflite", signature_key="predict")
    made.perform_rewrite(original, rewritten)
    runner = tf.lite.Interpreter(str(tmp_path / "rewritten" / "tflite")).get_signature_runner("predict")
    x = np.array([[1.0], [2.0]], np.float32)
    wanted = tf.saved_model.load(serving).signatures["predict"](x=tf.constant(x))
    assert runner(x=x)["p"] == pytest.approx(wanted["p"].numpy(), abs=1e-6)
    examples = rewriter_factory.create_rewriter(rewriter_factory.TFLITE_REWRITER, name="tflite")
    with pytest.raises(Exception, match="ParseExample"):
        examples.perform_rewrite(original, rewriter.ModelDescription(rewritten.model_type, str(tmp_path / "examples")))


def refusal(node, match, **changes):
    from polytrainer.executors.errors import PreflightError

    with pytest.raises(PreflightError, match=match):
        node.run(**changes)
    assert not list(Path(node.model.uri).iterdir())


def test_a_model_that_cannot_be_converted_is_refused_before_training(keras_node):
    told = {"export_args": json.dumps({"formats": ["ONNX"]}), "custom_config": json.dumps({"subclassed": True})}
    refusal(keras_node, r"ONNX, which this model cannot be written as \(there is nothing for PyFunc\)", **told)
    told["export_args"] = json.dumps({"formats": ["TFLITE"]})
    refusal(keras_node, r"TFLITE, which this model cannot be written as \(there is nothing for tf\.", **told)


def test_a_sparse_feature_that_a_functional_model_does_not_take_is_no_hindrance(keras_node):
    keras_node.give("schema", "Schema", "more", {"schema.pbtxt": SCHEMA + MORE})
    keras_node.run(export_args=json.dumps({"formats": ["TFLITE"]}))
    assert Path(keras_node.model.uri, "Format-TFLite", "model.tflite").exists()


def test_features_of_words_are_refused(keras_node):
    keras_node.give("schema", "Schema", "words", {"schema.pbtxt": SCHEMA + WORDS})
    told = {"export_args": json.dumps({"formats": ["TFLITE"]}), "custom_config": json.dumps({"subclassed": True})}
    refusal(keras_node, "the feature 'words': got words; expected a dense one of numbers.*TFLITE", **told)
    keras_node.give("schema", "Schema", "more", {"schema.pbtxt": SCHEMA + MORE})
    refusal(keras_node, "the feature 'more': got a sparse one", **told)


def test_pytorchs_format_is_refused(keras_node):
    refusal(keras_node, "got TORCH; expected some of.*KerasTrainer", export_args=json.dumps({"formats": ["TORCH"]}))
