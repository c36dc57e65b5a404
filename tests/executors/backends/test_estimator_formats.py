"""EstimatorTrainer → ONNX, TFLite and TensorFlow.js, from a Trainer node."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.line

SCHEMA = """
    feature { name: "x" type: FLOAT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
    feature { name: "words" type: BYTES }
    feature { name: "label" type: INT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
"""

MODULE = """
    import tensorflow as tf
    from polytrainer import EstimatorTrainer

    class Mine(EstimatorTrainer):
        def model_fn(self):
            column = tf.feature_column
            columns = [column.numeric_column("x")]
            if (self.fn_args.custom_config or {}).get("words"):
                words = column.categorical_column_with_vocabulary_list("words", ["a", "b"])
                columns.append(column.indicator_column(words))
            return tf.estimator.DNNClassifier([4], columns)

    run_fn = Mine(label_key="label").run_fn
"""


@pytest.fixture
def estimator_node(node, module_file):
    """The `node` with a schema and the module above."""
    node.give("schema", "Schema", "schema", {"schema.pbtxt": SCHEMA})
    node.exec_properties["train_args"] = json.dumps({"num_steps": 2, "batch_size": 4, "seed": 1})
    node.exec_properties["module_file"] = module_file(MODULE, "estimator_module")
    return node


def serialized(x):
    import tensorflow as tf

    feature = tf.train.Feature(float_list=tf.train.FloatList(value=[x]))
    return tf.train.Example(features=tf.train.Features(feature={"x": feature})).SerializeToString()


def test_it_writes_what_is_asked_for_and_says_how_far_it_is_from_the_model(estimator_node):
    import numpy as np
    import onnxruntime
    import tensorflow as tf

    estimator_node.run(export_args=json.dumps({"formats": ["SAVED_MODEL", "ONNX", "TFLITE"]}))
    root = Path(estimator_node.model.uri)
    properties = estimator_node.model.mlmd_artifact.custom_properties
    for name in ("onnx", "tflite"):
        assert 0 <= float(properties[f"parity.{name}"].string_value) < 1e-5
    x = np.array([[1.0], [2.0], [3.0]], np.float32)
    served = tf.saved_model.load(str(root / "Format-Serving")).signatures["predict"]
    wanted = served(examples=tf.constant([serialized(value) for value in x[:, 0]]))["probabilities"].numpy()
    session = onnxruntime.InferenceSession(str(root / "Format-ONNX/model.onnx"), providers=["CPUExecutionProvider"])
    assert session.run(["probabilities"], {"x": x})[0] == pytest.approx(wanted, abs=1e-6)
    runner = tf.lite.Interpreter(str(root / "Format-TFLite/model.tflite")).get_signature_runner("model")
    assert runner(x=x)["probabilities"] == pytest.approx(wanted, abs=1e-6)


def test_tensorflowjs_has_what_it_predicts_from_and_no_parity(estimator_node):
    pytest.importorskip("tensorflowjs")
    estimator_node.run(export_args=json.dumps({"formats": ["SAVED_MODEL", "TFJS"]}))
    told = json.loads(Path(estimator_node.model.uri, "Format-TFJS", "model.json").read_text())["signature"]
    assert {name: info["dtype"] for name, info in told["inputs"].items()} == {"x": "DT_FLOAT"}
    outputs = {name: info["dtype"] for name, info in told["outputs"].items()}
    assert outputs["probabilities"] == "DT_FLOAT"
    assert outputs["class_ids"] == "DT_INT64"
    assert "classes" not in outputs  # words
    assert "parity.tfjs" not in estimator_node.model.mlmd_artifact.custom_properties


def test_a_feature_of_words_that_the_model_uses_is_refused_before_training(estimator_node):
    from polytrainer.executors.errors import PreflightError

    told = {"export_args": json.dumps({"formats": ["TFLITE"]}), "custom_config": json.dumps({"words": True})}
    with pytest.raises(PreflightError, match="the feature 'words': got words; expected a dense one of numbers"):
        estimator_node.run(**told)


def test_pytorchs_format_is_refused(estimator_node):
    from polytrainer.executors.errors import PreflightError

    with pytest.raises(PreflightError, match=r"got TORCH; expected some of.*EstimatorTrainer"):
        estimator_node.run(export_args=json.dumps({"formats": ["TORCH"]}))
