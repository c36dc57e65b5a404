"""Convolutions, of one to three spatial dimensions. PyTorch keeps channels in front of these, TensorFlow behind."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from polytrainer.executors.export.aten_to_tf.dtypes import Tensor
from polytrainer.executors.export.aten_to_tf.ops.common import in_float32, integers_in_float64, moved, shape, sizes

_FLAT = 2
"""Convolutions of fewer spatial dimensions run as those of two: TensorFlow has most kernels there."""


@integers_in_float64
@in_float32
def convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Tensor:
    """A convolution, or a transposed one.

    Args:
        x: [batch, channels, *space], or without the batch.
        weight: [channels out, channels in / groups, *kernel]; transposed, [in, out / groups, *kernel].
        bias: [channels out].
        stride: Of each spatial dimension, as are the next four; one number stands for all.
        padding: Zeros on either side.
        dilation: How far apart the kernel's elements are.
        transposed: Whether it is a transposed convolution.
        output_padding: How much longer the result of a transposed convolution is on one side.
        groups: How many separate convolutions of neighbouring channels these are.
    """
    space = weight.shape.rank - 2
    if x.shape.rank == space + 1:
        rest = (stride, padding, dilation, transposed, output_padding, groups)
        return tf.squeeze(convolution(x[None], weight, bias, *rest), 0)
    stride, padding, dilation, output_padding = (
        list(each) * (space if len(each) == 1 else 1) for each in (stride, padding, dilation, output_padding)
    )
    if space < _FLAT:
        result = convolution(
            tf.expand_dims(x, 2),
            tf.expand_dims(weight, 2),
            bias,
            [1, *stride],
            [0, *padding],
            [1, *dilation],
            transposed,
            [0, *output_padding],
            groups,
        )
        return tf.squeeze(result, 2)
    channels_last = tf.transpose(x, moved(space + 2, 1, space + 1))
    kernel = tf.transpose(weight, [*range(2, space + 2), 1, 0])
    if transposed:
        result = _transposed(channels_last, kernel, stride, padding, dilation, output_padding, groups)
    else:
        result = _forward(channels_last, kernel, stride, padding, dilation, groups)
    result = result if bias is None else tf.nn.bias_add(result, bias)
    return tf.transpose(result, moved(space + 2, space + 1, 1))


def _forward(
    x: Tensor, kernel: Tensor, stride: list[int], padding: list[int], dilation: list[int], groups: int
) -> Tensor:
    """[batch, *space, channels] by [*kernel, channels in / groups, channels out]."""
    if groups > 1 and kernel.shape[-2] == 1 and len(stride) == _FLAT and len(set(stride)) == 1:
        return _depthwise(x, kernel, stride, padding, dilation, groups)
    if len(stride) > _FLAT:
        kernel, dilation = _dilated(kernel, dilation), [1] * len(stride)
    x = _padded(x, [(each, each) for each in padding])
    if groups == 1:
        return _dense(x, kernel, stride, dilation)
    parts = zip(tf.split(x, groups, -1), tf.split(kernel, groups, -1), strict=True)
    return tf.concat([_dense(part, its_kernel, stride, dilation) for part, its_kernel in parts], -1)


def _dense(x: Tensor, kernel: Tensor, stride: list[int], dilation: list[int]) -> Tensor:
    convolve = tf.nn.conv2d if len(stride) == _FLAT else tf.nn.conv3d
    return convolve(x, kernel, [1, *stride, 1], "VALID", dilations=[1, *dilation, 1])


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
