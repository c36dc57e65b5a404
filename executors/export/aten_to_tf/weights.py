"""PyTorch's tensors → TensorFlow's variables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import tensorflow as tf
import torch

from polytrainer.executors.export.aten_to_tf.dtypes import TO_TF
from polytrainer.executors.export.aten_to_tf.layout import Order


def variables(tensors: Iterable[tuple[str, torch.Tensor]], orders: Mapping[str, Order | None]) -> dict[str, Any]:
    """One variable for each tensor; tensors that share their memory, as tied weights do, share the variable.

    Args:
        tensors: By name.
        orders: By name, how the dimensions are to lie, if not as PyTorch's; of tied ones alike.
    """
    made: dict[Any, Any] = {}
    named = {}
    for name, tensor in tensors:
        where = memory(tensor)
        if tensor.numel() == 0 or where not in made:
            made[where] = _variable(name, tensor, orders[name])
        named[name] = made[where]
    return named


def memory(tensor: torch.Tensor) -> tuple[Any, ...]:
    """What two tensors have in common if they are one."""
    return tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()


def to_tf(tensor: torch.Tensor) -> Any:
    """A copy of a tensor."""
    copy = tensor.detach().resolve_conj().resolve_neg().to("cpu", copy=True, memory_format=torch.contiguous_format)
    return tf.convert_to_tensor(_Ours(copy))


def _variable(name: str, tensor: torch.Tensor, order: Order | None) -> Any:
    trainable = isinstance(tensor, torch.nn.Parameter) and tensor.requires_grad
    return tf.Variable(
        to_tf(tensor if order is None else tensor.permute(order)), trainable=trainable, name=name.replace(".", "/")
    )


class _Ours:
    """An array that TensorFlow may keep as it is: PyTorch made the copy, aligned as TensorFlow wants it.

    Of every `np.ndarray` it makes a copy itself, and a variable one more, so that a large table would for a moment be
    in memory four times.
    """

    def __init__(self, tensor: torch.Tensor):
        self._tensor = tensor

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        if self._tensor.dtype == torch.bfloat16:  # NumPy has none, so that it passes as 16-bit integers
            return self._tensor.view(torch.int16).numpy().view(TO_TF[torch.bfloat16].as_numpy_dtype)
        return self._tensor.numpy()
