"""How much examples count: by a feature of theirs, and by the class that their label names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LABELS_AT_ONCE = 4096


def weight_of_examples(weight: Any) -> Any:
    """The weight feature of a batch, `[batch, 1]` or `[batch]`, as float32 `[batch]`.

    Raises:
        ValueError: If it is not one number for each example.
    """
    import tensorflow as tf

    if not isinstance(weight, tf.Tensor) or weight.dtype == tf.string:
        raise ValueError(f"weight_key: got {weight!r}; expected one number for each example.")
    return tf.cast(tf.reshape(weight, [tf.shape(weight)[0]]), tf.float32)


def weights_of_classes(label: Any, weight_by_class: Mapping[int, float]) -> Any:
    """The weight of each example's class: for labels `[batch, 1]` or `[batch]` of whole numbers, float32 `[batch]`."""
    import tensorflow as tf

    keys = tf.constant(list(weight_by_class), tf.int64)
    values = tf.constant(list(weight_by_class.values()), tf.float32)
    labels = tf.cast(tf.reshape(label, [tf.shape(label)[0], 1]), tf.int64)
    matches = tf.cast(
        tf.equal(labels, keys), tf.float32
    )  # [batch, classes]: no table that a dataset would have to hold
    return tf.reduce_sum(matches * values, 1) + 1.0 - tf.reduce_sum(matches, 1)


def balanced_weights(counts: Mapping[int, int]) -> dict[int, float]:
    """N / (classes * n_class) for each class, as `sklearn.utils.class_weight.compute_class_weight` has it."""
    total = sum(counts.values())
    return {label: total / (len(counts) * count) for label, count in sorted(counts.items())}


def labels_of(label: Any) -> list[int]:
    """The labels of a batch as numbers.

    Raises:
        ValueError: If they are not whole numbers.
    """
    import numpy as np

    values = np.asarray(label).ravel()
    if values.dtype.kind not in "iu" and not (values.dtype.kind == "f" and (values == np.round(values)).all()):
        raise ValueError(f"class_weights: got labels of {values.dtype}; expected the numbers of classes.")
    return [int(value) for value in values]
