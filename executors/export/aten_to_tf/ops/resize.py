"""Interpolation. Each spatial dimension is resized by itself, as PyTorch's formulas are products of such."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from polytrainer.executors.export.aten_to_tf.dtypes import Size, Tensor, cast
from polytrainer.executors.export.aten_to_tf.ops.common import Op, in_float32, sizes

Resize = Callable[[Tensor, int, Size, Any, bool], Tensor]
"""(x, dimension, new size, source pixels per pixel, align_corners) → x resized."""


def upsample(space: int, resize: Resize, corners: bool) -> Op:
    """The overload `default`: a size, and the scales that it came from, if any.

    Args:
        space: How many spatial dimensions there are.
        resize: One dimension.
        corners: Whether the operator takes `align_corners`.
    """

    def op(x: Tensor, output_size: Sequence[Size], *rest: Any, **named: Any) -> Tensor:
        align = bool(named.pop("align_corners", rest[0] if corners and rest else False))
        given = list(rest[1:] if corners else rest) + list(named.values())
        factors = given + [None] * (space - len(given))
        return _resized(x, space, resize, list(output_size), factors, align)

    return op


def upsample_vec(space: int, resize: Resize, corners: bool) -> Op:
    """The overload `vec`: a size or scales."""

    def op(x: Tensor, output_size: Sequence[Size] | None, *rest: Any, **named: Any) -> Tensor:
        align = bool(named.get("align_corners", rest[0] if corners and rest else False))
        factors = named.get("scale_factors", (rest[1:] if corners else rest)[0] if len(rest) > corners else None)
        if output_size is None:
            output_size = [_scaled(size, factor) for size, factor in zip(sizes(x)[2:], factors or [], strict=True)]
        return _resized(x, space, resize, list(output_size), factors or [None] * space, align)

    return op


def _scaled(size: Size, factor: float) -> Size:
    if isinstance(size, int) and not tf.is_tensor(factor):
        return math.floor(size * factor)
    return tf.cast(tf.floor(tf.cast(size, tf.float64) * tf.cast(factor, tf.float64)), tf.int64)


def _rounded(function: Op) -> Op:
    """Integers come out rounded, not cut off."""

    def op(x: Tensor, *rest: Any) -> Tensor:
        if x.dtype.is_floating:
            return in_float32(function)(x, *rest)
        return tf.cast(tf.round(function(tf.cast(x, tf.float32), *rest)), x.dtype)

    return op


@_rounded
def _resized(
    x: Tensor, space: int, resize: Resize, new: Sequence[Size], factors: Sequence[float | None], align: bool
) -> Tensor:
    for number in range(space):
        dim = x.shape.rank - space + number
        old, size, factor = sizes(x)[dim], new[number], factors[number]
        real = tf.cast(old, tf.float64), tf.cast(size, tf.float64)
        if align:
            ratio = tf.where(real[1] > 1, (real[0] - 1) / tf.maximum(real[1] - 1, 1), 0)
        else:
            ratio = real[0] / real[1] if factor is None or factor <= 0 else tf.constant(1 / factor, tf.float64)
        x = resize(x, dim, size, ratio, align)
    return x


def _places(size: Size, dtype: tf.DType) -> Tensor:
    return tf.cast(tf.range(tf.cast(size, tf.int64), dtype=tf.int64), dtype)


def _at(x: Tensor, dim: int, place: Tensor) -> Tensor:
    """Elements of a dimension; a place outside is the last one inside."""
    last = tf.cast(sizes(x)[dim] - 1, tf.int64)
    return tf.gather(x, tf.minimum(tf.maximum(tf.cast(place, tf.int64), 0), last), axis=dim)


def _along(weight: Tensor, x: Tensor, dim: int) -> Tensor:
    return tf.reshape(cast(weight, x.dtype), [-1] + [1] * (x.shape.rank - 1 - dim))


def nearest(shift: float) -> Resize:
    """The nearest pixel: by PyTorch's old rule (shift 0) or by the exact one (0.5)."""

    def resize(x: Tensor, dim: int, size: Size, ratio: Any, align: bool) -> Tensor:
        # float32, as PyTorch: another precision would pick another pixel now and then
        source = (_places(size, tf.float32) + shift) * tf.cast(ratio, tf.float32)
        return _at(x, dim, tf.floor(source))

    return resize


def _source(size: Size, ratio: Any, align: bool, dtype: tf.DType) -> Tensor:
    place, ratio = _places(size, dtype), tf.cast(ratio, dtype)
    return place * ratio if align else (place + 0.5) * ratio - 0.5


def linear(x: Tensor, dim: int, size: Size, ratio: Any, align: bool) -> Tensor:
    """Between the two neighbours."""
    real = x.dtype if x.dtype.is_floating else tf.float32
    source = tf.maximum(_source(size, ratio, align, real), 0)
    low = tf.floor(source)
    weight = _along(source - low, x, dim)
    return _at(x, dim, low) * (1 - weight) + _at(x, dim, low + 1) * weight


def cubic(x: Tensor, dim: int, size: Size, ratio: Any, align: bool) -> Tensor:
    """By cubic convolution of the four neighbours, with A = -0.75."""
    source = _source(size, ratio, align, x.dtype)
    low = tf.floor(source)
    result = tf.zeros([], x.dtype)
    for offset, weight in zip(range(-1, 3), cubic_weights(source - low), strict=True):
        result += _at(x, dim, low + offset) * _along(weight, x, dim)
    return result


def cubic_weights(t: Tensor, a: float = -0.75) -> list[Tensor]:
    """Weights of the neighbours at -1, 0, 1, 2 for a point t after 0."""

    def near(d: Tensor) -> Tensor:
        return ((a + 2) * d - (a + 3)) * d * d + 1

    def far(d: Tensor) -> Tensor:
        return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a

    return [far(t + 1), near(t), near(1 - t), far(2 - t)]
