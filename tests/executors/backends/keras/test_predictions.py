"""Which of Keras's losses say that outputs are probabilities, in whatever form a model was compiled with them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytestmark = pytest.mark.line

SPARSE = ("multiclass", None)
CASES = {
    "name": ("sparse_categorical_crossentropy", SPARSE),
    "class name": ("CategoricalCrossentropy", SPARSE),
    "function": (lambda losses: losses.sparse_categorical_crossentropy, SPARSE),
    "object": (lambda losses: losses.SparseCategoricalCrossentropy(), SPARSE),
    "logits": (lambda losses: losses.CategoricalCrossentropy(from_logits=True), ("multiclass", "softmax")),
    "binary": ("binary_crossentropy", ("multilabel", None)),
    "focal": (lambda losses: losses.BinaryFocalCrossentropy(from_logits=True), ("multilabel", "sigmoid")),
    "by output": ({"p": "binary_crossentropy"}, ("multilabel", None)),
    "subclass": (lambda losses: type("Own", (losses.BinaryCrossentropy,), {})(), ("multilabel", None)),
    "regression": ("mse", (None, None)),
    "one's own": (lambda losses: lambda label, outputs: outputs, (None, None)),
    "several": ({"a": "mse", "b": "binary_crossentropy"}, (None, None)),
    "none": (None, (None, None)),
}


@pytest.mark.parametrize("case", CASES)
def test_a_loss_says_how_outputs_are_read(case):
    import tensorflow as tf

    from polytrainer.executors.backends.keras.predictions import reading_of

    loss, expected = CASES[case]
    reading = reading_of(SimpleNamespace(loss=loss(tf.keras.losses) if callable(loss) else loss))
    assert (reading.task, reading.activation) == expected
