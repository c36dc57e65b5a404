"""Which weights were evaluated, and which are published, where callbacks change them (EMA, SWA and the like)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from torch import nn

# after an evaluation has measured the weights: EMA takes its own back here, and SWA puts its average in place
_HOOKS = (
    "on_validation_epoch_end",
    "on_validation_end",
    "on_train_epoch_end",
    "on_train_end",
    "on_fit_end",
    "teardown",
)


def may_change(lightning: Any, package: ModuleType, ours: Any) -> bool:
    """Whether a callback of the user's, or the module itself, may change the weights after they were evaluated."""
    owners = [(each, package.Callback) for each in lightning.callbacks if each is not ours]
    owners.append((lightning.lightning_module, package.LightningModule))
    return any(_overrides(owner, empty, hook) for owner, empty in owners for hook in _HOOKS)


def copied(weights: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the tensors of a state dict, on the CPU."""
    return {
        name: value.detach().to("cpu", copy=True) for name, value in weights.items() if isinstance(value, torch.Tensor)
    }


def are_equal(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two state dicts have the same tensors, bit for bit."""
    return all(name in other and torch.equal(value, other[name].detach().cpu()) for name, value in one.items())


class PublishedWeights:
    """Holds a model's weights, through an evaluation after the training, as they were before it.

    Callbacks that train averaged weights swap them in around each evaluation. After the training the model has the
    weights that are published, the averaged or the best ones, and these are what is to be measured.
    """

    def __init__(self) -> None:
        self._kept: list[torch.Tensor] = []

    @contextmanager
    def of(self, model: nn.Module) -> Iterator[None]:
        """Keeps the weights of a model; at the end of the context it has them again."""
        self._kept = [tensor.detach().clone() for tensor in _tensors(model)]
        try:
            yield
            self.restore(model)
        finally:
            self._kept = []

    def restore(self, model: nn.Module) -> None:
        """Gives a model the weights that are kept; does nothing where none are, or where it is sharded now."""
        tensors = _tensors(model)
        if [tensor.shape for tensor in tensors] != [kept.shape for kept in self._kept]:
            return
        for tensor, kept in zip(tensors, self._kept, strict=True):
            tensor.data.copy_(kept)


def share_buffers(model: nn.Module) -> None:
    """Gives all ranks the buffers of rank 0: BatchNorm's statistics, which each rank has of its own."""
    for buffer in model.buffers():
        torch.distributed.broadcast(buffer.data, 0)


def _tensors(model: nn.Module) -> list[torch.Tensor]:
    return [*model.parameters(), *model.buffers()]


def _overrides(owner: Any, empty: type, hook: str) -> bool:
    return getattr(getattr(owner, hook), "__func__", None) is not getattr(empty, hook)
