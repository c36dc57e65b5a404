"""Operators that look at one element at a time: arithmetic, comparisons, bits, rounding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from polytrainer.executors.export.aten_to_tf.dtypes import Tensor, cast, promoted
from polytrainer.executors.export.aten_to_tf.ops.common import Op


def unary(function: Callable[[Tensor], Tensor], *, floating: bool = False) -> Op:
    """An operator of one tensor; with `floating`, integers become float32 first."""

    def op(x: Tensor) -> Tensor:
        return function(promoted(x, floating=floating)[0])

    return op


def binary(function: Callable[[Tensor, Tensor], Tensor], *, floating: bool = False) -> Op:
    """An operator of two tensors or numbers, brought to one type first."""

    def op(a: Any, b: Any) -> Tensor:
        return function(*promoted(a, b, floating=floating))

    return op


def comparison(function: Callable[[Tensor, Tensor], Tensor]) -> Op:
    """A comparison of two tensors or numbers, brought to one type first."""

    def op(a: Any, b: Any) -> Tensor:
        return function(*(_ordered(x) for x in promoted(a, b)))

    return op


def logical(function: Callable[[Tensor, Tensor], Tensor]) -> Op:
    """An operator of truth values; what is not 0 is true."""

    def op(a: Tensor, b: Tensor) -> Tensor:
        return function(cast(a, tf.bool), cast(b, tf.bool))

    return op


def bitwise(on_bits: Callable[[Tensor, Tensor], Tensor], on_bools: Callable[[Tensor, Tensor], Tensor]) -> Op:
    """An operator of bits, which are the truth values themselves where the tensors are bool."""

    def op(a: Any, b: Any) -> Tensor:
        a, b = promoted(a, b)
        return (on_bools if a.dtype == tf.bool else on_bits)(a, b)

    return op


def _ordered(x: Tensor) -> Tensor:
    return tf.cast(x, tf.int8) if x.dtype == tf.bool else x


def _scaled(b: Any, alpha: Any) -> Any:
    return b if isinstance(alpha, (int, float)) and alpha == 1 else multiply(b, alpha)


def multiply(a: Any, b: Any) -> Tensor:
    """Product; of bools, "and"."""
    a, b = promoted(a, b)
    return tf.logical_and(a, b) if a.dtype == tf.bool else tf.multiply(a, b)


def add(a: Any, b: Any, alpha: Any = 1) -> Tensor:
    """A + alpha · b; of bools, "or"."""
    a, b = promoted(a, _scaled(b, alpha))
    return tf.logical_or(a, b) if a.dtype == tf.bool else tf.add(a, b)


def subtract(a: Any, b: Any, alpha: Any = 1) -> Tensor:
    """A - alpha · b."""
    a, b = promoted(a, _scaled(b, alpha))
    return tf.subtract(a, b)


def rsubtract(a: Any, b: Any, alpha: Any = 1) -> Tensor:
    """B - alpha · a."""
    return subtract(b, a, alpha)


def divide(a: Any, b: Any, rounding_mode: str | None = None) -> Tensor:
    """A / b, rounded towards zero ("trunc") or down ("floor") where asked for."""
    if rounding_mode is None:
        return tf.divide(*promoted(a, b, floating=True))
    a, b = promoted(a, b)
    if rounding_mode == "floor":
        return floor_divide(a, b)
    return truncate(tf.divide(a, b)) if a.dtype.is_floating else tf.truncatediv(a, b)


def floor_divide(a: Any, b: Any) -> Tensor:
    """The quotient rounded down: of the exact quotient, not of its floating-point neighbour, as in Python."""
    a, b = promoted(a, b)
    if not a.dtype.is_floating:
        return tf.math.floordiv(a, b)
    rest = tf.truncatemod(a, b)
    below = tf.logical_and(rest != 0, (rest < 0) != (b < 0))
    quotient = (a - rest) / b - tf.cast(below, a.dtype)
    floor = tf.floor(quotient)
    nearest = floor + tf.cast(quotient - floor > 0.5, a.dtype)  # noqa: PLR2004
    return tf.where(b == 0, a / b, nearest)


def truncate(x: Tensor) -> Tensor:
    """Rounded towards zero."""
    return tf.where(x < 0, tf.math.ceil(x), tf.math.floor(x)) if x.dtype.is_floating else x


def rounded(function: Callable[[Tensor], Tensor]) -> Op:
    """A way to round; integers are round already."""

    def op(x: Tensor) -> Tensor:
        return function(x) if x.dtype.is_floating else x

    return op


def round_decimals(x: Tensor, decimals: int = 0) -> Tensor:
    """Rounded to a number of decimals, half to even."""
    scale = cast(10.0 ** abs(decimals), x.dtype)
    return tf.round(x * scale) / scale if decimals >= 0 else tf.round(x / scale) * scale


def fraction(x: Tensor) -> Tensor:
    """What is left beside the integer part."""
    return x - truncate(x)


def remainder(a: Tensor, b: Tensor) -> Tensor:
    """The rest of a division; it has the divisor's sign."""
    return tf.math.floormod(a, b)


def power(a: Any, b: Any) -> Tensor:
    """A to the power of b."""
    if not tf.is_tensor(b) and b == 2 and a.dtype.is_floating:  # noqa: PLR2004 - by far the most frequent, and cheap
        return tf.square(a)
    return tf.pow(*promoted(a, b))


