"""Operators that make tensors from numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from polytrainer.executors.export.aten_to_tf.dtypes import Size, Tensor, cast, scalar_dtype
from polytrainer.executors.export.aten_to_tf.ops.common import Op, shape, sizes


def full(size: Sequence[Size], fill_value: Any, dtype: tf.DType | None = None) -> Tensor:
    """One number everywhere."""
    if dtype is None:
        dtype = fill_value.dtype if tf.is_tensor(fill_value) else scalar_dtype(fill_value)
    return tf.fill(shape(size), cast(fill_value, dtype))


def full_like(x: Tensor, fill_value: Any, dtype: tf.DType | None = None) -> Tensor:
    """One number everywhere, in the shape of x."""
    return full(sizes(x), fill_value, dtype or x.dtype)


def filled(value: float) -> Op:
    """Zeros, ones; or, for memory that PyTorch leaves uninitialized, zeros too."""

    def op(size: Sequence[Size], dtype: tf.DType | None = None) -> Tensor:
        return full(size, value, dtype or tf.float32)

    return op


def filled_like(value: float) -> Op:
    """The same in the shape of a tensor."""

    def op(x: Tensor, dtype: tf.DType | None = None) -> Tensor:
        return full_like(x, value, dtype)

    return op


def empty_strided(size: Sequence[Size], stride: Sequence[Size], dtype: tf.DType | None = None) -> Tensor:
    """Zeros, wherever in memory."""
    return full(size, 0, dtype or tf.float32)


def new_filled(value: float) -> Op:
    """Zeros or ones in the type of a tensor."""

    def op(x: Tensor, size: Sequence[Size], dtype: tf.DType | None = None) -> Tensor:
        return full(size, value, dtype or x.dtype)

    return op


def new_full(x: Tensor, size: Sequence[Size], fill_value: Any, dtype: tf.DType | None = None) -> Tensor:
    """One number everywhere, in the type of x."""
    return full(size, fill_value, dtype or x.dtype)


def scalar_tensor(s: Any, dtype: tf.DType | None = None) -> Tensor:
    """A number as a tensor."""
    return cast(s, dtype or tf.float32)


def arange(start: Any, end: Any, step: Any = 1, dtype: tf.DType | None = None) -> Tensor:
    """start, start + step, … up to but without `end`."""
    numbers = (start, end, step)
    whole = not any(isinstance(each, float) or (tf.is_tensor(each) and each.dtype.is_floating) for each in numbers)
    dtype = dtype or (tf.int64 if whole else tf.float32)
    precise = tf.int64 if whole else tf.float64
    return tf.cast(tf.range(*(tf.cast(each, precise) for each in numbers)), dtype)


def arange_to(end: Any, dtype: tf.DType | None = None) -> Tensor:
    """0, 1, … up to but without `end`."""
    return arange(0, end, 1, dtype)


def linspace(start: Any, end: Any, steps: int, dtype: tf.DType | None = None) -> Tensor:
    """Evenly from `start` to `end`, both included."""
    start, end = tf.cast(start, tf.float64), tf.cast(end, tf.float64)
    return tf.cast(tf.linspace(start, end, steps), dtype or tf.float32)


def eye(n: Size, m: Size = None, dtype: tf.DType | None = None) -> Tensor:
    """Ones on the diagonal."""
    return tf.eye(n, n if m is None else m, dtype=dtype or tf.float32)


def triangle(lower: bool) -> Op:
    """A matrix, zero above or below a diagonal."""

    def op(x: Tensor, diagonal: int = 0) -> Tensor:
        *_, rows, columns = sizes(x)
        row = tf.range(tf.cast(rows, tf.int64), dtype=tf.int64)[:, None]
        column = tf.range(tf.cast(columns, tf.int64), dtype=tf.int64)
        kept = column - row <= diagonal if lower else column - row >= diagonal
        return tf.where(kept, x, cast(0, x.dtype))

    return op


def triangle_indices(lower: bool) -> Op:
    """[2, count]: where a triangle of a matrix is."""

    def op(row: Size, col: Size, offset: int = 0, dtype: tf.DType | None = None) -> Tensor:
        ones = triangle(lower)(tf.ones(shape([row, col]), tf.int32), offset)
        return tf.cast(tf.transpose(tf.where(ones > 0)), dtype or tf.int64)

    return op


def fill(x: Tensor, value: Any) -> Tensor:
    """One number everywhere, in the shape and type of x."""
    return full_like(x, value)


def complex_of(real: Tensor, imag: Tensor) -> Tensor:
    """A complex number of its parts."""
    return tf.complex(real, imag)


def rand(size: Sequence[Size], dtype: tf.DType | None = None) -> Tensor:
    """Uniform in [0, 1); drawn anew at each call."""
    return tf.cast(tf.random.uniform(shape(size)), dtype or tf.float32)


def randn(size: Sequence[Size], dtype: tf.DType | None = None) -> Tensor:
    """Normal; drawn anew at each call."""
    return tf.cast(tf.random.normal(shape(size)), dtype or tf.float32)


def rand_like(x: Tensor, dtype: tf.DType | None = None) -> Tensor:
    """Uniform, in the shape of x."""
    return rand(sizes(x), dtype or x.dtype)


def randn_like(x: Tensor, dtype: tf.DType | None = None) -> Tensor:
    """Normal, in the shape of x."""
    return randn(sizes(x), dtype or x.dtype)


def randint(low: Any, high: Any, size: Sequence[Size], dtype: tf.DType | None = None) -> Tensor:
    """Integers from `low` up to but without `high`; drawn anew at each call."""
    drawn = tf.random.uniform(shape(size), tf.cast(low, tf.int64), tf.cast(high, tf.int64), tf.int64)
    return tf.cast(drawn, dtype or tf.int64)


def randint_to(high: Any, size: Sequence[Size], dtype: tf.DType | None = None) -> Tensor:
    """Integers from 0 up to but without `high`."""
    return randint(0, high, size, dtype)


def randperm(n: Size, dtype: tf.DType | None = None) -> Tensor:
    """0 … n - 1, shuffled anew at each call."""
    return tf.cast(tf.random.shuffle(tf.range(tf.cast(n, tf.int64), dtype=tf.int64)), dtype or tf.int64)


def bernoulli(x: Tensor, p: float | None = None) -> Tensor:
    """1 with a probability, else 0; drawn anew at each call."""
    probability = tf.cast(x, tf.float32) if p is None else p
    return tf.cast(tf.random.uniform(tf.shape(x)) < probability, x.dtype)


def native_dropout(x: Tensor, p: float, train: bool | None) -> tuple[Tensor, Tensor]:
    """In training, elements set to 0 at random; and which were kept."""
    if not train:
        return x, tf.ones_like(x, tf.bool)
    kept = tf.random.uniform(tf.shape(x)) >= p
    scale = 0.0 if p == 1 else 1 / (1 - p)
    return tf.where(kept, x * cast(scale, x.dtype), cast(0, x.dtype)), kept
