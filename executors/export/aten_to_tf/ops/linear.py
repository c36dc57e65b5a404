"""Products of matrices, and distances between rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from polytrainer.executors.export.aten_to_tf.dtypes import Tensor, cast, promoted
from polytrainer.executors.export.aten_to_tf.ops.common import (
    axis,
    in_float32,
    integers_in_float64,
    product,
    reshape,
    sizes,
)

_MULTIPLIED = (tf.float32, tf.float64, tf.int32, tf.int64, tf.complex64, tf.complex128)


@in_float32
def matmul(a: Tensor, b: Tensor) -> Tensor:
    """A product of matrices, of batches of them, or of vectors."""
    dtype = a.dtype
    if dtype not in _MULTIPLIED:
        a, b = tf.cast(a, tf.int64), tf.cast(b, tf.int64)
    left, right = a.shape.rank == 1, b.shape.rank == 1
    result = tf.matmul(a[None, :] if left else a, b[:, None] if right else b)
    if right:
        result = tf.squeeze(result, -1)
    if left:
        result = tf.squeeze(result, -1 if right else -2)
    return cast(result, dtype)


@in_float32
def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """X · weightᵀ + bias; the bias right after the product, which TensorFlow then computes in one go."""
    if weight.shape.rank == 1 or x.shape.rank == 1:
        result = matmul(x, tf.transpose(weight))
        return result if bias is None else result + bias
    *outer, inner = sizes(x)
    rows = x if len(outer) == 1 else reshape(x, [product(outer), inner])
    result = tf.matmul(rows, weight, transpose_b=True)
    result = result if bias is None else result + bias
    return result if len(outer) == 1 else reshape(result, [*outer, sizes(weight)[0]])


@in_float32
def addmm(bias: Tensor, a: Tensor, b: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """Beta · bias + alpha · a · b; a `beta` of 0 hides even NaN."""
    result = _times(matmul(a, b), alpha)
    return result + cast(_times(bias, beta), result.dtype) if beta != 0 else result


def _times(x: Tensor, factor: Any) -> Tensor:
    return x if factor == 1 else x * cast(factor, x.dtype)


@in_float32
def addbmm(bias: Tensor, a: Tensor, b: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """Beta · bias + alpha · the sum of a batch of products."""
    result = _times(tf.reduce_sum(matmul(a, b), axis=0), alpha)
    return result + _times(bias, beta) if beta != 0 else result


def outer(a: Tensor, b: Tensor) -> Tensor:
    """Every product of elements of two vectors."""
    a, b = promoted(a, b)
    return a[:, None] * b[None, :]


@integers_in_float64
@in_float32
def trilinear(
    a: Tensor,
    b: Tensor,
    c: Tensor,
    expand1: Sequence[int],
    expand2: Sequence[int],
    expand3: Sequence[int],
    sumdim: Sequence[int],
    unroll_dim: int = 1,
) -> Tensor:
    """The sum of a product of three over some dimensions, each widened by others first; behind nn.Bilinear."""
    for dims, each in ((expand1, "a"), (expand2, "b"), (expand3, "c")):
        for dim in dims:
            a = tf.expand_dims(a, dim) if each == "a" else a
            b = tf.expand_dims(b, dim) if each == "b" else b
            c = tf.expand_dims(c, dim) if each == "c" else c
    rank = a.shape.rank
    names = "abcdefghijklm"[:rank]
    summed = {axis(dim, rank) for dim in sumdim}

    def factor(x: Tensor) -> tuple[Tensor, str]:
        kept = [dim for dim in range(rank) if x.shape[dim] != 1]
        return tf.squeeze(x, [dim for dim in range(rank) if dim not in kept]), "".join(names[dim] for dim in kept)

    parts = [factor(x) for x in (a, b, c)]
    kept = "".join(name for dim, name in enumerate(names) if dim not in summed and any(name in p for _, p in parts))
    result = tf.einsum(f"{','.join(name for _, name in parts)}->{kept}", *(x for x, _ in parts))
    for dim in range(rank):
        if dim not in summed and names[dim] not in kept:
            result = tf.expand_dims(result, sum(1 for before in range(dim) if before not in summed))
    return result


@in_float32
def cdist(a: Tensor, b: Tensor, p: float, compute_mode: int | None = None) -> Tensor:
    """The p-norm distance of every row of a from every row of b."""
    difference = tf.abs(a[..., :, None, :] - b[..., None, :, :])
    return _norm(difference, p)


@in_float32
def pdist(x: Tensor, p: float = 2) -> Tensor:
    """The p-norm distances between rows, each pair once."""
    count = tf.cast(sizes(x)[0], tf.int64)
    place = tf.range(count, dtype=tf.int64)
    pairs = tf.where(place[:, None] < place[None, :])
    return _norm(tf.abs(tf.gather(x, pairs[:, 0]) - tf.gather(x, pairs[:, 1])), p)


def _norm(difference: Tensor, p: float) -> Tensor:
    if p == 0:
        return tf.reduce_sum(tf.cast(difference != 0, difference.dtype), axis=-1)
    if p == float("inf"):
        empty = tf.zeros_like(difference[..., :0])
        return (
            tf.reduce_max(tf.concat([difference, empty], -1), axis=-1)
            if difference.shape[-1] != 0
            else tf.reduce_sum(difference, axis=-1)
        )
    if p == 1:
        return tf.reduce_sum(difference, axis=-1)
    if p == 2:  # noqa: PLR2004
        return tf.sqrt(tf.reduce_sum(difference * difference, axis=-1))
    return tf.pow(tf.reduce_sum(tf.pow(difference, cast(p, difference.dtype)), axis=-1), cast(1 / p, difference.dtype))
