"""Figures of a classification, all models in each; scikit-learn's formulas, as in the page of one model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

from polytrainer.executors.report import figures
from polytrainer.executors.report.against_rest import areas, common, rows_against_rest
from polytrainer.executors.report.calibration import calibration_error, reliability
from polytrainer.executors.report.outcomes import Outcomes
from polytrainer.executors.report.page import Block, Figure, Figures, Legend, Table

_MOST_POINTS, _MOST_PAIRS = 300, 15


def blocks(outcomes: Mapping[str, Outcomes], colors: Mapping[str, str]) -> list[Block]:
    """All there is to draw of classes."""
    drawn = {name: outcomes[name] for name in colors}
    found = [*_curves(drawn, colors), calibration(drawn, colors)]
    agreement = [] if next(iter(outcomes.values())).task == "multilabel" else agreements(outcomes)
    return [Figures(found), *agreement]


def _curves(outcomes: Mapping[str, Outcomes], colors: Mapping[str, str]) -> list[Figure]:
    """ROC and precision-recall curves: of the second of two classes, else the mean of each class against the rest."""
    from sklearn.metrics import precision_recall_curve, roc_curve

    first = next(iter(outcomes.values()))
    numbers = [number for number in common(first) if areas(first, number) is not None]
    if not numbers:
        return []
    of = "" if first.task == "binary" else f", mean of {len(numbers)} classes against the rest"

    def rates(true: Any, scores: Any) -> tuple[Any, Any]:
        false_positives, true_positives, _ = roc_curve(true, scores)
        return false_positives, true_positives

    def precisions(true: Any, scores: Any) -> tuple[Any, Any]:
        precision, recall, _ = precision_recall_curve(true, scores)
        return recall[::-1], precision[::-1]

    def legend(which: int) -> list[Legend]:
        means = {name: _mean([_areas(each, number)[which] for number in numbers]) for name, each in outcomes.items()}
        return [Legend(f"{name} ({means[name]:.3f})", color) for name, color in colors.items()]

    def figure(title: str, points: Callable[..., Any], labels: tuple[str, str], which: int) -> Figure:
        def draw(axes: Any) -> None:
            if which == 0:
                _diagonal(axes)
            for name, color in colors.items():
                x, y = _mean_curve(outcomes[name], numbers, points)
                axes.plot(x, y, color=figures.COLORS[color])
            axes.set(xlabel=labels[0], ylabel=labels[1], xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))

        return figures.figure(title, draw, legend(which))

    return [
        figure(f"ROC curve{of} (area)", rates, ("false positive rate", "true positive rate"), 0),
        figure(f"Precision and recall{of} (average precision)", precisions, ("recall", "precision"), 1),
    ]


def calibration(outcomes: Mapping[str, Outcomes], colors: Mapping[str, str]) -> Figure:
    """How often what is said with a probability is so."""
    found = {name: reliability(each) for name, each in outcomes.items()}

    def draw(axes: Any) -> None:
        _diagonal(axes)
        for name, color in colors.items():
            mean, share, _ = found[name]
            axes.plot(mean, share, color=figures.COLORS[color], marker="o", markersize=3)
        axes.set(xlabel="probability that was said", ylabel="share that is so", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))

    legend = [Legend(f"{name} ({calibration_error(*found[name]):.3f})", color) for name, color in colors.items()]
    note = "In parentheses the expected calibration error: the mean distance to the diagonal, weighted by rows."
    return figures.figure("Calibration", draw, legend, note)


def agreements(outcomes: Mapping[str, Outcomes]) -> list[Block]:
    """In how many rows two models are right, both or one of them alone."""
    rows = []
    for one, other in list(combinations(outcomes, 2))[:_MOST_PAIRS]:
        mine, others = outcomes[one].right, outcomes[other].right
        parts = (mine & others, mine & ~others, ~mine & others, ~mine & ~others)
        rows.append([f"{one}, {other}", *(int(part.sum()) for part in parts)])
    header = ["models", "both right", "only the first", "only the second", "neither"]
    return [Table(header, rows, "Where models are right")] if rows else []


def _diagonal(axes: Any) -> None:
    axes.plot([0, 1], [0, 1], color=figures.COLORS["muted"], linewidth=0.8, linestyle=":")


def _mean_curve(outcomes: Outcomes, numbers: Sequence[int], points: Callable[..., Any]) -> tuple[Any, Any]:
    """One curve as it is; of several the mean, at places along the way from 0 to 1."""
    import numpy as np

    curves = [points(*rows_against_rest(outcomes, number)) for number in numbers]
    if len(curves) == 1:
        some = figures.thinned(len(curves[0][0]), _MOST_POINTS)
        return curves[0][0][some], curves[0][1][some]
    grid = np.linspace(0, 1, _MOST_POINTS)
    return grid, np.mean([np.interp(grid, x, y) for x, y in curves], axis=0)


def _areas(outcomes: Outcomes, number: int) -> tuple[float, float]:
    return areas(outcomes, number) or (float("nan"), float("nan"))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
