"""How much examples of a class count while training."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from polytrainer.executors.errors import TrainingError
from polytrainer.proto.problems import Problem


def weights_of_labels(label: Tensor, weight_by_class: Mapping[int, float], weight: Tensor | None) -> Tensor:
    """The weight of each label: that of its class, times that of its example.

    Args:
        label: Whole numbers, `[batch]`, `[batch, 1]`, or one for each position of an example, `[batch, …]`.
        weight_by_class: By the number of the class; 1 for those that are not there.
        weight: Of the examples, `[batch]`; None: each counts 1.

    Returns:
        float32, `[batch]`, or of the label's shape where an example has several labels.
    """
    if not isinstance(label, Tensor):
        got = f"a label that is a {type(label).__name__}"
        raise TrainingError(Problem("class_weights", got, "a label that is the number of a class"))
    numbers = label.long()
    numbers = numbers.reshape(-1) if numbers.numel() == len(numbers) else numbers
    table = torch.ones(max(weight_by_class, default=-1) + 2, device=label.device)
    for number, class_weight in weight_by_class.items():
        table[number] = class_weight
    known = (numbers >= 0) & (numbers < len(table) - 1)
    weights = table[torch.where(known, numbers, len(table) - 1)]
    if weight is None:
        return weights
    return weights * weight.reshape(-1, *[1] * (weights.ndim - 1))
