"""What a model is asked for: classes, labels or numbers."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor

from polytrainer.executors.backends.torch.losses import logits_of
from polytrainer.proto.problems import Problem

Task = Literal["binary", "multiclass", "multilabel", "regression"]
BINARY: Task = "binary"
MULTICLASS: Task = "multiclass"
MULTILABEL: Task = "multilabel"
REGRESSION: Task = "regression"

TASK_OF_LOSS: dict[str, Task] = {
    "binary_cross_entropy": MULTILABEL,  # of one label: binary
    "cross_entropy": MULTICLASS,
    "hinge": MULTILABEL,
    "huber": REGRESSION,
    "kl_div": REGRESSION,
    "mae": REGRESSION,
    "mse": REGRESSION,
    "multi_margin": MULTICLASS,
    "multilabel": MULTILABEL,
    "nll": MULTICLASS,
    "poisson_nll": REGRESSION,
    "smooth_l1": REGRESSION,
}


def task_of(outputs: Any, label: Tensor, loss_name: str | None = None) -> tuple[Task, int]:
    """Finds out from a batch what a model is asked for.

    The name of the loss decides, where it is one of `losses.make`. Else the shapes do, and where there is a label for
    each output, whether all labels of the batch are 0 or 1. That may take numbers that happen to be so for classes,
    and classes written one-hot for labels: with a loss of one's own, give the task to `metrics.make`.

    Args:
        outputs: What the model returns: `[B, C]`, `[B, C, …]`, `[B, 1]`, `[B]`, or a mapping with these.
        label: `[B]`, `[B, 1]`, or of the outputs' shape.
        loss_name: As in `losses.make`; None, or a name that is not there, for a loss of one's own.

    Returns:
        `("binary", 2)`: one logit. `("multiclass", C)`: a logit for each class, and a class. `("multilabel", C)`: a
        logit for each label, and as many 0 or 1. `("regression", k)`: k numbers per example.

    Raises:
        ValueError: If the shapes fit none of them.
    """
    logits = logits_of(outputs)
    width = logits.shape[1] if logits.ndim > 1 else 1
    task = TASK_OF_LOSS.get(loss_name or "") or _by_shape(logits, label, width)
    if task == MULTILABEL and width == 1:
        return BINARY, 2
    return task, logits.numel() // len(logits) if task == REGRESSION else width


def _by_shape(logits: Tensor, label: Tensor, width: int) -> Task:
    if logits.numel() == label.numel():
        return MULTILABEL if bool(((label == 0) | (label == 1)).all()) else REGRESSION
    if width > 1 and logits.numel() == label.numel() * width:
        return MULTICLASS
    got = f"outputs {list(logits.shape)} and a label {list(label.shape)}"
    raise ValueError(str(Problem("the task", got, "a label for each output, or one class for several outputs")))
