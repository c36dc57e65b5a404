"""Operators that make one element of many: sums, extrema, statistics; and running ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from polytrainer.executors.export.aten_to_tf.dtypes import Size, Tensor, cast, promoted
from polytrainer.executors.export.aten_to_tf.ops.common import (
    Op,
    along_last,
    axes,
    axis,
    in_float32,
    product,
    shape,
    sizes,
)
from polytrainer.executors.export.aten_to_tf.ops.indexing import gather

Dims = int | Sequence[int] | None


def _accumulated(x: Tensor, dtype: tf.DType | None) -> Tensor:
    """In the type in which PyTorch adds up: integers in int64."""
    if dtype is not None:
        return cast(x, dtype)
    return cast(x, tf.int64) if x.dtype == tf.bool or x.dtype.is_integer else x


def accumulation(function: Callable[..., Tensor]) -> Op:
    """A sum or a product."""
    wide = in_float32(function)

    def op(x: Tensor, dim: Dims = None, keepdim: bool = False, dtype: tf.DType | None = None) -> Tensor:
        x = _accumulated(x, dtype)
        return wide(x, axis=axes(dim, x.shape.rank), keepdims=keepdim)

    return op


def total(function: Callable[..., Tensor]) -> Op:
    """A sum, product or mean of everything."""

    def op(x: Tensor, dtype: tf.DType | None = None) -> Tensor:
        return in_float32(function)(_accumulated(x, dtype))

    return op


def mean(x: Tensor, dim: Dims = None, keepdim: bool = False, dtype: tf.DType | None = None) -> Tensor:
    """The mean; of nothing, NaN."""
    x = x if dtype is None else cast(x, dtype)
    return in_float32(tf.reduce_mean)(x, axis=axes(dim, x.shape.rank), keepdims=keepdim)


def mean_of_all(x: Tensor, *, dtype: tf.DType | None = None) -> Tensor:
    """The mean of everything."""
    return mean(x, dtype=dtype)


def _count(x: Tensor, dims: Sequence[int]) -> Size:
    size = sizes(x)
    return product([size[dim] for dim in dims])


def variance(x: Tensor, dim: Dims = None, *, correction: Any = 1, keepdim: bool = False) -> Tensor:
    """The variance, divided by the number of elements less `correction`."""
    return var_mean(x, dim, correction=correction, keepdim=keepdim)[0]


def variance_unbiased(x: Tensor, dim: Dims, unbiased: bool = True, keepdim: bool = False) -> Tensor:
    """The variance, divided by the number of elements, less 1 if it is to be unbiased."""
    return variance(x, dim, correction=int(unbiased), keepdim=keepdim)


@in_float32
def var_mean(x: Tensor, dim: Dims = None, *, correction: Any = 1, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """Variance and mean."""
    dims = axes(dim, x.shape.rank)
    center = tf.reduce_mean(x, axis=dims, keepdims=True)
    squares = tf.reduce_sum(_squared(x - center), axis=dims, keepdims=keepdim)
    real = squares.dtype
    freedom = tf.maximum(cast(_count(x, dims), real) - cast(1 if correction is None else correction, real), 0)
    return squares / freedom, tf.reduce_mean(x, axis=dims, keepdims=keepdim)


def std(x: Tensor, dim: Dims = None, *, correction: Any = 1, keepdim: bool = False) -> Tensor:
    """The standard deviation."""
    return tf.sqrt(variance(x, dim, correction=correction, keepdim=keepdim))


def _squared(x: Tensor) -> Tensor:
    return tf.square(tf.abs(x)) if x.dtype.is_complex else tf.square(x)


def extremum(function: Callable[..., Tensor], on_bools: Callable[..., Tensor]) -> Op:
    """The largest or smallest element; a NaN wins."""

    def op(x: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
        dims = axes(dim, x.shape.rank)
        if x.dtype == tf.bool:
            return on_bools(x, axis=dims, keepdims=keepdim)
        found = function(x, axis=dims, keepdims=keepdim)
        if not x.dtype.is_floating:
            return found
        return tf.where(
            tf.reduce_any(tf.math.is_nan(x), axis=dims, keepdims=keepdim), cast(float("nan"), x.dtype), found
        )

    return op


def extremum_and_place(largest: bool) -> Op:
    """The largest or smallest element of one dimension, and where it first is."""
    place = argument(largest)

    def op(x: Tensor, dim: int = 0, keepdim: bool = False) -> tuple[Tensor, Tensor]:
        index = place(x, dim, True)
        values = gather(x, dim, index)
        if keepdim or x.shape.rank == 0:
            return values, index
        return tf.squeeze(values, [dim]), tf.squeeze(index, [dim])

    return op


def argument(largest: bool) -> Op:
    """Where the largest or smallest element first is, in one dimension or among all."""

    def op(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
        rank = x.shape.rank
        flat = tf.reshape(x, [-1]) if dim is None or rank == 0 else x
        along = 0 if dim is None else axis(dim, rank)
        found = tf.argmax(_comparable(flat, largest), axis=along, output_type=tf.int64)
        if not keepdim:
            return found
        return tf.reshape(found, [1] * rank) if dim is None or rank == 0 else tf.expand_dims(found, along)

    return op


def _comparable(x: Tensor, largest: bool) -> Tensor:
    """What is largest where x is largest, or smallest; NaN counts as most extreme."""
    if x.dtype == tf.bool:
        x = tf.cast(x, tf.int8)
    if x.dtype.is_floating:
        x = tf.cast(x, tf.float32) if x.dtype.size == 2 else x  # noqa: PLR2004
        return tf.where(tf.math.is_nan(x), cast(float("inf"), x.dtype), x if largest else -x)
    return x if largest else tf.bitwise.invert(x)


def truth(function: Callable[..., Tensor]) -> Op:
    """Whether any or all elements are not 0; uint8 stays uint8 in PyTorch."""

    def op(x: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
        found = function(cast(x, tf.bool), axis=axes(dim, x.shape.rank), keepdims=keepdim)
        return tf.cast(found, tf.uint8) if x.dtype == tf.uint8 else found

    return op


def running(function: Callable[..., Tensor]) -> Op:
    """A running sum or product."""

    def op(x: Tensor, dim: int, dtype: tf.DType | None = None) -> Tensor:
        return in_float32(along_last(lambda y: function(y, axis=-1)))(_accumulated(x, dtype), dim)

    return op


def running_extremum(largest: bool) -> Op:
    """A running maximum or minimum, and where it last was."""

    def op(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
        result: tuple[Tensor, Tensor] = along_last(lambda y: _running_extremum(y, largest))(x, dim)
        return result

    return op


def _running_extremum(x: Tensor, largest: bool) -> tuple[Tensor, Tensor]:
    """By comparing each element with all before it: quadratic, and rare."""
    length = sizes(x)[-1]
    place = tf.range(tf.cast(length, tf.int64), dtype=tf.int64)
    seen = place[None, :] <= place[:, None]
    comparable = _comparable(x, largest)
    best = tf.reduce_max(tf.where(seen, comparable[..., None, :], comparable.dtype.min), axis=-1)
    is_best = tf.logical_and(seen, comparable[..., None, :] == best[..., None])
    index = tf.reduce_max(tf.where(is_best, place, tf.constant(-1, tf.int64)), axis=-1)
    return tf.gather(x, index, batch_dims=x.shape.rank - 1, axis=-1), index


def logcumsumexp(x: Tensor, dim: int) -> Tensor:
    """The logarithm of a running sum of exponentials."""
    return in_float32(along_last(lambda y: tf.math.cumulative_logsumexp(y, axis=-1)))(x, dim)


def logsumexp(x: Tensor, dim: Dims, keepdim: bool = False) -> Tensor:
    """The logarithm of a sum of exponentials."""
    (x,) = promoted(x, floating=True)
    return in_float32(tf.reduce_logsumexp)(x, axis=axes(dim, x.shape.rank), keepdims=keepdim)


@in_float32
def vector_norm(
    x: Tensor, ord: float = 2, dim: Dims = None, keepdim: bool = False, *, dtype: tf.DType | None = None
) -> Tensor:
    """The p-norm over dimensions."""
    x = tf.abs(x if dtype is None else cast(x, dtype))
    dims = axes(dim, x.shape.rank)
    if ord == float("inf"):
        return tf.reduce_max(x, axis=dims, keepdims=keepdim)
    if ord == float("-inf"):
        return tf.reduce_min(x, axis=dims, keepdims=keepdim)
    if ord == 0:
        return tf.reduce_sum(tf.cast(x != 0, x.dtype), axis=dims, keepdims=keepdim)
    power = cast(ord, x.dtype)
    return tf.pow(tf.reduce_sum(tf.pow(x, power), axis=dims, keepdims=keepdim), 1 / power)


def aminmax(x: Tensor, *, dim: int | None = None, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """The smallest and the largest element."""
    low = extremum(tf.reduce_min, tf.reduce_all)(x, dim, keepdim)
    return low, extremum(tf.reduce_max, tf.reduce_any)(x, dim, keepdim)


def median(x: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The lower of the middle elements; with a dimension, and where it is."""
    if dim is None:
        return kth_value(tf.reshape(x, [-1]), _middle(x), 0)[0]
    return kth_value(x, _middle(x, dim), dim, keepdim)


