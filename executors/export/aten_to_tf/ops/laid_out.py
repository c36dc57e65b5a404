"""Operators that take tensors as they lie, most of them with channels last, and leave them so.

Each takes what its namesake in the table takes, where a tensor may be a `Laid`, and returns NotImplemented where it has
nothing to gain: the namesake is then called, with tensors as PyTorch counts their dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from polytrainer.executors.export.aten_to_tf.dtypes import Size, Tensor, cast
from polytrainer.executors.export.aten_to_tf.layout import Laid, Order, channels_last, inverse, kernel, laid, rank
from polytrainer.executors.export.aten_to_tf.ops.common import Op, axes, axis, in_float32, shape, sizes
from polytrainer.executors.export.aten_to_tf.ops.convolution import with_channels_last
from polytrainer.executors.export.aten_to_tf.ops.normalization import batch_norm_channels_last
from polytrainer.executors.export.aten_to_tf.ops.pooling import each_dim
from polytrainer.executors.export.aten_to_tf.ops.shapes import cat as plain_cat

_IMAGE = 4
"""The rank of a batch of images."""


def elementwise(function: Op) -> Op:
    """An operator of one tensor's elements, or of several tensors' that broadcast; the order is the first one's."""

    def op(*args: Any, **kwargs: Any) -> Any:
        order = next((arg.order for arg in args if isinstance(arg, Laid)), None)
        if order is None or any(rank(arg) > len(order) for arg in args):
            return NotImplemented
        return Laid(function(*(_beside(arg, order) for arg in args), **kwargs), order)

    return op


def _beside(value: Any, order: Order) -> Any:
    """What broadcasts against a tensor of an order, in that order."""
    if rank(value) == 0:
        return value
    if not isinstance(value, Laid):
        missing = len(order) - rank(value)
        value = tf.reshape(value, shape([1] * missing + sizes(value))) if missing else value
    return laid(value, order).there


def convolution(x: Any, weight: Any, bias: Tensor | None, *how: Any) -> Any:
    """A convolution of a batch."""
    dims = rank(weight)
    if rank(x) != dims:
        return NotImplemented
    order = channels_last(dims)
    return Laid(with_channels_last(laid(x, order).there, laid(weight, kernel(dims)).there, bias, *how), order)


def _is_images(x: Any) -> bool:
    return isinstance(x, Laid) and x.order == channels_last(_IMAGE) and bool(x.there.dtype.is_floating)


def max_pool2d(
    x: Any, kernel_size: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Any:
    """The largest element of each window."""
    if not _is_images(x) or ceil_mode or set(each_dim(dilation, 2)) != {1}:
        return NotImplemented
    window, pads = each_dim(kernel_size, 2), each_dim(padding, 2)
    amounts = [(0, 0), *((pad, pad) for pad in pads), (0, 0)]
    lowest = cast(float("-inf"), x.there.dtype)
    padded = tf.pad(x.there, amounts, constant_values=lowest) if any(pads) else x.there
    return Laid(in_float32(tf.nn.max_pool2d)(padded, window, each_dim(stride, 2, window), "VALID"), x.order)


def avg_pool2d(
    x: Any,
    kernel_size: Any,
    stride: Any = (),
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """The mean of each window, if all windows are whole."""
    if not _is_images(x) or ceil_mode or any(each_dim(padding, 2)) or divisor_override is not None:
        return NotImplemented
    window = each_dim(kernel_size, 2)
    return Laid(in_float32(tf.nn.avg_pool2d)(x.there, window, each_dim(stride, 2, window), "VALID"), x.order)


def adaptive_avg_pool2d(x: Any, output_size: Sequence[int]) -> Any:
    """The mean of a whole image."""
    return mean(x, [2, 3], True) if _is_images(x) and set(output_size) == {1} else NotImplemented


def mean(x: Any, dim: Any = None, keepdim: bool = False, dtype: tf.DType | None = None) -> Any:
    """The mean."""
    if not isinstance(x, Laid) or dtype is not None:
        return NotImplemented
    gone = axes(dim, len(x.order))
    left = [each for each in x.order if each not in gone]
    if not keepdim and left != sorted(left):
        return NotImplemented
    result = in_float32(tf.reduce_mean)(x.there, axis=[x.order.index(each) for each in gone], keepdims=keepdim)
    return Laid(result, x.order) if keepdim else result


def batch_norm_inference(x: Any, *parameters: Any) -> Any:
    """Normalizes channels by what was seen in training."""
    if not isinstance(x, Laid) or x.order != channels_last(len(x.order)):
        return NotImplemented
    nothing = tf.zeros([0], x.there.dtype)
    return Laid(batch_norm_channels_last(x.there, *parameters), x.order), nothing, nothing


def cat(tensors: Sequence[Any], dim: int = 0) -> Any:
    """Tensors one after the other."""
    order = next((x.order for x in tensors if isinstance(x, Laid)), None)
    if order is None or any(rank(x) != len(order) for x in tensors):
        return NotImplemented
    there = [laid(x, order).there for x in tensors]
    return Laid(plain_cat(there, order.index(axis(dim, len(order)))), order)


def permute(x: Any, dims: Sequence[int]) -> Any:
    """The dimensions in another order: moved once at most, and not at all from or to channels last."""
    order = x.order if isinstance(x, Laid) else tuple(range(rank(x)))
    there = x.there if isinstance(x, Laid) else x
    wanted = tuple(order.index(axis(dim, len(order))) for dim in dims)
    if inverse(wanted) == channels_last(len(wanted)):
        return Laid(there, inverse(wanted))
    return there if wanted == tuple(range(len(wanted))) else tf.transpose(there, wanted)


def transpose(x: Any, dim0: int, dim1: int) -> Any:
    """Two dimensions swapped."""
    dims = list(range(rank(x)))
    if len(dims) <= 1:
        return NotImplemented
    dims[dim0], dims[dim1] = dims[dim1], dims[dim0]
    return permute(x, dims)


def size(x: Any, dim: int) -> Size:
    """The size of a dimension."""
    return sizes(x.there)[x.order.index(axis(dim, len(x.order)))] if isinstance(x, Laid) else NotImplemented


def item(values: Any, place: Any) -> Any:
    """One of several results, as it lies."""
    return values[place]
