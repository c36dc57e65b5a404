"""Each class against the rest: what a class of several is to figures of two."""

from __future__ import annotations

from typing import Any

from polytrainer.executors.report.outcomes import Outcomes

MOST_CLASSES = 30


def rows_against_rest(outcomes: Outcomes, number: int) -> tuple[Any, Any]:
    """Whether a row is of a class, and how sure the model is that it is."""
    if outcomes.task == "binary":
        return outcomes.labels, outcomes.scores
    if outcomes.task == "multilabel":
        return outcomes.labels[:, number], outcomes.scores[:, number]
    return (outcomes.labels == number).astype(int), outcomes.scores[:, number]


def areas(outcomes: Outcomes, number: int) -> tuple[float, float] | None:
    """Area under the ROC curve, and average precision; None where all rows are of the class, or none is."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    if outcomes.task != "binary" and not 0 <= number < outcomes.scores.shape[1]:
        return None
    true, scores = rows_against_rest(outcomes, number)
    if true.min() == true.max():
        return None
    return float(roc_auc_score(true, scores)), float(average_precision_score(true, scores))


def common(outcomes: Outcomes) -> list[int]:
    """The first of `by_count`, as many as a table has."""
    return by_count(outcomes)[:MOST_CLASSES]


def by_count(outcomes: Outcomes) -> list[int]:
    """Classes that rows are of, the most common first; of two the second."""
    import numpy as np

    if outcomes.task == "binary":
        return [1]
    if outcomes.task == "multilabel":
        counts = outcomes.labels.sum(axis=0)
        numbers = np.flatnonzero(counts)
        counts = counts[numbers]
    else:
        numbers, counts = np.unique(outcomes.labels, return_counts=True)
    return [int(number) for number in numbers[np.argsort(-counts, kind="stable")]]
