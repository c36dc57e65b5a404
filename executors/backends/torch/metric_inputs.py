"""What metrics by name are given of a batch: probabilities or numbers, labels that count, and how much they count."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from polytrainer.executors.backends.torch import losses
from polytrainer.executors.backends.torch.tasks import BINARY, MULTICLASS, MULTILABEL, REGRESSION, Task
from polytrainer.proto.problems import Problem

Inputs = tuple[Tensor, Tensor, Tensor | None]


def prepare(task: Task | None, logits: Tensor, label: Tensor, weight: Tensor | None, ignored: int | None) -> Inputs:
    """Predictions, labels and weights of a batch.

    Args:
        task: Of the metric; None: one of the user's, which gets outputs, label and weight as they are, but that `[B,
            1]` and `[B]` become the same.
        logits: Or numbers, as the model returned them.
        label: As `input_fn` gave it.
        weight: Of the examples, `[B]`, or of each label; None where all count the same.
        ignored: The label of multiclass that does not count; None: all count.

    Returns:
        Where there are weights and a task, one row for each weight: `[n]` or `[n, …]`, `[n]` or `[n, …]`, `[n]`.

    Raises:
        ValueError: If shapes do not fit, or a label is no class.
    """
    if task is None:
        return (*_plain(logits, label), weight)
    if task == MULTICLASS:
        return _multiclass_that_counts(logits, label, weight, ignored)
    return _PREPARE[task](_wide(logits), label, weight)


def _binary(logits: Tensor, label: Tensor, weight: Tensor | None) -> Inputs:
    logits, label = losses.values("metrics", logits, label)
    return logits.sigmoid().flatten(), _whole(label, 2).flatten(), _weight_of_each(label, weight)


def _multilabel(logits: Tensor, label: Tensor, weight: Tensor | None) -> Inputs:
    logits, label = losses.values("metrics", logits, label)
    probabilities, label = logits.sigmoid(), _whole(label, 2)
    if weight is None:
        return probabilities, label, None
    positions = label[:, 0]  # [B, C, …]: a row for each position
    return _rows(probabilities), _rows(label), _weight_of_each(positions, weight)


def _regression(outputs: Tensor, label: Tensor, weight: Tensor | None) -> Inputs:
    outputs, label = losses.values("metrics", outputs, label)
    flat = outputs.reshape(len(outputs), -1).squeeze(1)  # [B], or [B, k]
    return flat, label.reshape(flat.shape), _weight_of_each(label.new_empty(len(flat)), weight)


_PREPARE: dict[Task, Callable[[Tensor, Tensor, Tensor | None], Inputs]] = {
    BINARY: _binary,
    MULTILABEL: _multilabel,
    REGRESSION: _regression,
}


def _multiclass_that_counts(logits: Tensor, label: Tensor, weight: Tensor | None, ignored: int | None) -> Inputs:
    """Of the labels that are not ignored; one row for each where some are, or where they have weights."""
    ignores = ignored is not None and not label.is_floating_point() and bool((label == ignored).any())
    if not ignores:
        predictions, label = _multiclass(logits, label)
        if weight is None:
            return predictions, label, None
        return _rows(predictions), label.flatten(), _weight_of_each(label, weight)
    logits, label = losses.classes("metrics", logits, label)
    counts = label != ignored
    weights = _weight_of_each(label, weight)
    logits, label = logits.movedim(1, -1)[counts], label[counts]  # [labels that count, C]
    if len(label):
        logits, label = _multiclass(logits, label)
    return logits, label, None if weights is None else weights[counts.flatten()]


def _multiclass(logits: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    logits, fitted = losses.classes_or_probabilities("metrics", _wide(logits), label)
    if fitted.shape == logits.shape:  # one-hot, or probabilities
        return logits.softmax(1), fitted.argmax(1)
    return logits.softmax(1), _whole(label, logits.shape[1]).view_as(fitted)


def _plain(outputs: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    if label.ndim == 2 and label.shape[1] == 1 and outputs.shape != label.shape:  # noqa: PLR2004
        return outputs, label.squeeze(1)
    if label.numel() == outputs.numel():
        return outputs, label.view_as(outputs)
    return outputs, label


def _rows(values: Tensor) -> Tensor:
    """`[B, C, …]` as `[n, C]`."""
    return values.movedim(1, -1).flatten(0, -2)


def _weight_of_each(labels: Tensor, weight: Tensor | None) -> Tensor | None:
    """The weight of each of the labels, `[B, …]`, as `[n]`."""
    if weight is None:
        return None
    if weight.numel() == labels.numel():
        return weight.flatten()
    if weight.numel() == len(labels):
        return weight.reshape(-1, *[1] * (labels.ndim - 1)).expand_as(labels).flatten()
    got = f"weights {list(weight.shape)} for labels {list(labels.shape)}"
    raise ValueError(str(Problem("metrics", got, "one for each example, or each position of an example")))


def _wide(tensor: Tensor) -> Tensor:
    """In float64: in less, logits above 17 become the same 1.0."""
    return tensor.float() if tensor.device.type == "mps" else tensor.double()  # there is no float64 on mps


def _whole(label: Tensor, num_classes: int) -> Tensor:
    """Labels as int64, after a look at whether they are from 0 to num_classes - 1."""
    whole = label.long()
    wrong = label[(whole != label) | (whole < 0) | (whole >= num_classes)]
    if wrong.numel():
        remedy = "-1 is what Transform gives a word that is not in the vocabulary."
        got = f"labels such as {wrong[0].item():g}"
        raise ValueError(str(Problem("metrics", got, f"whole numbers from 0 to {num_classes - 1}", remedy)))
    return whole


def ones_like_rows(predictions: Tensor) -> Tensor:
    """A weight of 1 for each row: for a batch without weights among others that have some."""
    return torch.ones(len(predictions), dtype=torch.float64, device=predictions.device)
