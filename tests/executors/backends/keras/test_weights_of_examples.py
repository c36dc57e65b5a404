"""Example weights and class weights in what a Keras model is trained and measured by, against values by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.newest

SCHEMA = """
    feature { name: "x" type: FLOAT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
    feature { name: "w" type: FLOAT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
    feature { name: "label" type: INT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
"""
# a line through the origin, trained by one step from 0: its slope says what the gradient was
MODULE = """
    import tensorflow as tf
    from polytrainer import KerasTrainer

    class Mine(KerasTrainer):
        def model_fn(self):
            inputs = {"x": tf.keras.Input((1,), name="x")}
            line = tf.keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros", name="line")
            model = tf.keras.Model(inputs, line(inputs["x"]))
            weighted = [tf.keras.metrics.MeanAbsoluteError(name="weighted_mae")]
            model.compile(tf.keras.optimizers.SGD(0.1), "mse", metrics=["mae"], weighted_metrics=weighted)
            return model

    class Triples(Mine):
        def input_fn(self, files, *, training, first_step=0):
            batches = super().input_fn(files, training=training, first_step=first_step)
            return batches.map(lambda features, label: ({"x": features["x"]}, label, features["w"]))

    run_fn = KIND("label"ARGUMENTS).run_fn
"""
X, W, LABELS = [1.0, 2.0, -1.0, 0.5, 3.0], [1.0, 0.0, 3.0, 2.0, 0.5], [1, 0, 2, 1, 1]
CLASSES = {0: 2.0, 2: 0.25}
COUNTED = {0: 5 / (3 * 1), 1: 5 / (3 * 3), 2: 5 / (3 * 1)}  # n / (classes * n_class)
CASES = {
    "no weights": ("Mine", "", [1.0] * 5, [1.0] * 5),
    "weights of examples": ("Mine", ', weight_key="w"', W, W),
    "weights of classes": (
        "Mine",
        f", class_weights={CLASSES}",
        [CLASSES.get(label, 1.0) for label in LABELS],
        [1.0] * 5,
    ),
    "both": (
        "Mine",
        f', weight_key="w", class_weights={CLASSES}',
        [w * CLASSES.get(label, 1.0) for w, label in zip(W, LABELS, strict=True)],
        W,
    ),
    "balanced": ("Mine", ', class_weights="balanced"', [COUNTED[label] for label in LABELS], [1.0] * 5),
    "an input_fn of three parts": ("Triples", "", W, W),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("batch_size", [2, 5])
def test_loss_metrics_and_test_results_count_each_example_by_its_weight(
    node, module_file, splits, with_results, case, batch_size
):
    kind, arguments, training, evaluated = CASES[case]
    rows = [{"x": [x], "w": [w], "label": [label]} for x, w, label in zip(X, W, LABELS, strict=True)]
    for split in ("train", "eval", "test"):
        folder = node.examples_uri / f"Split-{split}"
        next(folder.iterdir()).unlink()
        splits.write(folder / "data_tfrecord-00000-of-00001.gz", rows)
    node.give("schema", "Schema", "schema", {"schema.pbtxt": SCHEMA})
    source = MODULE.replace("KIND", kind).replace("ARGUMENTS", arguments)
    with_results(node).run(
        module_file=module_file(source, "weights_module"),
        train_args=json.dumps({"num_steps": 1, "batch_size": 5}),
        eval_args=json.dumps({"test_splits": ["test"], "batch_size": batch_size}),
    )
    x, y, w, v = (np.asarray(values, np.float64) for values in (X, LABELS, training, evaluated))
    slope = 0.1 * np.mean(w * 2 * y * x)  # of the mean over examples, each counting by its weight, as Keras has it
    with np.load(Path(node.model.uri, "Format-Keras", "weights.npz")) as arrays:
        assert arrays["line/0"].item() == pytest.approx(slope, rel=1e-6)
    error = slope * x - y
    expected = {
        "loss": np.mean(v * error**2),
        "mae": np.mean(np.abs(error)),  # what is given as `metrics` is not weighted, as Keras has it
        "weighted_mae": np.sum(v * np.abs(error)) / np.sum(v),
    }
    for name, value in expected.items():
        assert node.metric(name) == pytest.approx(value, rel=1e-6), name
        assert node.metric(f"test.{name}") == pytest.approx(value, rel=1e-6), name
    weights = [row["example_weight"][0] if "example_weight" in row else 1.0 for row in node.told("test")]
    assert weights == pytest.approx(evaluated)
