"""A loss as a mean that remembers by what it was divided, so that the parts of a batch add up to the batch.

A mean over rows, tokens or weighted examples is a sum divided by a weight. Of a batch that is computed in parts
(micro-batches, ranks, batches of an evaluation) the mean is the sum of all sums divided by the sum of all weights,
which is not the mean of the parts' means unless their weights are equal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from polytrainer.executors.errors import TrainingError
from polytrainer.proto.problems import Problem

Weight: TypeAlias = float | Tensor
# an attribute of a loss's tensor: what is computed from the loss (a penalty added, a factor) no longer has it, and
# counts by its rows, as any scalar that a user returns does
_WEIGHT = "polytrainer_weight"
_PAIR = 2


class MeanLoss(NamedTuple):
    """What a step returned.

    Attributes:
        mean: The loss, a scalar with its graph.
        weight: By what its sum was divided: a number, or a scalar tensor; None: by the number of rows.
    """

    mean: Tensor
    weight: Weight | None


def mean_with_weight(total: Tensor, weight: Tensor) -> Tensor:
    """`total / weight` as a loss that remembers its weight; 0 where the weight is 0, i.e. where nothing counts."""
    mean = total / weight.clamp(min=torch.finfo(total.dtype).tiny)
    return remember_weight(mean, lambda: weight)


def remember_weight(mean: Tensor, weight: Callable[[], Weight]) -> Tensor:
    """Lets a mean remember by what it was divided; that is computed only if somebody asks."""
    setattr(mean, _WEIGHT, weight)
    return mean


def mean_loss(returned: Any, where: str) -> MeanLoss:
    """Reads what a user's or the default step returned.

    Args:
        returned: A scalar, the mean; `(sum, weight)`; or a dict with either as `loss`.
        where: Name of the hook, for the error.

    Raises:
        TrainingError: If it is none of these.
    """
    value = returned.get("loss") if isinstance(returned, Mapping) else returned
    if isinstance(value, (tuple, list)) and len(value) == _PAIR:
        total, weight = value
        if isinstance(total, Tensor) and total.numel() == 1:
            weight = torch.as_tensor(weight, dtype=total.dtype, device=total.device).detach().reshape(())
            return MeanLoss(total.reshape(()) / weight.clamp(min=torch.finfo(total.dtype).tiny), weight)
    if isinstance(value, Tensor) and value.numel() == 1:
        weigh = getattr(value, _WEIGHT, None)
        return MeanLoss(value.reshape(()) if value.ndim else value, weigh() if weigh is not None else None)
    got = f"{_described(returned)}"
    expected = "a scalar tensor, the mean loss; (sum, weight); or a dict with one of them as 'loss'"
    remedy = "Losses of single examples: return (losses.sum(), len(losses))." if isinstance(value, Tensor) else ""
    raise TrainingError(Problem(where, got, expected, remedy))


def _described(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {list(value.shape)}"
    if isinstance(value, Mapping):
        return f"a dict with {sorted(map(str, value))}"
    return f"a {type(value).__name__}" + (f" of {len(value)}" if isinstance(value, (tuple, list)) else "")
