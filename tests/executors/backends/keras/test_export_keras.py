"""`export_keras`: a loop of one's own publishes what KerasTrainer publishes of the same weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from own_loops import files_in, properties, served, signatures

from polytrainer.executors.errors import TrainingError

pytestmark = pytest.mark.line

MODEL = """
    import tensorflow as tf
    import polytrainer

    def make_model():
        x = tf.keras.Input((1,), name="x")
        model = tf.keras.Model({"x": x}, tf.keras.layers.Dense(2, kernel_initializer="ones", name="scores")(x))
        loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(tf.keras.optimizers.SGD(0.0), loss)
        return model
"""
LOOP = (
    MODEL
    + """
    def run_fn(fn_args):
        model = make_model()
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model({"x": tf.ones([2, 1])}))
        tape.gradient(loss, model.trainable_variables)
        polytrainer.export_keras(fn_args, model, label_key="label")
"""
)
TRAINER = (
    MODEL
    + """
    class Mine(polytrainer.KerasTrainer):
        def model_fn(self):
            return make_model()

    run_fn = Mine(label_key="label").run_fn
"""
)
SCHEMA = """
feature { name: "x" type: FLOAT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
feature { name: "label" type: INT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
"""


@pytest.fixture
def publish(node, module_file, tmp_path):
    """`publish(source)`: the Model artifact of a node with this user module."""
    node.give("schema", "Schema", "schema", {"schema.pbtxt": SCHEMA})

    def run(source, name):
        from tfx.types import standard_artifacts

        model = standard_artifacts.Model()
        model.uri = str(tmp_path / name)
        Path(model.uri).mkdir()
        node.output_dict["model"] = [model]
        node.run(module_file=module_file(source, name))
        return model

    return run


def test_a_loop_publishes_what_a_trainer_publishes_of_the_same_weights(publish, node):
    import tensorflow as tf

    own, theirs = publish(LOOP, "own"), publish(TRAINER, "theirs")
    assert files_in(own.uri) == files_in(theirs.uri)
    for folder in ("Format-Serving", "Format-TFMA"):
        assert signatures(f"{own.uri}/{folder}") == signatures(f"{theirs.uri}/{folder}")
    rows = list(
        tf.data.TFRecordDataset(tf.io.gfile.glob(f"{node.examples_uri}/Split-eval/*"), "GZIP").as_numpy_iterator()
    )
    [ours], [expected] = (served(f"{model.uri}/Format-Serving", rows).values() for model in (own, theirs))
    np.testing.assert_allclose(ours, expected, rtol=1e-6)
    told, said = properties(own), properties(theirs)
    for name in ("framework", "framework_version", "signatures", "parity.saved_model", "parity.serving_rows"):
        assert told[name] == said[name]
    assert told["parity.serving_rows"] == 4


def rows(small):
    import tensorflow as tf

    return list(tf.data.TFRecordDataset(tf.io.gfile.glob(small.eval), "GZIP").as_numpy_iterator())


def numbers(small):
    """`x` of the eval split, `[41, 2]`."""
    import tensorflow as tf

    return tf.io.parse_example(rows(small), {"x": tf.io.FixedLenFeature([2], tf.float32)})["x"].numpy()


def answers(small, tmp_path):
    return served(tmp_path / "run" / "Format-Serving", rows(small))


def sequential():
    import tensorflow as tf

    return tf.keras.Sequential([tf.keras.layers.Dense(2)])


def of_x(model, features):
    assert set(features) == {"x"}
    return {"scores": model(features["x"], training=False)}


def test_predict_fn_calls_the_model_and_the_second_call_replaces_the_first(loop_args, small, tmp_path):
    from polytrainer import export_keras

    model, fn_args = sequential(), loop_args()
    options = {"features": ["x"], "predict_fn": of_x}  # without a label_key, too: the model does not read the label
    first = export_keras(fn_args, model, **options, export_args={"formats": ["SAVED_MODEL", "TFLITE"]})
    assert set(first.parity) == {"saved_model", "tflite"}
    model.set_weights([weight + 1 for weight in model.get_weights()])
    result = export_keras(fn_args, model, **options, label_key="label")
    assert (set(result.parity), result.serving_rows) == ({"saved_model"}, 41)
    assert not (tmp_path / "run" / "Format-TFLite").exists()
    np.testing.assert_allclose(answers(small, tmp_path)["scores"], model(numbers(small)).numpy(), rtol=1e-4, atol=1e-5)


def test_a_subclass_is_called_with_the_features_by_name(loop_args, small, tmp_path):
    import tensorflow as tf

    from polytrainer import export_keras

    class Sum(tf.keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = tf.keras.layers.Dense(1)

        def call(self, features):
            assert set(features) == {"x"}
            return self.dense(features["x"])

    model = Sum()
    export_keras(loop_args(), model, label_key="label")
    expected = model({"x": tf.constant(numbers(small))}).numpy()
    np.testing.assert_allclose(answers(small, tmp_path)["outputs"], expected, rtol=1e-4, atol=1e-5)


def mismatches():
    import tensorflow as tf

    def functional(**sizes):
        inputs = {name: tf.keras.Input((size,), name=name) for name, size in sizes.items()}
        outputs = [tf.keras.layers.Dense(1)(tensor) for tensor in inputs.values()]
        return tf.keras.Model(inputs, outputs[0] if len(outputs) == 1 else tf.keras.layers.Add()(outputs))

    nan = functional(x=2)
    nan.set_weights([np.full_like(weight, np.nan) for weight in nan.get_weights()])
    return {
        "a feature that is none": (functional(x=2), {"features": ["y"]}, r"features: got \['y'\].*\['x'\]"),
        "a label that is none": (functional(x=2), {"label_key": "y"}, "label_key: got 'y'"),
        "a model that needs more": (functional(x=2, height=1), {}, r"the model's inputs: got \['height'\]"),
        "a model of another width": (functional(x=3), {}, r"the first batch: .*x .*, 2. float32"),
        "no Keras model": (print, {}, "the model of export_keras: got builtins.builtin_function_or_method"),
        "weights that are NaN": (nan, {}, "weights that are NaN"),
    }


@pytest.mark.parametrize(
    "case",
    ["a feature that is none", "a label that is none", "a model that needs more", "a model of another width",
     "no Keras model", "weights that are NaN"],
)  # fmt: skip
def test_what_does_not_fit_is_said_and_nothing_is_left(loop_args, tmp_path, case):
    from polytrainer import export_keras

    model, options, message = mismatches()[case]
    with pytest.raises(TrainingError, match=message) as refused:
        export_keras(loop_args(), model, **{"label_key": "label", **options})
    assert "Nothing is published" in str(refused.value)
    assert not (tmp_path / "run" / "Format-Serving").exists()


@pytest.mark.parametrize("raw", [False, pytest.param(True, marks=pytest.mark.exhaustive)])
def test_a_model_behind_transform_is_served_raw_examples(transformed_node, module_file, transform, raw):
    transformed_node.use(raw=raw)
    source = """
        import tensorflow as tf
        import polytrainer

        def run_fn(fn_args):
            size = tf.keras.Input((1,), name="size_xf")
            model = tf.keras.Model({"size_xf": size}, tf.keras.layers.Dense(1, kernel_initializer="ones")(size))
            polytrainer.export_keras(fn_args, model, label_key="kind_xf")
    """
    transformed_node.run(module_file=module_file(source))
    found = served(f"{transformed_node.model.uri}/Format-Serving", [transform.serialized({"size": 9.0})])
    assert found["outputs"][0, 0] > 0  # above the mean; a raw example needs nothing but `size`
