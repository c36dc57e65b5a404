"""Convolutions, of one to three spatial dimensions. PyTorch keeps channels in front of these, TensorFlow behind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from polytrainer.executors.export.aten_to_tf.dtypes import Tensor
from polytrainer.executors.export.aten_to_tf.layout import channels_last, inverse
from polytrainer.executors.export.aten_to_tf.layout import kernel as kernel_order
from polytrainer.executors.export.aten_to_tf.ops.common import in_float32, integers_in_float64, shape, sizes

_FLAT = 2
"""Convolutions of fewer spatial dimensions run as those of two: TensorFlow has most kernels there."""


def convolution(x: Tensor, weight: Tensor, bias: Tensor | None, *how: Any) -> Tensor:
    """A convolution, or a transposed one.

    Args:
        x: [batch, channels, *space], or without the batch.
        weight: [channels out, channels in / groups, *kernel]; transposed, [in, out / groups, *kernel].
        bias: [channels out].
        *how: What follows in `with_channels_last`.
    """
    if x.shape.rank == weight.shape.rank - 1:
        return tf.squeeze(convolution(x[None], weight, bias, *how), 0)
    rank = weight.shape.rank
    moved_x, moved_weight = tf.transpose(x, channels_last(rank)), tf.transpose(weight, kernel_order(rank))
    return tf.transpose(with_channels_last(moved_x, moved_weight, bias, *how), inverse(channels_last(rank)))


@integers_in_float64
@in_float32
def with_channels_last(
    x: Tensor,
    kernel: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Tensor:
    """A convolution, or a transposed one, of tensors that lie as TensorFlow wants them.

    Args:
        x: [batch, *space, channels].
        kernel: [*kernel, channels in / groups, channels out]; transposed, [*kernel, out / groups, in].
        bias: [channels out].
        stride: Of each spatial dimension, as are the next four; one number stands for all.
        padding: Zeros on either side.
        dilation: How far apart the kernel's elements are.
        transposed: Whether it is a transposed convolution.
        output_padding: How much longer the result of a transposed convolution is on one side.
        groups: How many separate convolutions of neighbouring channels these are.
    """
    space = kernel.shape.rank - 2
    stride, padding, dilation, output_padding = (
        list(each) * (space if len(each) == 1 else 1) for each in (stride, padding, dilation, output_padding)
    )
    if space < _FLAT:
        flat, its_kernel = tf.expand_dims(x, 1), tf.expand_dims(kernel, 0)
        how = ([1, *stride], [0, *padding], [1, *dilation], transposed, [0, *output_padding], groups)
        return tf.squeeze(with_channels_last(flat, its_kernel, bias, *how), 1)
    if transposed:
        result = _transposed(x, kernel, stride, padding, dilation, output_padding, groups)
    else:
        result = _forward(x, kernel, stride, padding, dilation, groups)
    return result if bias is None else tf.nn.bias_add(result, bias)


def _forward(
    x: Tensor, kernel: Tensor, stride: list[int], padding: list[int], dilation: list[int], groups: int
) -> Tensor:
    """[batch, *space, channels] by [*kernel, channels in / groups, channels out]."""
    if groups > 1 and kernel.shape[-2] == 1 and len(stride) == _FLAT and len(set(stride)) == 1:
        return _depthwise(x, kernel, stride, padding, dilation, groups)
    if len(stride) > _FLAT:
        kernel, dilation = _dilated(kernel, dilation), [1] * len(stride)
        x, padding = _padded(x, [(each, each) for each in padding]), [0] * len(padding)
    if groups == 1:
        return _dense(x, kernel, stride, padding, dilation)
    parts = zip(tf.split(x, groups, -1), tf.split(kernel, groups, -1), strict=True)
    return tf.concat([_dense(part, its_kernel, stride, padding, dilation) for part, its_kernel in parts], -1)


def _dense(x: Tensor, kernel: Tensor, stride: list[int], padding: list[int], dilation: list[int]) -> Tensor:
    if len(stride) > _FLAT:
        return tf.nn.conv3d(x, kernel, [1, *stride, 1], "VALID")
    around = [(0, 0), *((each, each) for each in padding), (0, 0)] if any(padding) else "VALID"
    return tf.nn.conv2d(x, kernel, stride, around, dilations=dilation)


def _depthwise(
    x: Tensor, kernel: Tensor, stride: list[int], padding: list[int], dilation: list[int], groups: int
) -> Tensor:
    """One channel a group: TensorFlow has a kernel of its own, which cannot both stride and dilate."""
    if max(stride) > 1:
        kernel, dilation = _dilated(kernel, dilation), [1, 1]
    height, width, _, out = kernel.shape
    kernel = tf.reshape(kernel, [height, width, groups, out // groups])
    x = _padded(x, [(each, each) for each in padding])
    return tf.nn.depthwise_conv2d(x, kernel, [1, *stride, 1], "VALID", dilations=dilation)


def _padded(x: Tensor, amounts: Sequence[tuple[int, int]]) -> Tensor:
    return tf.pad(x, [(0, 0), *amounts, (0, 0)]) if any(map(any, amounts)) else x


def _dilated(kernel: Tensor, dilation: Sequence[int]) -> Tensor:
    """A kernel with zeros between its elements."""
    for dim, factor in enumerate(dilation):
        length = kernel.shape[dim]
        if factor > 1 and length > 1:
            spread = tf.expand_dims(kernel, dim + 1)
            gaps = [[0, 0]] * spread.shape.rank
            gaps[dim + 1] = [0, factor - 1]
            merged = [*kernel.shape[:dim], length * factor, *kernel.shape[dim + 1 :]]
            kernel = tf.reshape(tf.pad(spread, gaps), merged)
            kernel = kernel[(slice(None),) * dim + (slice(0, (length - 1) * factor + 1),)]
    return kernel


def _transposed(
    x: Tensor,
    kernel: Tensor,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    output_padding: list[int],
    groups: int,
) -> Tensor:
    """The whole result first, then without the padding; `kernel` is [*kernel, channels out / groups, in]."""
    kernel = _dilated(kernel, dilation)
    batch, *space, _ = sizes(x)
    out = kernel.shape[-2]
    whole = [(size - 1) * step + length for size, step, length in zip(space, stride, kernel.shape[:-2], strict=True)]
    function = tf.nn.conv2d_transpose if len(stride) == _FLAT else tf.nn.conv3d_transpose
    target = tf.cast(shape([batch, *whole, out]), tf.int32)

    def one(part: Tensor, its_kernel: Tensor) -> Tensor:
        return function(part, its_kernel, target, [1, *stride, 1], "VALID")

    if groups == 1:
        result = one(x, kernel)
    else:
        pairs = zip(tf.split(x, groups, -1), tf.split(kernel, groups, -1), strict=True)
        result = tf.concat([one(part, its_kernel) for part, its_kernel in pairs], -1)
    longer = [max(extra - cut, 0) for extra, cut in zip(output_padding, padding, strict=True)]
    result = _padded(result, [(0, each) for each in longer])
    ends = [size - cut + extra for size, cut, extra in zip(whole, padding, output_padding, strict=True)]
    kept = [slice(None), *(slice(cut, end) for cut, end in zip(padding, ends, strict=True))]
    return result[tuple(kept)]
