"""Classes: what each model took them for, and how well it found them; of all rows, from the confusion matrices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from polytrainer.executors.comparison.page.found import Found
from polytrainer.executors.report.cells import Noted
from polytrainer.executors.report.class_tables import MATRIX_CORNER, MATRIX_NOTE, MOST_IN_MATRIX, OTHERS, heated, whole
from polytrainer.executors.report.page import Beside, Block, Table, shown
from polytrainer.proto.comparator_args import BINARY, MULTICLASS, MULTILABEL

Counts: TypeAlias = tuple[Any, Any, Any]  # of each class: rows that were found, predicted, and that there are
_MOST_MODELS, _MOST_CLASSES = 8, 30
_TINY = 1e-30


def classes(found: Found) -> list[Block]:
    """Confusion matrices beside each other, and how well each class was found; nothing where there are no classes."""
    import numpy as np

    matrices = {name: np.asarray(found.matrix(name)) for name in found.models if found.matrix(name) is not None}
    task = found.document["task"]
    if not matrices or task not in (BINARY, MULTICLASS, MULTILABEL):
        return []
    if task == MULTILABEL:
        return [_per_class(found, {name: _of_labels(each) for name, each in matrices.items()})]
    some = dict(list(matrices.items())[:_MOST_MODELS])
    note = MATRIX_NOTE
    total = next(iter(some.values())).sum(axis=1) + sum(each.sum(axis=0) for each in some.values())
    kept = np.arange(len(total))
    if len(total) > MOST_IN_MATRIX:
        kept = np.sort(np.argsort(-total, kind="stable")[: MOST_IN_MATRIX - 1])
        note += f" The {len(kept)} most common of {len(total)} classes are by themselves."
    tables = [_matrix(found, name, each, kept) for name, each in some.items()]
    blocks: list[Block] = [Beside(tables, "Confusion matrices", note)]
    if task == BINARY:
        return blocks
    return [*blocks, _per_class(found, {name: _of_classes(each) for name, each in matrices.items()})]


def _matrix(found: Found, name: str, matrix: Any, kept: Any) -> Table:
    """One model's matrix: the kept classes, and all others as one."""
    import numpy as np

    names = [found.class_name(number) for number in kept]
    into = np.zeros((len(matrix), len(kept) + 1))  # which class goes where
    into[:, -1] = 1
    into[kept] = np.eye(len(kept) + 1)[: len(kept)]
    small = into.T @ matrix @ into
    cut = len(kept) < len(matrix)
    small = small if cut else small[:-1, :-1]
    names += [OTHERS] * cut
    return Table([MATRIX_CORNER, *names], heated(small, names, len(kept)), name)


def _of_classes(matrix: Any) -> Counts:
    return matrix.diagonal(), matrix.sum(axis=0), matrix.sum(axis=1)


def _of_labels(matrices: Any) -> Counts:
    """Of a matrix for each label, of what it is not and of what it is."""
    return matrices[:, 1, 1], matrices[:, :, 1].sum(axis=1), matrices[:, 1].sum(axis=1)


def _per_class(found: Found, counts: Mapping[str, Counts]) -> Table:
    """F1 of each class by model, those first that the best finds worst."""
    import numpy as np

    def f1(name: str) -> Any:
        hits, predicted, actual = counts[name]
        return 2 * hits / np.maximum(predicted + actual, _TINY)

    scores = {name: f1(name) for name in counts}
    actual = counts[found.best][2]
    places = [int(place) for place in scores[found.best].argsort(kind="stable") if actual[place]]
    rows: list[list[Any]] = []
    for place in places[:_MOST_CLASSES]:
        most = max(each[place] for each in scores.values())
        cells = [
            Noted(float(scores[name][place]), _share_of(told, place), best=scores[name][place] == most)
            for name, told in counts.items()
        ]
        rows.append([found.class_name(place), whole(actual[place]), *cells])
    cut = len(places) > _MOST_CLASSES
    note = f"The {_MOST_CLASSES} with the least F1 of {found.best}, of {len(places)} classes." if cut else ""
    return Table(["class", "rows", *scores], rows, f"F1 of each class, the least of {found.best} first", note)


def _share_of(told: Counts, place: int) -> str:
    hits, predicted, actual = (float(each[place]) for each in told)
    precision = shown(hits / predicted) if predicted else "not defined"
    return f"precision {precision}, recall {shown(hits / actual)}"
