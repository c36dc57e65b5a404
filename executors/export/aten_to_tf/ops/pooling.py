"""Poolings. Inputs are [batch, channels, *space] or [channels, *space]."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from polytrainer.executors.export.aten_to_tf.dtypes import Size, Tensor, cast
from polytrainer.executors.export.aten_to_tf.ops.common import (
    Op,
    in_float32,
    integers_in_float64,
    moved,
    product,
    shape,
    sizes,
)


def each_dim(value: Any, space: int, default: Sequence[int] | None = None) -> list[int]:
    """One number for each spatial dimension."""
    values = [value] if isinstance(value, int) else list(value)
    if not values and default is not None:
        return list(default)
    return values * space if len(values) == 1 else values


class _Windows:
    """Where the windows of one spatial dimension are.

    Attributes:
        before: Padding in front.
        after: Padding behind, more than in front where a last window hangs over the end (ceil_mode).
        count: How many windows there are.
    """

    def __init__(self, length: Size, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool):
        reach = dilation * (kernel - 1) + 1
        free = length + 2 * padding - reach
        count = (free + (stride - 1 if ceil_mode else 0)) // stride + 1
        if ceil_mode:  # a window must begin inside, or in the padding in front
            too_many = (count - 1) * stride >= length + padding
            count = count - (int(too_many) if isinstance(too_many, bool) else tf.cast(too_many, tf.int64))
        self.before, self.count = padding, count
        missing = (count - 1) * stride + reach - length - padding
        self.after = max(missing, 0) if isinstance(missing, int) else tf.maximum(missing, 0)
        self._stride, self._dilation, self._kernel = stride, dilation, kernel

    def places(self) -> Tensor:
        """[count, kernel]: the places in the padded dimension that each window sees."""
        starts = tf.range(tf.cast(self.count, tf.int64), dtype=tf.int64) * self._stride
        return starts[:, None] + tf.range(self._kernel, dtype=tf.int64) * self._dilation


def _batched(pool: Op, space: int) -> Op:
    """Takes an input without a batch, too."""

    def op(x: Tensor, *args: Any, **kwargs: Any) -> Any:
        if x.shape.rank == space + 2:
            return pool(x, *args, **kwargs)
        return tf.nest.map_structure(lambda y: tf.squeeze(y, 0), pool(x[None], *args, **kwargs))

    return op


def _native(x: Tensor, pool: Callable[..., Tensor], kernel: list[int], stride: list[int]) -> Tensor:
    """A pooling of whole windows by TensorFlow's own kernel."""
    space = len(kernel)
    if space == 1:
        return tf.squeeze(_native(tf.expand_dims(x, 2), pool, [1, *kernel], [1, *stride]), 2)
    channels_last = tf.transpose(x, moved(space + 2, 1, space + 1))
    return tf.transpose(pool(channels_last, kernel, stride, "VALID"), moved(space + 2, space + 1, 1))


def max_pool(space: int, with_places: bool = True) -> Op:
    """The largest element of each window, and its place among all of its channel."""

    def pool(
        x: Tensor,
        kernel_size: Any,
        stride: Any = (),
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
    ) -> Any:
        kernel = each_dim(kernel_size, space)
        steps, pads, gaps = each_dim(stride, space, kernel), each_dim(padding, space), each_dim(dilation, space)
        lengths = sizes(x)[2:]
        windows = [_Windows(*each, ceil_mode) for each in zip(lengths, kernel, steps, pads, gaps, strict=True)]
        lowest = cast(float("-inf"), x.dtype) if x.dtype.is_floating else x.dtype.min
        amounts = [(0, 0), (0, 0), *((window.before, window.after) for window in windows)]
        padded = tf.pad(x, amounts, constant_values=lowest) if _any(amounts) else x
        native = tf.nn.max_pool3d if space > 2 else tf.nn.max_pool2d  # noqa: PLR2004
        has_kernel = x.dtype.is_floating and (space <= 2 or x.dtype != tf.float64)  # noqa: PLR2004
        if set(gaps) == {1} and has_kernel:
            values = in_float32(_native)(padded, native, kernel, steps)
            values = _first(values, windows)
        else:
            values = tf.reduce_max(_seen(padded, windows), axis=-1)
        return (values, _places_of_maxima(padded, windows, lengths)) if with_places else values

    return _batched(pool, space)


def _first(x: Tensor, windows: Sequence[_Windows]) -> Tensor:
    """Without what was pooled of windows that do not count."""
    kept = [slice(None), slice(None), *(slice(0, window.count) for window in windows)]
    return x[tuple(kept)]


def _any(amounts: Sequence[tuple[Size, Size]]) -> bool:
    return any(not isinstance(each, int) or each for pair in amounts for each in pair)


def _seen(padded: Tensor, windows: Sequence[_Windows]) -> Tensor:
    """[batch, channels, *windows, elements of a window]."""
    space = len(windows)
    for number, window in enumerate(windows):
        padded = tf.gather(padded, window.places(), axis=2 + 2 * number)
    order = [0, 1, *(2 + 2 * number for number in range(space)), *(3 + 2 * number for number in range(space))]
    ordered = tf.transpose(padded, order)
    size = sizes(ordered)
    return tf.reshape(ordered, shape([*size[: 2 + space], product(size[2 + space :])]))


