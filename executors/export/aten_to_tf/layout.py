"""Tensors whose dimensions lie in another order than PyTorch counts them, so that they need not be moved to and fro.

TensorFlow's convolutions want channels last. What follows one mostly does not care, so a tensor stays as it lies until
an operator does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tensorflow as tf
import torch

from polytrainer.executors.export.aten_to_tf.dtypes import Tensor

Order = tuple[int, ...]


@dataclass(frozen=True)
class Laid:
    """A tensor that lies in another order.

    Attributes:
        there: The tensor as it lies.
        order: PyTorch's dimensions in that order: what transposes PyTorch's tensor to `there`.
    """

    there: Tensor
    order: Order

    @property
    def tensor(self) -> Tensor:
        """The tensor as PyTorch counts its dimensions. TensorFlow merges equal transpositions, so it is not kept."""
        return tf.transpose(self.there, inverse(self.order))


def inverse(order: Order) -> Order:
    """The permutation that undoes another."""
    return tuple(order.index(dim) for dim in range(len(order)))


def channels_last(rank: int) -> Order:
    """[batch, channels, *space] → [batch, *space, channels]."""
    return (0, *range(2, rank), 1)


def kernel(rank: int) -> Order:
    """[channels out, channels in, *space] → [*space, channels in, channels out]."""
    return (*range(2, rank), 1, 0)


def plain(value: Any) -> Any:
    """A value as PyTorch counts its dimensions, if it is a tensor that lies otherwise."""
    return value.tensor if isinstance(value, Laid) else value


def laid(value: Laid | Tensor, order: Order) -> Laid:
    """A tensor in an order."""
    if isinstance(value, Laid) and value.order == order:
        return value
    return Laid(tf.transpose(plain(value), order), order)


def rank(value: Any) -> int:
    """The number of dimensions; 0 of a number."""
    there = value.there if isinstance(value, Laid) else value
    return int(there.shape.rank) if tf.is_tensor(there) else 0


def of_weight(node: torch.fx.Node) -> Order | None:
    """The order in which a placeholder's weight had best lie; None for PyTorch's: it depends on who uses it."""
    convolves = [
        user.op == "call_function"
        and str(user.target) == "aten.convolution.default"
        and [each for each, arg in enumerate(user.args) if arg is node] == [1]
        for user in node.users
    ]
    return kernel(node.meta["val"].dim()) if convolves and all(convolves) else None
