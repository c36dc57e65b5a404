"""Number types of PyTorch and TensorFlow, and PyTorch's rules for mixing them."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
import torch

Tensor = Any
"""A `tf.Tensor`."""
Size = Any
"""The size of a dimension: an int where it is known, else a scalar int64 tensor."""

TO_TF: dict[torch.dtype, tf.DType] = {
    torch.bool: tf.bool,
    torch.uint8: tf.uint8,
    torch.uint16: tf.uint16,
    torch.uint32: tf.uint32,
    torch.uint64: tf.uint64,
    torch.int8: tf.int8,
    torch.int16: tf.int16,
    torch.int32: tf.int32,
    torch.int64: tf.int64,
    torch.float16: tf.float16,
    torch.bfloat16: tf.bfloat16,
    torch.float32: tf.float32,
    torch.float64: tf.float64,
    torch.complex64: tf.complex64,
    torch.complex128: tf.complex128,
}
TO_TORCH = {theirs: ours for ours, theirs in TO_TF.items()}
HALVES = (tf.float16, tf.bfloat16)
_COMPLEX = {tf.float64: tf.complex128}


def scalar_dtype(value: Any) -> tf.DType:
    """The type that PyTorch gives a Python number."""
    if isinstance(value, bool):
        return tf.bool
    if isinstance(value, int):
        return tf.int64
    return tf.complex64 if isinstance(value, complex) else tf.float32


def result_dtype(*values: Any) -> tf.DType:
    """The type in which PyTorch computes with tensors and numbers.

    Among values of the same kind (bool, integer, real, complex), tensors with dimensions decide, then tensors without,
    then Python numbers; a lower one matters only if it is of a higher kind.
    See https://docs.pytorch.org/docs/stable/tensor_attributes.html#type-promotion-doc.
    """
    ranked: list[tf.DType | None] = [None, None, None]
    for value in values:
        if value is None:
            continue
        is_tensor = tf.is_tensor(value)
        rank = (0 if value.shape.rank != 0 else 1) if is_tensor else 2
        dtype = value.dtype if is_tensor else scalar_dtype(value)
        ranked[rank] = dtype if ranked[rank] is None else _promoted(ranked[rank], dtype)
    with_dims, without, numbers = ranked
    return _higher_first(with_dims, _higher_first(without, numbers))


def _promoted(one: tf.DType, other: tf.DType) -> tf.DType:
    return TO_TF[torch.promote_types(TO_TORCH[one], TO_TORCH[other])]


def _higher_first(first: tf.DType | None, second: tf.DType | None) -> tf.DType:
    if first is None or second is None:
        return first or second
    if _kind(first) >= _kind(second):
        return first
    if first.is_floating and second.is_complex:
        return _COMPLEX.get(first, tf.complex64)
    return _promoted(first, second) if _kind(first) == 0 or not first.is_integer else second


def _kind(dtype: tf.DType) -> int:
    if dtype == tf.bool:
        return 0
    if dtype.is_integer:
        return 1
    return 2 if dtype.is_floating else 3


def cast(value: Any, dtype: tf.DType) -> Tensor:
    """A tensor or a number as a tensor of a type; a number that does not fit wraps around, as in PyTorch."""
    if not tf.is_tensor(value):
        with np.errstate(all="ignore"):
            return tf.constant(np.asarray(value).astype(dtype.as_numpy_dtype))
    if value.dtype == dtype:
        return value
    if value.dtype.is_complex and not dtype.is_complex:
        value = tf.math.real(value)
    return tf.cast(value, dtype)


def promoted(*values: Any, floating: bool = False) -> list[Any]:
    """Tensors and numbers as tensors of the one type in which PyTorch computes with them; None stays None.

    Args:
        *values: What meets in an operator.
        floating: Whether integers become float32, as in a division.
    """
    dtype = result_dtype(*values)
    if floating and _kind(dtype) <= 1:
        dtype = tf.float32
    return [None if value is None else cast(value, dtype) for value in values]
