"""Calibration: how often what is said with a probability is so. As scikit-learn has it, and how many rows say it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polytrainer.executors.report import figures
from polytrainer.executors.report.outcomes import Outcomes
from polytrainer.executors.report.page import Figure

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BINS = 10


def reliability(outcomes: Outcomes) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Calibration in ten bins of equal width.

    Of two classes, what is said of the second; of several, what is said of the one that was chosen; of several labels,
    what is said of each.

    Returns:
        Mean probability, share of what was true, and rows, of each bin that has any.
    """
    import numpy as np
    from sklearn.calibration import calibration_curve

    if outcomes.task == "multiclass":
        true, likely = outcomes.right.astype(int), outcomes.scores.max(axis=1)
    else:
        true, likely = outcomes.labels.ravel(), outcomes.scores.ravel()
    likely = np.clip(likely, 0, 1)
    bins = np.searchsorted(np.linspace(0, 1, _BINS + 1)[1:-1], likely)  # as scikit-learn has them
    counts = np.bincount(bins, minlength=_BINS)
    share, mean = calibration_curve(true, likely, n_bins=_BINS, pos_label=1)
    return mean, share, counts[counts > 0]


def calibration_error(mean: NDArray[Any], share: NDArray[Any], counts: NDArray[Any]) -> float:
    """The expected calibration error of what `reliability` found: the mean distance to the diagonal, by rows."""
    import numpy as np

    return float(np.average(np.abs(mean - share), weights=counts))


def calibration(outcomes: Outcomes) -> Figure:
    """How often what is said with a probability is so, and how often it is said."""
    import numpy as np

    mean, share, counts = reliability(outcomes)
    error = calibration_error(mean, share, counts)

    def draw(axes: Any) -> None:
        above, below = axes
        above.plot([0, 1], [0, 1], color=figures.COLORS["muted"], linewidth=0.8, linestyle=":")
        above.plot(mean, share, color=figures.COLORS["s1"], marker="o", markersize=3.5)
        above.set(ylabel="share that is so", ylim=(-0.02, 1.02), xlim=(-0.02, 1.02))
        centers = (np.minimum((mean * _BINS).astype(int), _BINS - 1) + 0.5) / _BINS
        below.bar(centers, counts, width=0.9 / _BINS, color=figures.COLORS["s1"], alpha=0.6)
        below.set(xlabel="probability that was said", ylabel="rows")

    note = f"Expected calibration error {error:.3f}: the mean distance to the diagonal, weighted by rows."
    return figures.figure("Calibration", draw, note=note, rows=(3, 1))
