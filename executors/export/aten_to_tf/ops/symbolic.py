"""Arithmetic of sizes: Python's operators on ints and scalar tensors, and what asserts something of them."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from polytrainer.executors.export.aten_to_tf.dtypes import Size, Tensor
from polytrainer.executors.export.aten_to_tf.ops.common import Op, product, sizes


def size(x: Tensor, dim: int) -> Size:
    """The size of a dimension."""
    return sizes(x)[dim]


def count(x: Tensor) -> Size:
    """The number of elements."""
    return product(sizes(x))


def zero(*_: Any) -> int:
    """Where a tensor begins in its memory: TensorFlow's have one each."""
    return 0


def stride(x: Tensor, dim: int) -> Size:
    """How far apart elements are in memory, if it is filled in order."""
    return product(sizes(x)[dim % x.shape.rank + 1 :])


def _tensors(a: Any, b: Any) -> tuple[Any, Any]:
    """Two numbers in one type: float64 if either is real."""
    real = any(isinstance(x, float) or (tf.is_tensor(x) and x.dtype.is_floating) for x in (a, b))
    dtype = tf.float64 if real else tf.int64
    return tf.cast(a, dtype), tf.cast(b, dtype)


def binary(python: Callable[[Any, Any], Any], tensorflow: Callable[[Any, Any], Any] | None = None) -> Op:
    """An operator of two numbers: Python's own if both are known, else TensorFlow's."""
    symbolic = tensorflow or python

    def op(a: Any, b: Any) -> Any:
        if not tf.is_tensor(a) and not tf.is_tensor(b):
            return python(a, b)
        return symbolic(*_tensors(a, b))

    return op


def unary(python: Callable[[Any], Any], tensorflow: Callable[[Any], Any]) -> Op:
    """An operator of one number."""

    def op(a: Any) -> Any:
        return tensorflow(a) if tf.is_tensor(a) else python(a)

    return op


def _real(a: Any) -> Any:
    return tf.cast(a, tf.float64)


def total(numbers: Any) -> Any:
    """A sum."""
    result = 0
    for number in numbers:
        result = binary(operator.add)(result, number)
    return result


def choose(condition: Any, a: Any, b: Any) -> Any:
    """A if the condition holds, else b."""
    return tf.where(condition, *_tensors(a, b)) if tf.is_tensor(condition) else (a if condition else b)


def item(values: Any, place: Any) -> Any:
    """One of several results."""
    return values[place]


def number(x: Tensor) -> Any:
    """The number that a tensor holds, which stays a tensor here: sizes in int64, reals in float64."""
    x = tf.reshape(x, [])
    if x.dtype == tf.bool:
        return x
    return tf.cast(x, tf.int64) if x.dtype.is_integer else tf.cast(x, tf.float64)


def nothing(*_: Any, **__: Any) -> None:
    """An assertion: it is for PyTorch's tracing, and not checked again."""


def _as_int(a: Any) -> Any:
    return tf.cast(a, tf.int64)


floor = unary(math.floor, lambda a: _as_int(tf.floor(_real(a))))
ceil = unary(math.ceil, lambda a: _as_int(tf.math.ceil(_real(a))))
trunc = unary(math.trunc, _as_int)
square_root = unary(math.sqrt, lambda a: tf.sqrt(_real(a)))
to_float = unary(float, _real)
to_int = unary(int, _as_int)
negate = unary(operator.neg, tf.negative)
invert = unary(operator.not_, lambda a: tf.logical_not(tf.cast(a, tf.bool)))
round_to_even = unary(round, lambda a: _as_int(tf.round(_real(a))))
true_divide = binary(operator.truediv, lambda a, b: _real(a) / _real(b))
both = binary(lambda a, b: a and b, lambda a, b: tf.logical_and(tf.cast(a, tf.bool), tf.cast(b, tf.bool)))
either = binary(lambda a, b: a or b, lambda a, b: tf.logical_or(tf.cast(a, tf.bool), tf.cast(b, tf.bool)))
