"""Tables of classes: what they were taken for, and how well they were found. The formulas are scikit-learn's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from polytrainer.executors.report.against_rest import MOST_CLASSES, areas
from polytrainer.executors.report.cells import Heat
from polytrainer.executors.report.outcomes import Outcomes
from polytrainer.executors.report.page import Table

MOST_IN_MATRIX = 12
MATRIX_CORNER = "true ↓ predicted →"
MATRIX_NOTE = (
    "A row for each true class, a column for each predicted one; colours are shares of the row, right ones blue."
)
OTHERS = "others"


def confusion(outcomes: Outcomes) -> Table:
    """Rows of each class by what they were taken for; of many classes the most common, the others as one."""
    import numpy as np
    from sklearn.metrics import confusion_matrix

    numbers, counts = np.unique(np.concatenate([outcomes.labels, outcomes.predicted]), return_counts=True)
    cut = len(numbers) > MOST_IN_MATRIX
    shown = np.sort(numbers[np.argsort(-counts, kind="stable")[: MOST_IN_MATRIX - 1]]) if cut else numbers
    last = len(shown)  # the place of the others
    places = [
        np.where(np.isin(v, shown), np.searchsorted(shown, v), last) for v in (outcomes.labels, outcomes.predicted)
    ]
    matrix = confusion_matrix(*places, labels=range(last + cut))
    names = [outcomes.name(number) for number in shown] + [OTHERS] * cut
    note = MATRIX_NOTE
    if cut:
        note += f" The {last} most common of {len(numbers)} classes are by themselves."
    return Table([MATRIX_CORNER, *names], heated(matrix, names, last), "Confusion matrix", note)


def heated(matrix: Any, names: Sequence[str], last: int) -> list[list[Any]]:
    """A confusion matrix as rows of a table.

    Args:
        matrix: `[classes, classes]`, a row for each true class.
        names: Of the classes.
        last: How many of them are classes by themselves; others, if there are any, are neither right nor wrong.
    """
    import numpy as np

    matrix = np.asarray(matrix)
    sums = matrix.sum(axis=1, keepdims=True)
    shares = matrix / np.where(sums > 0, sums, 1)
    return [
        [name, *(Heat(whole(count), float(share), right=row == column < last)
                 for column, (count, share) in enumerate(zip(matrix[row], shares[row], strict=True)))]
        for row, name in enumerate(names)
    ]  # fmt: skip


def per_class(outcomes: Outcomes) -> Table:
    """Precision, recall and areas of each class, the worst first."""
    found = [row for row in _class_rows(outcomes) if row[1] or row[5]]
    found.sort(key=lambda row: (row[4], -row[1]))
    rows = []
    for number, count, precision, recall, f1, _ in found[:MOST_CLASSES]:
        both = areas(outcomes, number) or (None, None)
        rows.append([outcomes.name(number), count, precision, recall, f1, *both])
    header = ["class", "rows", "precision", "recall", "F1", "ROC AUC", "average precision"]
    note = f"The {MOST_CLASSES} with the least F1 of {len(found)} classes." if len(found) > MOST_CLASSES else ""
    return Table(header, rows, "Classes, the least F1 first", note)


def whole(count: float) -> int | float:
    """Rows are whole; what they weigh need not be."""
    return int(count) if count == int(count) else float(count)


def _class_rows(outcomes: Outcomes) -> list[Any]:
    """Of each class: number, rows, precision, recall, F1, rows that were taken for it."""
    import numpy as np
    from sklearn.metrics import precision_recall_fscore_support

    labels, predicted = outcomes.labels, outcomes.predicted
    if outcomes.task == "multilabel":
        numbers, taken = np.arange(labels.shape[1]), predicted.sum(axis=0)
    else:
        numbers = np.union1d(labels, predicted)
        taken = np.array(np.histogram(predicted, [*numbers, numbers[-1] + 1])[0])
    found = precision_recall_fscore_support(labels, predicted, labels=numbers, zero_division=0)
    precision, recall, f1, count = found
    rows = zip(numbers, count, precision, recall, f1, taken, strict=True)
    return [[int(n), int(c), float(p), float(r), float(f), int(t)] for n, c, p, r, f, t in rows]
