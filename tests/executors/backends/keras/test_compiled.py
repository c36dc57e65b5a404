"""What a model was compiled with is told by name and value, whatever it was given as."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.line


def test_losses():
    import tensorflow as tf

    from polytrainer.executors.backends.keras.compiled import loss_name

    def my_loss(label, output):
        return label - output

    losses = {
        "mse": "mse",
        my_loss: "my_loss",
        tf.keras.losses.BinaryCrossentropy(name="of_logits"): "of_logits",
        None: "its own",
    }
    assert {loss: loss_name(loss) for loss in losses} == losses
    assert loss_name({"a": "mse", "b": my_loss}) == "a: mse, b: my_loss"
    assert loss_name(["mse", "mae"]) == "mse, mae"


def test_learning_rates():
    import tensorflow as tf

    from polytrainer.executors.backends.keras.compiled import learning_rate

    schedule = tf.keras.optimizers.schedules.CosineDecay(0.1, 10)
    assert learning_rate(tf.keras.optimizers.Adam(0.25)) == "0.25"
    assert learning_rate(tf.keras.optimizers.SGD(schedule)) == "CosineDecay"
    assert learning_rate(object()) == "its own"