def _middle(x: Tensor, dim: int | None = None) -> Size:
    size = sizes(x)
    count = product(size) if dim is None or not size else size[dim]
    return (count - 1) // 2 + 1


def kth_value(x: Tensor, k: Size, dim: int = -1, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """The k-th smallest element, counted from 1, and where it is."""
    order = along_last(lambda y: tf.argsort(y, stable=True)[..., k - 1 : k])(x, dim)
    if x.shape.rank == 0:
        return x, tf.cast(order, tf.int64)
    dim = axis(dim, x.shape.rank)
    index = tf.cast(order, tf.int64)
    values = gather(x, dim, index)
    return (values, index) if keepdim else (tf.squeeze(values, [dim]), tf.squeeze(index, [dim]))


def count_nonzero(x: Tensor, dim: int | None = None) -> Tensor:
    """How many elements are not 0."""
    return tf.reduce_sum(tf.cast(cast(x, tf.bool), tf.int64), axis=axes(dim, x.shape.rank))


def bincount(x: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """How often each number occurs."""
    length = tf.maximum(tf.reduce_max(tf.concat([tf.cast(x, tf.int64), [-1]], 0)) + 1, minlength)
    ones = tf.ones_like(x, tf.int64) if weights is None else weights
    ones = ones if ones.dtype.is_floating or weights is None else tf.cast(ones, tf.float64)
    return tf.math.unsorted_segment_sum(ones, tf.cast(x, tf.int64), tf.reshape(shape([length]), []))
