"""Sampling of images at places that are themselves computed; and patches put back together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from polytrainer.executors.export.aten_to_tf.dtypes import Size, Tensor, cast
from polytrainer.executors.export.aten_to_tf.ops.common import in_float32, shape, sizes
from polytrainer.executors.export.aten_to_tf.ops.resize import cubic_weights

_BILINEAR, _NEAREST, _BICUBIC = range(3)
_ZEROS, _BORDER, _REFLECTION = range(3)


@in_float32
def grid_sampler_2d(x: Tensor, grid: Tensor, interpolation_mode: int, padding_mode: int, align_corners: bool) -> Tensor:
    """[batch, channels, height, width] at grid [batch, h, w, (x, y)], whose -1 and 1 are the image's edges."""
    height, width = sizes(x)[-2:]
    image = tf.transpose(x, [0, 2, 3, 1])
    column = _unnormalized(grid[..., 0], width, align_corners)
    row = _unnormalized(grid[..., 1], height, align_corners)
    if interpolation_mode != _BICUBIC:
        column = _inside(column, width, padding_mode, align_corners)
        row = _inside(row, height, padding_mode, align_corners)

    def pixel(at_row: Tensor, at_column: Tensor) -> Tensor:
        if interpolation_mode == _BICUBIC:
            at_row = _inside(at_row, height, padding_mode, align_corners)
            at_column = _inside(at_column, width, padding_mode, align_corners)
        return _pixel(image, at_row, at_column)

    if interpolation_mode == _NEAREST:
        result = pixel(tf.round(row), tf.round(column))
    else:
        top, left = tf.floor(row), tf.floor(column)
        rows, columns = (_neighbours(t, interpolation_mode) for t in (row - top, column - left))
        result = tf.add_n(
            [
                pixel(top + dy, left + dx) * (weight_y * weight_x)[..., None]
                for dy, weight_y in rows
                for dx, weight_x in columns
            ]
        )
    return tf.transpose(result, [0, 3, 1, 2])


def _neighbours(t: Tensor, mode: int) -> list[tuple[int, Tensor]]:
    """Offsets and weights for a point t after a pixel."""
    if mode == _BILINEAR:
        return [(0, 1 - t), (1, t)]
    return list(zip(range(-1, 3), cubic_weights(t), strict=True))


def _unnormalized(place: Tensor, length: Size, align_corners: bool) -> Tensor:
    length = cast(length, place.dtype)
    return (place + 1) / 2 * (length - 1) if align_corners else ((place + 1) * length - 1) / 2


def _inside(place: Tensor, length: Size, mode: int, align_corners: bool) -> Tensor:
    """A place brought inside the image, unless outside means 0."""
    length = cast(length, place.dtype)
    if mode == _ZEROS:
        return place
    if mode == _REFLECTION:
        low = cast(0 if align_corners else -0.5, place.dtype)
        span = length - 1 if align_corners else length
        folded = tf.math.floormod(tf.abs(place - low), 2 * tf.maximum(span, 1))
        place = tf.where(span == 0, 0, low + tf.minimum(folded, 2 * span - folded))
    return tf.minimum(tf.maximum(place, 0), length - 1)


def _pixel(image: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """[batch, h, w, channels] at rows and columns [batch, h, w]; 0 outside."""
    _, height, width, _ = sizes(image)
    inside = (row >= 0) & (row < cast(height, row.dtype)) & (column >= 0) & (column < cast(width, column.dtype))
    place = tf.where(inside, row, 0) * cast(width, row.dtype) + tf.where(inside, column, 0)
    flat = tf.reshape(image, shape([sizes(image)[0], height * width, sizes(image)[3]]))
    found = tf.gather(flat, tf.cast(place, tf.int64), batch_dims=1, axis=1)
    return tf.where(inside[..., None], found, cast(0, found.dtype))


def _patch_places(
    output_size: Sequence[Size],
    kernel_size: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[int],
    stride: Sequence[int],
) -> Tensor:
    """[kernel height · width, patches]: where in the padded image each element of each patch is."""
    rows, columns = (
        (
            tf.range(kernel, dtype=tf.int64)[:, None] * gap,
            tf.range((size + 2 * pad - gap * (kernel - 1) - 1) // step + 1, dtype=tf.int64)[None, :] * step,
        )
        for size, kernel, gap, pad, step in zip(output_size, kernel_size, dilation, padding, stride, strict=True)
    )
    width = output_size[1] + 2 * padding[1]
    row, column = rows[0] + rows[1], columns[0] + columns[1]
    places = row[:, None, :, None] * width + column[None, :, None, :]
    return tf.reshape(places, shape([kernel_size[0] * kernel_size[1], row.shape[1] * column.shape[1]]))


@in_float32
def col2im(
    x: Tensor,
    output_size: Sequence[Any],
    kernel_size: Sequence[int],
    dilation: Sequence[int],
    padding: Sequence[int],
    stride: Sequence[int],
) -> Tensor:
    """Patches [batch, channels · kernel, patches] put back; where they overlap they are added."""
    unbatched = x.shape.rank == 2  # noqa: PLR2004
    x = x[None] if unbatched else x
    places = _patch_places(output_size, kernel_size, dilation, padding, stride)
    batch, width, patches = sizes(x)
    area = kernel_size[0] * kernel_size[1]
    height_all, width_all = (size + 2 * pad for size, pad in zip(output_size, padding, strict=True))
    flat = tf.transpose(tf.reshape(x, shape([batch * (width // area), area * patches])))
    sums = tf.math.unsorted_segment_sum(flat, tf.reshape(places, [-1]), height_all * width_all)
    image = tf.reshape(tf.transpose(sums), shape([batch, width // area, height_all, width_all]))
    image = image[:, :, padding[0] : padding[0] + output_size[0], padding[1] : padding[1] + output_size[1]]
    return image[0] if unbatched else image
