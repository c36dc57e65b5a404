"""Test results as arrays: what was true and what the model said, in the form that a task's figures need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from polytrainer.executors.test_results import keys

if TYPE_CHECKING:
    from numpy.typing import NDArray

Task = Literal["binary", "multiclass", "multilabel", "regression"]
_LONGEST_NAME = 40
_LIKELY = 0.5
_SMALLEST = 1e-15  # a probability of 0 costs -log of this, as float64 can tell it from 1


class NoFiguresError(ValueError):
    """Says why there are no figures for some rows."""


@dataclass(frozen=True)
class Outcomes:
    """What was true of some rows, and what a model said of them.

    Attributes:
        task: What it was asked.
        places: Of these rows among those that were looked at; the others have no finite prediction, or no label.
        labels: `[rows]`, classes or values; `[rows, labels]` of 0 and 1 for "multilabel".
        scores: `[rows]` of the second of two classes, or values; `[rows, classes]` otherwise.
        predicted: As `labels`: classes, or values.
        losses: `[rows]`: -log of the probability of what was true, or the squared error.
        names: Of classes, as far as they are known.
    """

    task: Task
    places: NDArray[Any]
    labels: NDArray[Any]
    scores: NDArray[Any]
    predicted: NDArray[Any]
    losses: NDArray[Any]
    names: dict[int, str] = field(default_factory=dict)

    def name(self, number: int) -> str:
        """A class as people know it."""
        name = self.names.get(int(number), str(int(number)))
        return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"

    @property
    def right(self) -> NDArray[Any]:
        """`[rows]`: whether all of what was said is true."""
        import numpy as np

        equal: NDArray[Any] = self.labels == self.predicted
        return np.asarray(equal.all(axis=1) if equal.ndim > 1 else equal)

    @property
    def are_probabilities(self) -> bool:
        """Whether the scores may be."""
        return bool(((self.scores >= 0) & (self.scores <= 1 + 1e-6)).all())


def parsed(row: bytes) -> dict[str, list[Any]]:
    """The values of a row by name."""
    import tensorflow as tf

    features = tf.train.Example.FromString(row).features.feature
    return {
        name: list(getattr(feature, kind).value) if (kind := feature.WhichOneof("kind")) else []
        for name, feature in features.items()
    }


def read(rows: Sequence[bytes], label_key: str | None) -> Outcomes:
    """Makes arrays of test results.

    Raises:
        NoFiguresError: If there are no figures for what these rows hold.
    """
    import numpy as np

    if not rows:
        raise NoFiguresError("There is no row.")
    if label_key is None:
        raise NoFiguresError("Nothing says which feature is the label.")
    wanted = (label_key, keys.PREDICTION, keys.PREDICTED_CLASS, keys.PREDICTED_CLASS_NAME)
    found = [[_compact(values.get(name, [])) for name in wanted] for values in map(parsed, rows)]
    width, label_width = _width(found, 1, keys.PREDICTION), _width(found, 0, label_key)
    places = np.array([place for place, each in enumerate(found) if len(each[0]) and len(each[1])], np.int64)
    scores = np.array([found[place][1] for place in places], np.float64).reshape(-1, width)
    labels = np.array([found[place][0] for place in places], np.float64).reshape(-1, label_width)
    finite = np.isfinite(scores).all(axis=1) & np.isfinite(labels).all(axis=1)
    if not finite.any():
        raise NoFiguresError("No row has a finite prediction and a finite label.")
    places, labels, scores = places[finite], labels[finite], scores[finite]
    if not any(len(each[2]) for each in found):
        return _regression(places, labels, scores)
    kept = [found[place] for place in places]
    return _classified(places, labels, scores, [each[2] for each in kept], _names(kept))


def of_arrays(task: Task, labels: NDArray[Any], scores: NDArray[Any], names: dict[int, str]) -> Outcomes:
    """Outcomes of rows that are arrays already; the likeliest class, or what is likelier than not, is predicted.

    Args:
        task: What was asked.
        labels: As in `Outcomes`.
        scores: As in `Outcomes`, all finite.
        names: Of classes.
    """
    import numpy as np

    places = np.arange(len(labels))
    if task == "regression":
        return _regression(places, labels, scores)
    if task == "binary":
        return _binary(places, labels, scores, list((scores > _LIKELY).astype(np.int64)[:, None]), names)
    if task == "multiclass":
        return _multiclass(places, labels, scores, list(scores.argmax(axis=1)[:, None]), names)
    return _multilabel(places, labels, scores, [np.flatnonzero(row > _LIKELY) for row in scores], names)


def _width(found: Sequence[Sequence[Any]], column: int, name: str) -> int:
    """How many numbers each row has of something; some may have none."""
    given = [each[column] for each in found if len(each[column])]
    if not given:
        raise NoFiguresError(f"No row has a feature {name!r}.")
    if isinstance(given[0][0], bytes):
        raise NoFiguresError(f"The feature {name!r} is text, as it was read; what a model says is numbers.")
    widths = sorted({len(each) for each in given})
    if len(widths) > 1:
        raise NoFiguresError(
            f"The feature {name!r} has from {widths[0]} to {widths[-1]} numbers; figures need as many each."
        )
    return widths[0]


def _classified(places: Any, labels: Any, scores: Any, said: list[Any], names: dict[int, str]) -> Outcomes:
    import numpy as np

    width, label_width = scores.shape[1], labels.shape[1]
    one_each = all(len(each) == 1 for each in said)
    if width == label_width == 1:
        return _binary(places, labels[:, 0], scores[:, 0], said, names)
    if label_width == 1 and one_each:
        return _one_of(places, labels[:, 0].astype(np.int64), scores, said, names)
    if label_width == width and np.isin(labels, (0, 1)).all():
        is_one_hot = bool((labels.sum(axis=1) == 1).all()) and np.allclose(scores.sum(axis=1), 1, atol=1e-3)
        if is_one_hot and one_each:
            return _one_of(places, labels.argmax(axis=1), scores, said, names)
        return _multilabel(places, labels, scores, said, names)
    raise NoFiguresError(
        f"Predictions of {width} numbers for labels of {label_width}: there are no figures for such classes."
    )


def _binary(places: Any, labels: Any, scores: Any, said: list[Any], names: dict[int, str]) -> Outcomes:
    import numpy as np

    labels = (labels > _LIKELY).astype(np.int64)
    likely = np.where(labels == 1, scores, 1 - scores)
    predicted = np.array([each[0] if len(each) else -1 for each in said])
    return Outcomes("binary", places, labels, scores, predicted, _cost(likely), names)


def _one_of(places: Any, labels: Any, scores: Any, said: list[Any], names: dict[int, str]) -> Outcomes:
    """One of several classes, each with a score: of two the second's says all."""
    if scores.shape[1] == 2 and set(labels) <= {0, 1}:  # noqa: PLR2004
        return _binary(places, labels, scores[:, 1], said, names)
    return _multiclass(places, labels, scores, said, names)


