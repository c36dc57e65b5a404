"""Normalizations. What PyTorch returns for its backward pass beside the result is returned too."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from polytrainer.executors.export.aten_to_tf.dtypes import Size, Tensor, cast
from polytrainer.executors.export.aten_to_tf.ops.common import in_float32, product, shape, sizes

_IMAGE = 4
"""The rank of a batch of images."""


def _normalized(x: Tensor, axes: Sequence[int], eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """X with mean 0 and variance 1; the mean; the reciprocal of the standard deviation."""
    mean = tf.reduce_mean(x, axis=axes, keepdims=True)
    centered = x - mean
    rstd = tf.math.rsqrt(tf.reduce_mean(tf.square(centered), axis=axes, keepdims=True) + cast(eps, x.dtype))
    return centered * rstd, mean, rstd


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    x = x if weight is None else x * cast(weight, x.dtype)
    return x if bias is None else x + cast(bias, x.dtype)


@in_float32
def native_layer_norm(
    x: Tensor, normalized_shape: Sequence[Size], weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalizes the last dimensions."""
    rank = x.shape.rank
    normal, mean, rstd = _normalized(x, list(range(rank - len(normalized_shape), rank)), eps)
    return _affine(normal, weight, bias), mean, rstd


def layer_norm(
    x: Tensor,
    normalized_shape: Sequence[Size],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Tensor:
    """Normalizes the last dimensions."""
    result: Tensor = native_layer_norm(x, normalized_shape, weight, bias, eps)[0]
    return result


@in_float32
def rms_norm(
    x: Tensor, normalized_shape: Sequence[Size], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """Divides the last dimensions by their root mean square."""
    rank = x.shape.rank
    eps = float(np.finfo(x.dtype.as_numpy_dtype).eps) if eps is None else eps
    square = tf.reduce_mean(tf.square(x), axis=list(range(rank - len(normalized_shape), rank)), keepdims=True)
    return _affine(x * tf.math.rsqrt(square + cast(eps, x.dtype)), weight, None)


@in_float32
def native_group_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    N: Size,  # noqa: N803
    C: Size,  # noqa: N803
    HxW: Size,  # noqa: N803
    group: int,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalizes groups of channels, each example by itself."""
    size = sizes(x)
    grouped = tf.reshape(x, shape([size[0], group, product(size[1:]) // group]))
    normal, mean, rstd = _normalized(grouped, [2], eps)
    result = _affine(tf.reshape(normal, shape(size)), *(_per_channel(p, x.shape.rank) for p in (weight, bias)))
    return result, tf.squeeze(mean, 2), tf.squeeze(rstd, 2)


def _per_channel(parameter: Tensor | None, rank: int) -> Tensor | None:
    """A vector that broadcasts along dimension 1."""
    return None if parameter is None else tf.reshape(parameter, [-1] + [1] * (rank - 2))


@in_float32
def batch_norm_inference(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor,
    running_var: Tensor,
    momentum: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalizes channels by what was seen in training: one multiplication and one addition."""
    both = _scale_and_shift(weight, bias, running_mean, running_var, eps)
    scale, shift = (cast(_per_channel(each, x.shape.rank), x.dtype) for each in both)
    return x * scale + shift, tf.zeros([0], x.dtype), tf.zeros([0], x.dtype)


def _scale_and_shift(
    weight: Tensor | None, bias: Tensor | None, mean: Tensor, var: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    scale = tf.math.rsqrt(var + cast(eps, var.dtype))
    scale = scale if weight is None else scale * weight
    shift = -mean * scale
    return scale, shift if bias is None else shift + bias


@in_float32
def batch_norm_channels_last(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor,
    running_var: Tensor,
    momentum: float,
    eps: float,
) -> Tensor:
    """The same of [batch, *space, channels]; of images by TensorFlow's own operator, in one go."""
    if x.shape.rank == _IMAGE and x.dtype == running_mean.dtype == tf.float32:
        weight = tf.ones_like(running_mean) if weight is None else weight
        bias = tf.zeros_like(running_mean) if bias is None else bias
        # tf.nn's function would raise the epsilon
        return tf.raw_ops.FusedBatchNormV3(
            x=x, scale=weight, offset=bias, mean=running_mean, variance=running_var, epsilon=eps, is_training=False
        ).y
    scale, shift = _scale_and_shift(weight, bias, running_mean, running_var, eps)
    return x * cast(scale, x.dtype) + cast(shift, x.dtype)


@in_float32
def batch_norm_of_batch(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, training: bool, momentum: float, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalizes channels by the batch itself; behind instance norm."""
    rank = x.shape.rank
    normal, mean, rstd = _normalized(x, [dim for dim in range(rank) if dim != 1], eps)
    result = _affine(normal, *(_per_channel(p, rank) for p in (weight, bias)))
    return result, tf.reshape(mean, [-1]), tf.reshape(rstd, [-1])


def batch_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalizes channels, by the batch in training, else by what was seen in training."""
    if training or running_mean is None or running_var is None:
        batch: tuple[Tensor, Tensor, Tensor] = batch_norm_of_batch(x, weight, bias, training, momentum, eps)
        return batch
    seen: tuple[Tensor, Tensor, Tensor] = batch_norm_inference(
        x, weight, bias, running_mean, running_var, momentum, eps
    )
    return seen


def batch_norm_no_update(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    momentum: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Normalizes channels by what was seen in training; the last result is for a backward pass."""
    result = batch_norm(x, weight, bias, running_mean, running_var, False, momentum, eps)
    return (*result, tf.zeros([0], tf.uint8))
