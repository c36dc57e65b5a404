"""Parses serialized tf.Examples; the default of a feature takes the place of a value that is missing, empty or NaN."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from polytrainer.executors.data.feature_specs import FeatureSpec, has_default

if TYPE_CHECKING:
    import tensorflow as tf


def parse_examples(serialized: Any, spec: Mapping[str, Any], keep_nan: Collection[str] = ()) -> dict[str, Any]:
    """Parses a batch as `tf.io.parse_example` does, but for features with a default.

    `tf.io.parse_example` takes the default only where an example has no such key, or a feature of no kind; a feature
    that is there with an empty list, which is how most writers leave out a value, is an error to it.

    Args:
        serialized: Serialized examples, `[batch]`.
        spec: The features.
        keep_nan: Features of which a NaN stays a NaN, e.g. the label.
    """
    import tensorflow as tf

    with_default = {name: feature for name, feature in spec.items() if has_default(feature)}
    ragged = {name: ragged_feature(name, feature.dtype) for name, feature in with_default.items()}
    parsed = dict(tf.io.parse_example(serialized, {**spec, **ragged}))
    for name, feature in with_default.items():
        parsed[name], _ = fill_missing(parsed[name], feature, keep_nan=name in keep_nan)
    return parsed


def ragged_feature(name: str, dtype: Any) -> Any:
    """A feature of any number of values: what shows which are missing, and is cheaper to parse than a SparseTensor."""
    import tensorflow as tf

    return tf.io.RaggedFeature(dtype, value_key=name, row_splits_dtype=tf.int64)


def fill_defaults(features: Mapping[str, Any], spec: FeatureSpec) -> dict[str, Any]:
    """Fills in the defaults of a spec in features that were made by Transform.

    Args:
        features: Tensors, SparseTensors and RaggedTensors by name.
        spec: The features as the model sees them; those that have a default become dense.
    """
    import tensorflow as tf

    filled = dict(features)
    for name, feature in spec.items():
        if name not in filled or not has_default(feature):
            continue
        if isinstance(filled[name], (tf.SparseTensor, tf.RaggedTensor)):
            filled[name], _ = fill_missing(as_ragged(filled[name]), feature)
        elif feature.dtype.is_floating:
            filled[name], _ = fill_nan(filled[name], feature)
    return filled


def as_ragged(tensor: Any) -> tf.RaggedTensor:
    """A tensor as a RaggedTensor with a row for each example."""
    import tensorflow as tf

    if isinstance(tensor, tf.RaggedTensor):
        return tensor
    if isinstance(tensor, tf.SparseTensor):
        return tf.RaggedTensor.from_sparse(tensor, row_splits_dtype=tf.int64)
    return tf.RaggedTensor.from_tensor(tensor, row_splits_dtype=tf.int64)


def fill_missing(values: tf.RaggedTensor, feature: Any, *, keep_nan: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
    """Makes a feature dense, with its default where an example has no value or where the value is NaN.

    Args:
        values: The values that there are, `[n, None]`.
        feature: A FixedLenFeature with a default.
        keep_nan: Whether a NaN stays a NaN.

    Returns:
        The values and where there were some, both `[n, *shape]`.
    """
    import tensorflow as tf

    shape = [-1, *feature.shape]
    size = math.prod(feature.shape)
    lengths = values.row_lengths()
    present = lengths > 0
    # not `==`, which in an Estimator's graph asks whether they are the same object
    fits = tf.reduce_all(tf.logical_or(tf.equal(lengths, size), tf.logical_not(present)))
    with tf.control_dependencies([tf.debugging.Assert(fits, ["wrong number of values", lengths])]):
        default = tf.broadcast_to(tf.constant(feature.default_value, feature.dtype), feature.shape)
        table = tf.concat([tf.reshape(default, [1, size]), tf.reshape(values.values, [-1, size])], 0)
    where = tf.where(present, tf.cumsum(tf.cast(present, tf.int32)), 0)
    mask = tf.repeat(present[:, tf.newaxis], size, 1)
    dense, mask = tf.reshape(tf.gather(table, where), shape), tf.reshape(mask, shape)
    return (dense, mask) if keep_nan or not feature.dtype.is_floating else fill_nan(dense, feature, mask)


def fill_nan(dense: tf.Tensor, feature: Any, mask: tf.Tensor | None = None) -> tuple[tf.Tensor, tf.Tensor]:
    """Puts a feature's default in the place of each NaN, and False into the mask."""
    import tensorflow as tf

    is_number = tf.logical_not(tf.math.is_nan(dense))
    default = tf.broadcast_to(tf.constant(feature.default_value, feature.dtype), feature.shape)
    return tf.where(is_number, dense, default), is_number if mask is None else tf.logical_and(mask, is_number)