def _multiclass(places: Any, labels: Any, scores: Any, said: list[Any], names: dict[int, str]) -> Outcomes:
    import numpy as np

    known = (labels >= 0) & (labels < scores.shape[1])
    likely = np.where(known, scores[np.arange(len(labels)), np.where(known, labels, 0)], 0.0)
    predicted = np.array([each[0] for each in said])
    return Outcomes("multiclass", places, labels, scores, predicted, _cost(likely), names)


def _multilabel(places: Any, labels: Any, scores: Any, said: list[Any], names: dict[int, str]) -> Outcomes:
    import numpy as np

    predicted = np.zeros(labels.shape, np.int64)
    for row, numbers in enumerate(said):
        predicted[row, numbers] = 1
    labels = labels.astype(np.int64)
    losses = _cost(np.where(labels == 1, scores, 1 - scores)).mean(axis=1)
    return Outcomes("multilabel", places, labels, scores, predicted, losses, names)


def _regression(places: Any, labels: Any, scores: Any) -> Outcomes:
    if labels.shape != scores.shape:
        got = f"Predictions of {scores.shape[1]} numbers for labels of {labels.shape[1]}"
        raise NoFiguresError(f"{got}: neither classes nor values.")
    losses = ((labels - scores) ** 2).mean(axis=1)
    return Outcomes("regression", places, labels, scores, scores, losses)


def _cost(likely: Any) -> Any:
    import numpy as np

    return -np.log(np.clip(likely, _SMALLEST, 1))


def _compact(values: list[Any]) -> Any:
    """Numbers as an array: a list of them is eight times as large."""
    import numpy as np

    return values if not values or isinstance(values[0], bytes) else np.array(values)


def _names(found: list[Any]) -> dict[int, str]:
    """Names of the classes that were predicted at least once."""
    return {
        int(number): word.decode("utf-8", "backslashreplace")
        for _, _, numbers, words in found
        for number, word in zip(numbers, words, strict=False)
    }
