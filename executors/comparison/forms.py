"""Labels and predictions in the one form that a task's metrics take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polytrainer.proto.comparator_args import BINARY, MULTICLASS, RANKING, REGRESSION

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Probabilities are kept this far from 0 and 1, as scikit-learn's log_loss keeps those in float32.
EPSILON = 2.0**-23


class UnfitError(ValueError):
    """A label or a prediction that the task cannot mean; the text says what was expected."""


def prediction_of(task: str, values: NDArray[Any]) -> NDArray[Any]:
    """A prediction as the metrics take it.

    Args:
        task: A key of `comparator_args.METRICS`.
        values: `[outputs]`, finite.

    Returns:
        For BINARY `[1]`, the probability of 1; for RANKING `[1]`, the score; else `[outputs]`. float64; probabilities
        within `EPSILON` of 0 and 1.

    Raises:
        UnfitError: If they are not as many as the task has, or no probabilities.
    """
    import numpy as np

    if task == RANKING and len(values) != 1:
        raise UnfitError("one score")
    if task in (REGRESSION, RANKING):
        return values
    if task == BINARY and len(values) not in (1, 2):
        raise UnfitError("one probability, or two")
    if task == MULTICLASS and len(values) < 2:  # noqa: PLR2004
        raise UnfitError("a probability for each class, two at least")
    if not ((values >= 0) & (values <= 1)).all():
        raise UnfitError("probabilities, from 0 to 1")
    clipped: NDArray[Any] = np.clip(values[-1:] if task == BINARY else values, EPSILON, 1 - EPSILON)
    return clipped


def label_of(task: str, values: NDArray[Any], outputs: int) -> NDArray[Any]:
    """A label as the metrics take it.

    Args:
        task: A key of `comparator_args.METRICS`.
        values: As it was stored: a number, or for classes also as many as there are classes, one of them 1.
        outputs: How many the prediction has, in its form.

    Returns:
        `[outputs]`: for MULTICLASS 1 for the class and 0 for all others.

    Raises:
        UnfitError: If it is none of the task.
    """
    import numpy as np

    if not np.isfinite(values).all():
        raise UnfitError("finite numbers")
    if task == RANKING:
        if len(values) != 1 or values[0] < 0:
            raise UnfitError("a relevance, one number, 0 or more")
        return values
    if task == REGRESSION:
        if len(values) != outputs:
            raise UnfitError(f"as many numbers as the prediction has, {outputs}")
        return values
    if task == MULTICLASS and len(values) == 1:
        if not (0 <= values[0] < outputs and values[0] == int(values[0])):
            raise UnfitError(f"the number of a class, from 0 to {outputs - 1}")
        values = np.eye(outputs)[int(values[0])]
    if task == BINARY and len(values) == 2:  # noqa: PLR2004
        values = values[1:]
    if len(values) != outputs or not np.isin(values, (0, 1)).all():
        raise UnfitError(f"{outputs} numbers, each 0 or 1")
    if task == MULTICLASS and values.sum() != 1:
        raise UnfitError("one class that is 1")
    return values
