"""Activation functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from polytrainer.executors.export.aten_to_tf.dtypes import Tensor, cast, promoted
from polytrainer.executors.export.aten_to_tf.ops.common import Op, along_last, in_float32
from polytrainer.executors.export.aten_to_tf.ops.pointwise import clamp


def relu(x: Tensor) -> Tensor:
    """max(x, 0), and NaN of NaN: `tf.nn.relu` makes 0 of it once TensorFlow has fused it with a product."""
    return tf.maximum(x, cast(0, x.dtype))


@in_float32
def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """X · Φ(x), by the error function or by tanh."""
    return tf.nn.gelu(x, approximate=approximate == "tanh")


@in_float32
def elu(x: Tensor, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Tensor:
    """Scale · x above 0, scale · alpha · (exp(input_scale · x) - 1) below."""
    alpha, scale, input_scale = (cast(number, x.dtype) for number in (alpha, scale, input_scale))
    return scale * tf.where(x > 0, x, alpha * tf.math.expm1(tf.minimum(x, 0) * input_scale))


def leaky_relu(x: Tensor, negative_slope: float = 0.01) -> Tensor:
    """X above 0, negative_slope · x below."""
    return tf.where(x > 0, x, x * cast(negative_slope, x.dtype))


def hardtanh(x: Tensor, min_val: Any = -1, max_val: Any = 1) -> Tensor:
    """X between two bounds."""
    return clamp(x, cast(min_val, x.dtype), cast(max_val, x.dtype))


@in_float32
def hardsigmoid(x: Tensor) -> Tensor:
    """A sigmoid of three straight lines."""
    return tf.clip_by_value(x + 3, 0, 6) / 6


@in_float32
def hardswish(x: Tensor) -> Tensor:
    """X · hardsigmoid(x)."""
    return x * hardsigmoid(x)


@in_float32
def silu(x: Tensor) -> Tensor:
    """X · sigmoid(x)."""
    return x * tf.sigmoid(x)


@in_float32
def mish(x: Tensor) -> Tensor:
    """X · tanh(softplus(x))."""
    return x * tf.tanh(tf.math.softplus(x))


@in_float32
def softplus(x: Tensor, beta: float = 1, threshold: float = 20) -> Tensor:
    """log(1 + exp(beta · x)) / beta, and x itself above the threshold."""
    scaled = x * cast(beta, x.dtype)
    return tf.where(scaled > cast(threshold, x.dtype), x, tf.math.softplus(scaled) / cast(beta, x.dtype))


@in_float32
def log_sigmoid_forward(x: Tensor) -> tuple[Tensor, Tensor]:
    """log(sigmoid(x)), and a buffer that only a GPU's backward pass would look into."""
    return tf.math.log_sigmoid(x), tf.zeros([0], x.dtype)


@in_float32
def glu(x: Tensor, dim: int = -1) -> Tensor:
    """One half of x, gated by the other."""
    value, gate = tf.split(x, 2, axis=dim)
    return value * tf.sigmoid(gate)


def softmax(function: Callable[[Tensor], Tensor]) -> Op:
    """Softmax or its logarithm over one dimension; integers become float32."""

    def op(x: Tensor, dim: int, half_to_float: bool = False) -> Tensor:
        if half_to_float:
            x = tf.cast(x, tf.float32)
        return in_float32(along_last(function))(*promoted(x, floating=True), dim)

    return op


def safe_softmax(x: Tensor, dim: int, dtype: tf.DType | None = None) -> Tensor:
    """Softmax that is 0, not NaN, where everything is masked."""
    x = x if dtype is None else tf.cast(x, dtype)
    hidden = tf.reduce_all(x == cast(float("-inf"), x.dtype), axis=dim, keepdims=True)
    return tf.where(hidden, cast(0, x.dtype), softmax(tf.nn.softmax)(x, dim))
