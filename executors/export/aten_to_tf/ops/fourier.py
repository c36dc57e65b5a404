"""Fourier transforms."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from polytrainer.executors.export.aten_to_tf.dtypes import Size, Tensor, cast
from polytrainer.executors.export.aten_to_tf.ops.common import along_last, axes, product, sizes

_NONE, _BY_ROOT, _BY_COUNT = range(3)


def _normalized(x: Tensor, count: Size, normalization: int) -> Tensor:
    if normalization == _NONE:
        return x
    real = tf.float64 if x.dtype in (tf.complex128, tf.float64) else tf.float32
    factor = cast(count, real) if normalization == _BY_COUNT else tf.sqrt(cast(count, real))
    return x / tf.cast(factor, x.dtype)


def _over(function: Callable[[Tensor], Tensor], x: Tensor, dims: Sequence[int]) -> Tensor:
    for dim in dims:
        x = along_last(function)(x, dim)
    return x


def _count(x: Tensor, dims: Sequence[int]) -> Size:
    return product([sizes(x)[dim] for dim in dims])


def _inverse(x: Tensor) -> Tensor:
    """Not divided by the count, as PyTorch has it."""
    return tf.signal.ifft(x) * cast(sizes(x)[-1], x.dtype)


def c2c(x: Tensor, dim: Sequence[int], normalization: int, forward: bool) -> Tensor:
    """Of complex numbers, to complex ones."""
    dims = axes(dim, x.shape.rank)
    return _normalized(_over(tf.signal.fft if forward else _inverse, x, dims), _count(x, dims), normalization)


def r2c(x: Tensor, dim: Sequence[int], normalization: int, onesided: bool) -> Tensor:
    """Of real numbers; `onesided` leaves out what follows by symmetry in the last dimension given."""
    *others, last = axes(dim, x.shape.rank)
    complex_dtype = tf.complex128 if x.dtype == tf.float64 else tf.complex64
    if onesided:
        first = along_last(tf.signal.rfft)(x, last)
    else:
        first = along_last(tf.signal.fft)(tf.cast(x, complex_dtype), last)
    return _normalized(_over(tf.signal.fft, first, others), _count(x, [*others, last]), normalization)


def c2r(x: Tensor, dim: Sequence[int], normalization: int, last_dim_size: Size) -> Tensor:
    """To real numbers, of which the last dimension given has so many."""
    *others, last = axes(dim, x.shape.rank)
    half = _over(_inverse, x, others)
    length = tf.cast(last_dim_size, tf.int32)

    def to_real(y: Tensor) -> Tensor:
        real = tf.signal.irfft(y, fft_length=tf.reshape(length, [1]))
        return real * cast(last_dim_size, real.dtype)

    result = along_last(to_real)(half, last)
    return _normalized(result, _count(result, [*others, last]), normalization)
