"""Figures and tables of a classification. The formulas are scikit-learn's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from polytrainer.executors.report import figures
from polytrainer.executors.report.against_rest import areas, by_count, common, rows_against_rest
from polytrainer.executors.report.calibration import calibration
from polytrainer.executors.report.class_tables import confusion, per_class
from polytrainer.executors.report.outcomes import Outcomes
from polytrainer.executors.report.page import Block, Facts, Figure, Figures, Legend

MOST_CURVES = len(figures.SERIES)
_MOST_POINTS = 300


def blocks(outcomes: Outcomes) -> list[Block]:
    """All there is to see of a classification."""
    found: list[Block] = [Facts(list(metrics(outcomes).items()), title="Metrics of these rows")]
    drawn = curves(outcomes)
    if outcomes.are_probabilities:
        drawn.append(calibration(outcomes))
    if outcomes.task != "multilabel":
        found.append(confusion(outcomes))
    found.append(Figures(drawn))
    if outcomes.task != "binary":
        found.append(per_class(outcomes))
    return found


def metrics(outcomes: Outcomes) -> dict[str, float]:
    """Metrics of the rows at hand; AUCs only where there is more than one class to tell apart."""
    import numpy as np
    from sklearn import metrics as sk

    labels, predicted = outcomes.labels, outcomes.predicted
    multilabel = outcomes.task == "multilabel"
    found = {"accuracy" if not multilabel else "exact matches": float(sk.accuracy_score(labels, predicted))}
    if outcomes.task == "multiclass":
        present = np.unique(labels)
        recall = sk.recall_score(labels, predicted, labels=present, average="macro", zero_division=0)
        found["balanced accuracy"] = float(recall)
    if outcomes.task == "binary":
        for name in ("precision", "recall", "f1"):
            found[name] = float(getattr(sk, f"{name}_score")(labels, predicted, zero_division=0))
    else:
        found["F1, mean of the classes"] = float(sk.f1_score(labels, predicted, average="macro", zero_division=0))
    if outcomes.are_probabilities:
        found["log loss"] = float(outcomes.losses.mean())
    known = [each for number in common(outcomes) if (each := areas(outcomes, number)) is not None]
    if known:
        of = "" if outcomes.task == "binary" else f", mean of {len(known)} classes"
        found[f"ROC AUC{of}"] = _mean([area for area, _ in known])
        found[f"average precision{of}"] = _mean([precision for _, precision in known])
    return found


def curves(outcomes: Outcomes) -> list[Figure]:
    """ROC and precision-recall curves: of the second of two classes, else of each against the rest."""
    from sklearn.metrics import precision_recall_curve, roc_curve

    known = {number: each for number in common(outcomes) if (each := areas(outcomes, number)) is not None}
    numbers = list(known)[:MOST_CURVES]
    if not numbers:
        return []
    rocs = [roc_curve(*rows_against_rest(outcomes, number))[:2] for number in numbers]
    recalls = [precision_recall_curve(*rows_against_rest(outcomes, number))[1::-1] for number in numbers]
    of = "" if outcomes.task == "binary" else ", each class against the rest"
    total = len(by_count(outcomes))
    note = f"The {len(numbers)} most common of {total} classes." if total > len(numbers) else ""

    def draw(found: Sequence[Any], x: str, y: str, diagonal: bool) -> Any:
        def onto(axes: Any) -> None:
            if diagonal:
                axes.plot([0, 1], [0, 1], color=figures.COLORS["muted"], linewidth=0.8, linestyle=":")
            for color, points in zip(figures.SERIES, found, strict=False):
                some = figures.thinned(len(points[0]), _MOST_POINTS)
                axes.plot(points[0][some], points[1][some], color=figures.COLORS[color])
            axes.set(xlabel=x, ylabel=y, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))

        return onto

    def legend(which: int) -> list[Legend]:
        told = zip(numbers, figures.SERIES, strict=False)
        return [Legend(f"{outcomes.name(number)} ({known[number][which]:.3f})", color) for number, color in told]

    draw_roc = draw(rocs, "false positive rate", "true positive rate", True)
    draw_recall = draw(recalls, "recall", "precision", False)
    return [
        figures.figure(f"ROC curve{of} (area)", draw_roc, legend(0), note),
        figures.figure(f"Precision and recall{of} (average precision)", draw_recall, legend(1), note),
    ]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
