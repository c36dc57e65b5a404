"""Metrics as functions of sums over rows, for TFMA's counts and for a bootstrap's draws alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from polytrainer.proto.comparator_args import MULTICLASS, RANKING, REGRESSION

if TYPE_CHECKING:
    from numpy.typing import NDArray

WEIGHT, RIGHT, LOSS = "weight", "right", "loss"
HITS, PREDICTED, ACTUAL = "hits", "predicted", "actual"  # a number for each class
EXACT = "exact"
SQUARED, ABSOLUTE = "squared", "absolute"
OFF, LABEL, LABEL_SQUARED = "off", "label", "label_squared"  # a number for each output
QUERIES = "queries"
NEGATIVES, POSITIVES = "negatives", "positives"  # a number for each bin of scores
_MEANS = {"accuracy": RIGHT, "log_loss": LOSS, "exact_match": EXACT, "mse": SQUARED, "mae": ABSOLUTE}
_FLAT = 1e-12
_PER_CLASS = ("precision", "recall", "f1")


def value(metric: str, sums: Mapping[str, NDArray[Any]], task: str) -> NDArray[Any]:
    """A metric, of one or several sets of sums.

    Precision, recall and F1 are those of scikit-learn with `zero_division=0`: macro is the mean over the classes, for
    MULTICLASS over those that occur as label or as prediction.

    Args:
        metric: A name of `comparator_args.METRICS`.
        sums: By the names above, `[…]` or, per class and per bin, `[…, n]`; weighted.
        task: A key of `comparator_args.METRICS`.

    Returns:
        `[…]` of float64; NaN where the weights sum up to 0.
    """
    import numpy as np

    if task == RANKING:
        return _ratio(sums[metric], sums[WEIGHT], np.nan)
    if metric in _MEANS:
        return _ratio(sums[_MEANS[metric]], sums[WEIGHT], np.nan)
    if metric in _OWN:
        return _OWN[metric](sums)
    kind, _, average = metric.partition("_")
    if kind not in _PER_CLASS:
        raise KeyError(metric)
    parts = [sums[HITS], sums[PREDICTED], sums[ACTUAL]]
    if average == "micro":
        parts = [part.sum(axis=-1, keepdims=True) for part in parts]
    hits, predicted, actual = parts
    below = {"precision": predicted, "recall": actual, "f1": (predicted + actual) / 2}[kind]
    each = _ratio(hits, below, 0.0)
    if average == "macro" and task == MULTICLASS:
        occurs = (predicted + actual) > 0
        return _ratio((each * occurs).sum(axis=-1), occurs.sum(axis=-1), np.nan)
    mean: NDArray[Any] = each.mean(axis=-1)
    return mean


def groups(metric: str, sums: Mapping[str, NDArray[Any]]) -> int:
    """How many groups of rows a metric's interval rests on: for AUC, those with the rarer of the two labels.

    A statistic of two samples is as uncertain as the smaller one: the degrees of freedom are at least its size less 1,
    which is what one counts with to be safe. D. Moore, G. McCabe, B. Craig: Introduction to the Practice of Statistics,
    chapter 7 (two-sample t procedures).

    Args:
        metric: A name of `comparator_args.METRICS`.
        sums: By the names above, `[groups]` or, per class and per bin, `[groups, n]`.
    """
    if metric == "auc":
        return min(int(sums[part].any(axis=-1).sum()) for part in (NEGATIVES, POSITIVES))
    return len(sums[WEIGHT])


def _rmse(sums: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    return value("mse", sums, REGRESSION) ** 0.5


def _r2(sums: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """Coefficient of determination, the mean over the outputs, as scikit-learn's `r2_score` without `force_finite`.

    It is not defined where a label is constant, by which one that varies by less than a millionth of its size is meant:
    of that, sums of squares know nothing.
    """
    import numpy as np

    weight = np.asarray(sums[WEIGHT])[..., None]
    spread = sums[LABEL_SQUARED] - _ratio(sums[LABEL] ** 2, weight, 0.0)
    spread = np.where(spread > _FLAT * sums[LABEL_SQUARED], spread, 0.0)
    mean: NDArray[Any] = (1 - _ratio(sums[OFF], spread, np.nan)).mean(axis=-1)
    return mean


def _auc(sums: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """Chance that a positive scores above a negative, ties for a half: the area under the ROC curve.

    J. Hanley, B. McNeil: The meaning and use of the area under a receiver operating characteristic (ROC) curve,
    Radiology 143, 1982.
    """
    import numpy as np

    negatives, positives = sums[NEGATIVES], sums[POSITIVES]
    below = negatives.cumsum(axis=-1) - negatives / 2
    return _ratio((positives * below).sum(axis=-1), positives.sum(axis=-1) * negatives.sum(axis=-1), np.nan)


def _ratio(above: Any, below: Any, otherwise: float) -> NDArray[Any]:
    import numpy as np

    above, below = np.asarray(above, np.float64), np.asarray(below, np.float64)
    result = np.full(np.broadcast_shapes(above.shape, below.shape), otherwise)
    np.divide(above, below, out=result, where=below > 0)
    return result


_OWN = {"rmse": _rmse, "r2": _r2, "auc": _auc}
