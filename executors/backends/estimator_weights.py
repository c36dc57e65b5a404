"""Example weights, as Estimators take them: one of the features, which the Estimator names as its `weight_column`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from polytrainer.executors.backends.example_weights import weight_of_examples

DEFAULT_COLUMN = "example_weight"


def has_weights(batches: Any) -> bool:
    """Whether what an `input_fn` returned, a dataset or tensors, has a weight beside features and label."""
    elements = batches.element_spec if isinstance(batches, tf.data.Dataset) else batches
    return isinstance(elements, tuple) and len(elements) == 3  # noqa: PLR2004


def add_weight_feature(batches: Any, column: str, *, always: bool) -> Any:
    """Moves the weight of batches into their features.

    Args:
        batches: What an `input_fn` returned: a dataset, or tensors.
        column: Name of the feature; a `[batch, 1]` float32 one.
        always: Whether batches without a weight get weights of 1; else they stay as they are.

    Returns:
        The same as `(features, label)`, which is all that Estimators take.
    """
    if not always and not has_weights(batches):
        return batches
    if isinstance(batches, tf.data.Dataset):
        if isinstance(batches.element_spec, tuple):
            return batches.map(lambda *batch: with_weight_feature(column, *batch))
        return batches.map(lambda features: with_weight_feature(column, features))
    return with_weight_feature(column, *(batches if isinstance(batches, tuple) else (batches,)))


def batch_size(features: Any) -> Any:
    """How many examples there are in a batch's features, by the first of them: a scalar int64."""
    first = next(iter(features.values())) if isinstance(features, Mapping) else features
    if isinstance(first, tf.SparseTensor):
        return first.dense_shape[0]
    return tf.cast(first.nrows() if isinstance(first, tf.RaggedTensor) else tf.shape(first)[0], tf.int64)


def with_weight_feature(column: str, features: Any, label: Any = None, weight: Any = None) -> Any:
    """A batch whose features hold its weight, `[batch, 1]`; 1 for each example without one."""
    if not isinstance(features, Mapping):
        raise TypeError(f"input_fn: got features of {type(features).__name__} and weights; expected features by name.")
    if column == DEFAULT_COLUMN and column in features:
        raise ValueError(
            f"input_fn: got a feature {column!r}, which is what the weight of an example is called where there is no "
            "weight_key; expected another name. Rename the feature, or name it as weight_key."
        )
    weights = tf.ones([batch_size(features)]) if weight is None else weight_of_examples(weight)
    return {**features, column: weights[:, tf.newaxis]}, label
