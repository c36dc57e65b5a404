"""The features of a batch → the plain arrays that it is stored as, by TensorFlow operations."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from polytrainer.executors.data.columns import Column
from polytrainer.executors.data.errors import refuse
from polytrainer.executors.data.rows import ITEM_BYTES

if TYPE_CHECKING:
    import tensorflow as tf


def column_of(name: str, element: Any) -> Column:
    """The column for a feature of a dataset."""
    import tensorflow as tf

    shape, dtype = element.shape, element.dtype
    if shape.rank is None or shape.rank < 1:
        raise refuse(f"feature {name!r}", f"a tensor of shape {shape}", "a first dimension of examples")
    if dtype != tf.string and dtype.name not in ITEM_BYTES:
        raise refuse(f"feature {name!r}", f"values of type {dtype.name}", f"one of {sorted(ITEM_BYTES)}, or strings")
    levels, size = 0, ()
    if isinstance(element, tf.RaggedTensorSpec):
        levels = element.ragged_rank
        inner = shape[levels + 1 :]
    elif isinstance(element, tf.SparseTensorSpec):
        levels, inner = 1, tf.TensorShape([])
        size = () if shape.as_list()[1:] == [None] else tuple(shape[1:])
    else:
        inner = shape[1:]
    if not inner.is_fully_defined() or None in size:
        raise refuse(
            f"feature {name!r}",
            f"a tensor of shape {shape}, of which not all is known beforehand",
            "a known size, a RaggedTensor, or a SparseTensor [examples, size]",
            "In preprocess: tf.ensure_shape, or leave the tensor as it was before it was padded.",
        )
    shape = tuple(inner)
    if dtype != tf.string:
        return Column(name, dtype.name, shape, levels, size)
    return Column(name, "uint8", (), levels + 1 + len(_word_dimensions(shape)), size)


def _word_dimensions(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The dimensions of words that become a level each: none where there is one word."""
    return () if math.prod(shape) == 1 else shape


def parts_of(tensor: Any, count: tf.Tensor) -> list[tf.Tensor]:
    """The parts of a column that is not dense, see `Column.parts`."""
    import tensorflow as tf

    splits: list[tf.Tensor] = []
    columns: list[tf.Tensor] = []
    if isinstance(tensor, tf.SparseTensor) and tensor.shape.as_list()[1:] == [None]:
        tensor = tf.RaggedTensor.from_sparse(tensor, row_splits_dtype=tf.int64)
    if isinstance(tensor, tf.SparseTensor):
        values = tensor.values
        lengths = tf.math.bincount(
            tf.cast(tensor.indices[:, 0], tf.int32), minlength=count, maxlength=count, dtype=tf.int64
        )
        splits = [_splits(lengths)]
        indices = tensor.indices[:, 1:]
        inside = tf.reduce_all((indices >= 0) & (indices < tf.constant(tuple(tensor.shape[1:]), tf.int64)))
        with tf.control_dependencies([tf.debugging.Assert(inside, ["an index that is outside of its feature"])]):
            columns = [tf.squeeze(indices, 1) if tensor.shape.rank == 2 else tf.identity(indices)]  # noqa: PLR2004
    elif isinstance(tensor, tf.RaggedTensor):
        splits, values = [tf.cast(level, tf.int64) for level in tensor.nested_row_splits], tensor.flat_values
    else:
        values = tensor
    if values.dtype == tf.string:
        total = tf.shape(values, tf.int64)[0]
        for dimension in _word_dimensions(tuple(values.shape[1:])):
            splits.append(tf.range(total + 1) * dimension)
            total *= dimension
        values = tf.reshape(values, [-1])
        splits.append(_splits(tf.cast(tf.strings.length(values), tf.int64)))
        values = tf.io.decode_raw(tf.strings.reduce_join(values), tf.uint8)
    return [*splits, values, *columns]


def named_parts(column: Column, tensor: Any) -> dict[str, tf.Tensor]:
    """A feature as plain tensors, by the names that an exported program knows them by.

    A dense one is one tensor; a ragged one is `<name>.values` and `<name>.row_lengths`, nested where it is; a sparse
    one has `<name>.columns`, too.
    """
    import tensorflow as tf

    name = column.name
    if column.dense:
        return {name: tensor}
    if isinstance(tensor, tf.SparseTensor) and not column.size:
        tensor = tf.RaggedTensor.from_sparse(tensor, row_splits_dtype=tf.int64)
    *splits, values = parts_of(tensor, _num_rows(tensor))
    made: dict[str, Any] = {}
    if column.size:
        *splits, flat_values = splits
        made[f"{name}.columns"], values = values, flat_values
    inside = name
    for each in splits:
        made[f"{inside}.row_lengths"] = each[1:] - each[:-1]
        inside += ".values"
    return {**made, inside: values}


def part_names(column: Column) -> list[str]:
    """The names of `named_parts`."""
    names, inside = [], column.name
    for _ in range(column.levels):
        names.append(f"{inside}.row_lengths")
        inside += ".values"
    return [*names, inside, *([f"{column.name}.columns"] if column.size else [])]


def _num_rows(tensor: Any) -> tf.Tensor:
    import tensorflow as tf

    if isinstance(tensor, tf.SparseTensor):
        return tf.cast(tensor.dense_shape[0], tf.int32)
    return tf.cast(tensor.nrows(), tf.int32) if isinstance(tensor, tf.RaggedTensor) else tf.shape(tensor)[0]


def _splits(lengths: tf.Tensor) -> tf.Tensor:
    import tensorflow as tf

    return tf.concat([tf.zeros([1], tf.int64), tf.cumsum(lengths)], 0)
