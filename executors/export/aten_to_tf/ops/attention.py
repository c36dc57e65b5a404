"""Attention, also by the fused operators that PyTorch's modules take in evaluation mode."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from polytrainer.executors.export.aten_to_tf.dtypes import Tensor, cast
from polytrainer.executors.export.aten_to_tf.ops.activations import gelu, relu
from polytrainer.executors.export.aten_to_tf.ops.common import in_float32, reshape, shape, sizes
from polytrainer.executors.export.aten_to_tf.ops.linear import linear
from polytrainer.executors.export.aten_to_tf.ops.normalization import layer_norm

_KEY_PADDING = 1


@in_float32
def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(query · keyᵀ · scale + mask) · value, and 0 for a query from which everything is hidden."""
    if enable_gqa:
        key, value = (tf.repeat(x, query.shape[-3] // x.shape[-3], axis=-3) for x in (key, value))
    factor = tf.math.rsqrt(cast(sizes(query)[-1], query.dtype)) if scale is None else cast(scale, query.dtype)
    scores = tf.matmul(query * factor, key, transpose_b=True)
    if is_causal:
        attn_mask = _causal(scores)
    return tf.matmul(_masked_softmax(scores, attn_mask), value)


def _causal(scores: Tensor) -> Tensor:
    rows, columns = sizes(scores)[-2:]
    row, column = (tf.range(tf.cast(size, tf.int64), dtype=tf.int64) for size in (rows, columns))
    return column <= row[:, None]


def _masked_softmax(scores: Tensor, mask: Tensor | None) -> Tensor:
    """With a mask that says what is seen (bool), or is added (float)."""
    if mask is None:
        return tf.nn.softmax(scores)
    hidden = cast(float("-inf"), scores.dtype)
    scores = tf.where(mask, scores, hidden) if mask.dtype == tf.bool else scores + mask
    blind = tf.reduce_all(scores == hidden, axis=-1, keepdims=True)
    return tf.where(blind, cast(0, scores.dtype), tf.nn.softmax(scores))


def flash_attention_for_cpu(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    attn_mask: Tensor | None = None,
    scale: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Attention, and the logarithm of each query's sum, which only a backward pass would look into."""
    result = scaled_dot_product_attention(query, key, value, attn_mask, dropout_p, is_causal, scale=scale)
    return result, tf.zeros(shape(sizes(query)[:-1]), tf.float32 if query.dtype != tf.float64 else tf.float64)


def _hidden(mask: Tensor | None, mask_type: int | None) -> Tensor | None:
    """What PyTorch's modules hide (True, or a number that is added) as what `_masked_softmax` takes."""
    if mask is None:
        return None
    mask = mask[:, None, None, :] if mask_type == _KEY_PADDING else mask
    return tf.logical_not(mask) if mask.dtype == tf.bool else mask


def _heads(x: Tensor, count: int) -> Tensor:
    """[batch, sequence, width] → [batch, heads, sequence, width / heads]."""
    batch, length, width = sizes(x)
    return tf.transpose(reshape(x, [batch, length, count, width // count]), [0, 2, 1, 3])


@in_float32
def native_multi_head_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim: int,
    num_head: int,
    qkv_weight: Tensor,
    qkv_bias: Tensor,
    proj_weight: Tensor,
    proj_bias: Tensor,
    mask: Tensor | None = None,
    need_weights: bool = True,
    average_attn_weights: bool = True,
    mask_type: int | None = None,
) -> tuple[Tensor, Tensor | None]:
    """nn.MultiheadAttention as a whole: projections, attention, projection; and the weights if they are needed.

    Args:
        query: [batch, sequence, embed_dim], as are `key` and `value`.
        key: See above.
        value: See above.
        embed_dim: Width.
        num_head: Number of heads.
        qkv_weight: [3 · embed_dim, embed_dim].
        qkv_bias: [3 · embed_dim].
        proj_weight: [embed_dim, embed_dim].
        proj_bias: [embed_dim].
        mask: What is hidden.
        need_weights: Whether to return the weights.
        average_attn_weights: Whether to return their mean over the heads.
        mask_type: 0 for [sequence, sequence], 1 for [batch, sequence] of keys, 2 for one that broadcasts.
    """
    weights, biases = tf.split(qkv_weight, 3), tf.split(qkv_bias, 3)
    projected = [linear(x, *each) for x, *each in zip((query, key, value), weights, biases, strict=True)]
    q, k, v = (_heads(x, num_head) for x in projected)
    scores = tf.matmul(q * cast(1 / math.sqrt(embed_dim // num_head), q.dtype), k, transpose_b=True)
    attention = _masked_softmax(scores, _hidden(mask, mask_type))
    mixed = tf.transpose(tf.matmul(attention, v), [0, 2, 1, 3])
    result = linear(reshape(mixed, sizes(query)), proj_weight, proj_bias)
    if not need_weights:
        return result, None
    return result, tf.reduce_mean(attention, axis=1) if average_attn_weights else attention


@in_float32
def transformer_encoder_layer(
    src: Tensor,
    embed_dim: int,
    num_heads: int,
    qkv_weight: Tensor,
    qkv_bias: Tensor,
    proj_weight: Tensor,
    proj_bias: Tensor,
    use_gelu: bool,
    norm_first: bool,
    eps: float,
    norm_weight_1: Tensor,
    norm_bias_1: Tensor,
    norm_weight_2: Tensor,
    norm_bias_2: Tensor,
    ffn_weight_1: Tensor,
    ffn_bias_1: Tensor,
    ffn_weight_2: Tensor,
    ffn_bias_2: Tensor,
    mask: Tensor | None = None,
    mask_type: int | None = None,
) -> Tensor:
    """nn.TransformerEncoderLayer as a whole; the arguments are its parameters."""
    activation = gelu if use_gelu else relu

    def attend(x: Tensor) -> Tensor:
        projections = (qkv_weight, qkv_bias, proj_weight, proj_bias)
        return native_multi_head_attention(
            x, x, x, embed_dim, num_heads, *projections, mask, need_weights=False, mask_type=mask_type
        )[0]

    def feed(x: Tensor) -> Tensor:
        return linear(activation(linear(x, ffn_weight_1, ffn_bias_1)), ffn_weight_2, ffn_bias_2)

    x = src
    for block, weight, bias in ((attend, norm_weight_1, norm_bias_1), (feed, norm_weight_2, norm_bias_2)):
        x = _residual(x, block, lambda y, w=weight, b=bias: layer_norm(y, [embed_dim], w, b, eps), norm_first)
    return x


def _residual(x: Tensor, block: Callable[[Tensor], Tensor], norm: Callable[..., Tensor], norm_first: bool) -> Any:
    return x + block(norm(x)) if norm_first else norm(x + block(x))