def _places_of_maxima(padded: Tensor, windows: Sequence[_Windows], lengths: Sequence[Size]) -> Tensor:
    """Where in a channel the largest element of each window is."""
    space = len(windows)
    place = tf.constant(0, tf.int64)
    for number, (window, length) in enumerate(zip(windows, lengths, strict=True)):
        coordinate = window.places() - window.before
        others = [1] * (2 * space)
        others[number], others[space + number] = -1, coordinate.shape[1]
        place = place * length + tf.reshape(coordinate, others)
    size = sizes(place)
    place = tf.reshape(place, shape([*size[:space], product(size[space:])]))
    best = tf.argmax(_seen(padded, windows), axis=-1, output_type=tf.int64)
    chosen = tf.one_hot(best, sizes(place)[-1], dtype=tf.int64)
    return tf.reduce_sum(chosen * place, axis=-1)


def avg_pool(space: int) -> Op:
    """The mean of each window."""

    def pool(
        x: Tensor,
        kernel_size: Any,
        stride: Any = (),
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Tensor:
        kernel = each_dim(kernel_size, space)
        steps, pads = each_dim(stride, space, kernel), each_dim(padding, space)
        windows = [_Windows(*each, 1, ceil_mode) for each in zip(sizes(x)[2:], kernel, steps, pads, strict=True)]
        amounts = [(0, 0), (0, 0), *((window.before, window.after) for window in windows)]
        native = tf.nn.avg_pool3d if space > 2 else tf.nn.avg_pool2d  # noqa: PLR2004

        def averaged(y: Tensor) -> Tensor:
            if space > 2 and x.dtype == tf.float64:  # noqa: PLR2004 - it has no kernel
                return tf.reduce_mean(_seen(y, windows), axis=-1)
            return _native(y, native, kernel, steps)

        means = averaged(tf.pad(x, amounts) if _any(amounts) else x)
        if divisor_override is not None:
            means *= cast(product(kernel) / divisor_override, x.dtype)
        elif _any(amounts):
            means /= averaged(_counted(x, pads, windows, count_include_pad))
        return _first(means, windows)

    return integers_in_float64(in_float32(_batched(pool, space)))


def _counted(x: Tensor, pads: Sequence[int], windows: Sequence[_Windows], include_pad: bool) -> Tensor:
    """1 where an element counts for the mean: not where a window hangs over, nor in the padding unless asked."""
    inner = tf.ones(shape([1, 1, *sizes(x)[2:]]), x.dtype)
    over = [(0, 0), (0, 0)]
    for pad, window in zip(pads, windows, strict=True):
        if include_pad:
            over.append((0, tf.maximum(tf.cast(window.after, tf.int64) - pad, 0)))
        else:
            over.append((window.before, window.after))
    if include_pad:
        behind = [tf.minimum(tf.cast(window.after, tf.int64), pad) for pad, window in zip(pads, windows, strict=True)]
        inner = tf.pad(
            inner,
            [(0, 0), (0, 0), *((pad, its) for pad, its in zip(pads, behind, strict=True))],
            constant_values=cast(1, x.dtype),
        )
    return tf.pad(inner, over)


def _bins(length: Size, count: int) -> Tensor:
    """[count, length] bool: what each of `count` bins of nearly equal size holds."""
    number, place = tf.range(count, dtype=tf.int64), tf.range(tf.cast(length, tf.int64), dtype=tf.int64)
    starts, ends = number * length // count, -(-(number + 1) * length // count)
    return tf.logical_and(place >= starts[:, None], place < ends[:, None])


def adaptive_avg_pool(space: int) -> Op:
    """The means of so many bins, whatever the size."""

    def pool(x: Tensor, output_size: Sequence[int]) -> Tensor:
        lengths = sizes(x)[2:]
        if all(size == 1 for size in output_size):
            return tf.reduce_mean(x, axis=list(range(2, 2 + space)), keepdims=True)
        for number, (length, count) in enumerate(zip(lengths, each_dim(output_size, space), strict=True)):
            share = tf.cast(_bins(length, count), x.dtype)
            share /= tf.reduce_sum(share, axis=1, keepdims=True)
            dim, rank = 2 + number, 2 + space
            last = tf.tensordot(tf.transpose(x, moved(rank, dim, rank - 1)), share, [[rank - 1], [1]])
            x = tf.transpose(last, moved(rank, rank - 1, dim))
        return x

    return in_float32(_batched(pool, space))


def adaptive_max_pool(space: int) -> Op:
    """The largest elements of so many bins, and their places among all of their channel."""

    def pool(x: Tensor, output_size: Sequence[int]) -> tuple[Tensor, Tensor]:
        lengths = sizes(x)[2:]
        place = tf.broadcast_to(tf.reshape(tf.range(product(lengths), dtype=tf.int64), shape(lengths)), tf.shape(x))
        # from the last dimension on: among equals the first one in memory is named
        for number in reversed(range(space)):
            dim, rank = 2 + number, 2 + space
            order, back = moved(rank, dim, rank - 1), moved(rank, rank - 1, dim)
            inside = _bins(lengths[number], each_dim(output_size, space)[number])
            lowest = cast(float("-inf"), x.dtype)
            binned = tf.where(inside, tf.expand_dims(tf.transpose(x, order), -2), lowest)
            best = tf.argmax(binned, axis=-1, output_type=tf.int64)
            places = tf.gather(tf.transpose(place, order), best, batch_dims=rank - 1, axis=rank - 1)
            x, place = tf.transpose(tf.reduce_max(binned, axis=-1), back), tf.transpose(places, back)
        return x, place

    return in_float32(_batched(pool, space))