def sign(x: Tensor) -> Tensor:
    """-1, 0 or 1."""
    if x.dtype == tf.bool:
        return x
    return tf.cast(x > 0, x.dtype) if x.dtype.is_unsigned else tf.sign(x)


def absolute(x: Tensor) -> Tensor:
    """Without the sign."""
    return x if x.dtype == tf.bool or x.dtype.is_unsigned else tf.abs(x)


def negative(x: Tensor) -> Tensor:
    """-x; an unsigned integer wraps around."""
    return tf.subtract(tf.zeros([], x.dtype), x) if x.dtype.is_unsigned else tf.negative(x)


def bitwise_not(x: Tensor) -> Tensor:
    """Each bit the other way round."""
    return tf.logical_not(x) if x.dtype == tf.bool else tf.bitwise.invert(x)


def logical_not(x: Tensor) -> Tensor:
    """Whether it is 0."""
    return tf.logical_not(cast(x, tf.bool))


def float_test(function: Callable[[Tensor], Tensor]) -> Op:
    """A question that is false of every integer."""

    def op(x: Tensor) -> Tensor:
        if x.dtype.is_complex:
            return tf.logical_or(function(tf.math.real(x)), function(tf.math.imag(x)))
        return function(x) if x.dtype.is_floating else tf.zeros_like(x, tf.bool)

    return op


def signbit(x: Tensor) -> Tensor:
    """Whether it carries a minus, as -0.0 does too."""
    if x.dtype == tf.bool or not x.dtype.is_floating:
        return _ordered(x) < tf.cast(0, _ordered(x).dtype)
    return tf.math.atan2(tf.cast(x, tf.float32), -1.0) < 0


def copysign(a: Any, b: Any) -> Tensor:
    """A's magnitude with b's sign."""
    a, b = promoted(a, b, floating=True)
    return tf.where(signbit(b), -tf.abs(a), tf.abs(a))


def clamp(x: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """At least `min`, at most `max`, each where given."""
    x, low, high = promoted(x, min, max)
    if low is not None:
        x = tf.maximum(x, low)
    return x if high is None else tf.minimum(x, high)


def extremum(function: Callable[[Tensor, Tensor], Tensor], on_bools: Callable[[Tensor, Tensor], Tensor]) -> Op:
    """The larger or the smaller of two; NaN wins."""

    def op(a: Any, b: Any) -> Tensor:
        a, b = promoted(a, b)
        return (on_bools if a.dtype == tf.bool else function)(a, b)

    return op


def extremum_but_nan(function: Callable[[Tensor, Tensor], Tensor]) -> Op:
    """The larger or the smaller of two; NaN loses."""

    def op(a: Any, b: Any) -> Tensor:
        a, b = promoted(a, b)
        if a.dtype == tf.bool:
            return tf.cast(function(_ordered(a), _ordered(b)), tf.bool)
        if not a.dtype.is_floating:
            return function(a, b)
        return tf.where(tf.math.is_nan(a), b, tf.where(tf.math.is_nan(b), a, function(a, b)))

    return op


def where(condition: Tensor, a: Any, b: Any) -> Tensor:
    """A where the condition holds, else b."""
    a, b = promoted(a, b)
    return tf.where(cast(condition, tf.bool), a, b)


def exp2(x: Tensor) -> Tensor:
    """2 to the power of x."""
    return tf.pow(cast(2, x.dtype), x)


def log_base(base: float) -> Callable[[Tensor], Tensor]:
    """The logarithm to a base."""
    return lambda x: tf.math.log(x) / cast(np.log(base), x.dtype)


def hypot(a: Tensor, b: Tensor) -> Tensor:
    """The length of (a, b), without overflow on the way."""
    a, b = tf.abs(a), tf.abs(b)
    large, small = tf.maximum(a, b), tf.minimum(a, b)
    ratio = tf.math.divide_no_nan(small, large)
    infinite = tf.logical_or(tf.math.is_inf(a), tf.math.is_inf(b))
    return tf.where(infinite, cast(float("inf"), a.dtype), large * tf.sqrt(1 + ratio * ratio))


def digamma(x: Tensor) -> Tensor:
    """The derivative of lgamma; at 0 it is infinite, where TensorFlow has NaN."""
    pole = tf.where(signbit(x), cast(float("inf"), x.dtype), cast(float("-inf"), x.dtype))
    return tf.where(x == 0, pole, tf.math.digamma(x))


def logit(x: Tensor, eps: float | None = None) -> Tensor:
    """log(x / (1 - x)), x kept `eps` away from 0 and 1."""
    (x,) = promoted(x, floating=True)
    if eps is not None:
        x = tf.clip_by_value(x, cast(eps, x.dtype), cast(1 - eps, x.dtype))
    return tf.math.log(x / (1 - x))


def to_copy(x: Tensor, dtype: tf.DType | None = None) -> Tensor:
    """In another type."""
    return x if dtype is None else cast(x, dtype)


def copy(x: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
    """`source` in the shape and type of x."""
    return tf.broadcast_to(cast(source, x.dtype), tf.shape(x))


def lerp(start: Tensor, end: Tensor, weight: Any) -> Tensor:
    """A point between two, from whichever end is nearer."""
    start, end = promoted(start, end)
    weight = cast(weight, start.dtype)
    nearer_end = tf.abs(weight) >= 0.5  # noqa: PLR2004
    return tf.where(nearer_end, end - (end - start) * (1 - weight), start + weight * (end - start))
