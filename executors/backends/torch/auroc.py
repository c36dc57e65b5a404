"""Area under the ROC curve that says so where a class is absent, and does not count it as 0."""

from __future__ import annotations

from typing import Any

import torch
import torchmetrics.classification as c
from absl import logging
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat


class BinaryAUROC(c.BinaryAUROC):
    """NaN where all labels are the same: there is no curve. torchmetrics returns 0."""

    def compute(self) -> Tensor:
        """The area over all that was seen."""
        labels = dim_zero_cat(self.target)
        return mean_over_classes(dim_zero_cat(self.preds)[:, None], labels[:, None], "macro", "auroc")


class MulticlassAUROC(c.MulticlassAUROC):
    """Mean over the classes that occur, each against the rest. torchmetrics counts 0 for any other."""

    def compute(self) -> Tensor:
        """The area over all that was seen."""
        scores, labels = dim_zero_cat(self.preds), dim_zero_cat(self.target)
        one_hot = torch.nn.functional.one_hot(labels, self.num_classes)
        return mean_over_classes(scores, one_hot, self.average, "auroc")


class MultilabelAUROC(c.MultilabelAUROC):
    """Mean over the labels that occur. torchmetrics counts 0 for any other."""

    def compute(self) -> Tensor:
        """The area over all that was seen."""
        scores, labels = dim_zero_cat(self.preds), dim_zero_cat(self.target)
        if self.average == "micro":
            return mean_over_classes(scores.reshape(-1, 1), labels.reshape(-1, 1), "macro", "auroc")
        return mean_over_classes(scores, labels, self.average, "auroc")


def mean_over_classes(scores: Tensor, labels: Tensor, average: str | None, name: str) -> Tensor:
    """The areas of several classes as one.

    Args:
        scores: `[n, classes]`.
        labels: 0 or 1, of the same shape.
        average: "macro", "weighted" (by the number of positives), or None or "none": one for each class, NaN where it
            has none.
        name: Of the metric, for what is said of absent classes.
    """
    areas = []
    for number in range(scores.shape[1]):
        positives = int(labels[:, number].sum())
        defined = 0 < positives < len(labels)
        areas.append(area(scores[:, number], labels[:, number]) if defined else torch.nan)
    values = torch.tensor(areas, dtype=torch.float64)
    if average in (None, "none"):
        return values
    present = ~values.isnan()
    if not bool(present.all()):
        say_absent(name, [number for number, there in enumerate(present.tolist()) if not there], len(areas))
    if not bool(present.any()):
        return torch.tensor(torch.nan)
    weights = labels.sum(0).double() if average == "weighted" else torch.ones(len(areas), dtype=torch.float64)
    weights = weights.to(values.device)[present]
    return (values[present] * weights).sum() / weights.sum()


def area(scores: Tensor, labels: Tensor) -> float:
    """Of one class, by the trapezoidal rule; in float64, where torchmetrics' float32 is off by 1e-7 and more.

    Args:
        scores: `[n]`.
        labels: 0 or 1, of the same shape; both kinds.
    """
    scores, order = scores.cpu().sort(descending=True)
    positives = labels.cpu()[order].double()
    ends = torch.cat([scores.diff() != 0, torch.tensor([True])])  # of runs of equal scores
    true_positives, false_positives = positives.cumsum(0)[ends], (1 - positives).cumsum(0)[ends]
    start = torch.zeros(1, dtype=torch.float64)
    rise, run = torch.cat([start, true_positives]), torch.cat([start, false_positives])
    return float(torch.trapezoid(rise, run) / (rise[-1] * run[-1]))


def say_absent(name: str, classes: list[int], count: int) -> None:
    """Says that a metric is not defined for some classes."""
    _say(name, tuple(classes), count)


_said: set[Any] = set()


def _say(name: str, classes: tuple[int, ...], count: int) -> None:
    if (name, classes, count) in _said:
        return
    _said.add((name, classes, count))
    if len(classes) == count:
        logging.warning("%s is not defined, and NaN: the examples have both kinds of labels for no class.", name)
    else:
        shown = ", ".join(map(str, classes[:10])) + (", …" if len(classes) > 10 else "")  # noqa: PLR2004
        logging.warning(
            "%s is the mean over %d of %d classes: the evaluated examples have no label, or no other, of class %s.",
            name,
            count - len(classes),
            count,
            shown,
        )
