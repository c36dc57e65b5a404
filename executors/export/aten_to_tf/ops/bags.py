"""Embedding bags."""

from __future__ import annotations

import tensorflow as tf

from polytrainer.executors.export.aten_to_tf.dtypes import Tensor, cast
from polytrainer.executors.export.aten_to_tf.ops.common import in_float32, sizes

_SUM, _MEAN, _MAX = range(3)


@in_float32
def embedding_bag(
    weight: Tensor,
    indices: Tensor,
    offsets: Tensor,
    scale_grad_by_freq: bool = False,
    mode: int = _SUM,
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int = -1,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sums, means or maxima of bags of rows.

    Args:
        weight: [rows, width].
        indices: [count] rows, all bags after each other.
        offsets: [bags] where each bag begins.
        scale_grad_by_freq: For a backward pass only.
        mode: 0 sums, 1 means, 2 maxima.
        sparse: For a backward pass only.
        per_sample_weights: [count] factors.
        include_last_offset: Whether `offsets` says also where the last bag ends.
        padding_idx: A row that does not count.

    Returns:
        [bags, width]; and for a backward pass the bag of each index, the bags' sizes, and where the maxima are (zeros).
    """
    indices, offsets = tf.cast(indices, tf.int64), tf.cast(offsets, tf.int64)
    count = tf.size(offsets, tf.int64) - int(include_last_offset)
    place = tf.range(tf.size(indices, tf.int64), dtype=tf.int64)
    bag = tf.cast(tf.searchsorted(offsets, place, side="right"), tf.int64) - 1
    counts = (indices != padding_idx) & (bag >= 0) & (bag < count)
    rows = tf.gather(weight, indices)
    if per_sample_weights is not None:
        rows *= per_sample_weights[:, None]
    rows, used = tf.boolean_mask(rows, counts), tf.boolean_mask(bag, counts)
    size = tf.math.unsorted_segment_sum(tf.ones_like(used), used, count)
    if mode == _MAX:
        largest = tf.math.unsorted_segment_max(rows, used, count)
        result = tf.where(size[:, None] > 0, largest, cast(0, rows.dtype))
    else:
        result = tf.math.unsorted_segment_sum(rows, used, count)
        if mode == _MEAN:
            result /= cast(tf.maximum(size, 1), rows.dtype)[:, None]
    result.set_shape([None, sizes(weight)[1]] if isinstance(sizes(weight)[1], int) else [None, None])
    return result, bag, size, tf.zeros_like(size)
