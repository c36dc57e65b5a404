"""Whether a loss of the user's pairs each example with its own label: labels are `[batch, 1]`, outputs often `[batch]`.

PyTorch broadcasts such a pair to `[batch, batch]`, and the loss compares each output with every label: a model that
is trained so learns the mean. Other losses refuse a label of two dimensions, in words that do not say what to do.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from polytrainer.executors.backends.torch.mean_losses import mean_loss
from polytrainer.executors.errors import PreflightError
from polytrainer.proto.problems import Problem

REMEDY = (
    "Labels of one value are [batch, 1]: label.flatten() or label[:, 0] is [batch]; or give the outputs [batch, 1]."
)
_RELATIVE = 1e-4


def check(loss_fn: Callable[[Any, Any], Any], outputs: Any, label: Any) -> None:
    """Calls a loss on some examples, together and one by one.

    Args:
        loss_fn: The user's: outputs and label → a loss, as `mean_loss` reads it.
        outputs: What the model made of the examples.
        label: Their label.

    Raises:
        PreflightError: If it is the mean over examples once the shapes agree, and as they are fails or is another.
    """
    if not _may_broadcast(outputs, label):
        return

    def loss(some_outputs: Tensor, some_label: Tensor) -> float:
        return float(mean_loss(loss_fn(some_outputs, some_label), "loss_fn").mean)

    given = _value(lambda: loss(outputs, label))
    rows = range(len(label))
    for squeezed_outputs, squeezed_label in ((outputs, label.flatten()), (outputs.flatten(), label)):
        together = _value(lambda: loss(squeezed_outputs, squeezed_label))  # noqa: B023
        apart = _value(lambda: math.fsum(loss(squeezed_outputs[i : i + 1], squeezed_label[i : i + 1]) for i in rows))  # noqa: B023
        if together is None or apart is None or not _are_close(together, apart / len(label)):
            continue
        if given is None or not _are_close(given, together):
            got = f"outputs {list(outputs.shape)} and a label {list(label.shape)}, of which it " + (
                "takes none" if given is None else f"compares each output with every label (it is {given:.4g})"
            )
            expected = "the mean over examples" + ("" if given is None else f", which is {together:.4g}")
            raise PreflightError([Problem("loss_fn", got, expected, REMEDY)])


def _may_broadcast(outputs: Any, label: Any) -> bool:
    if not isinstance(outputs, Tensor) or not isinstance(label, Tensor) or len(label) < 2:  # noqa: PLR2004
        return False
    return label.shape == (len(label), 1) and len(outputs) == len(label)


def _value(compute: Callable[[], float]) -> float | None:
    """A loss; None where it fails, or is no number."""
    try:
        with torch.no_grad():
            value = compute()
    except Exception:  # whatever a loss of the user's may raise, that of a training will show
        return None
    return value if math.isfinite(value) else None


def _are_close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=_RELATIVE, abs_tol=1e-7)
