"""Which sums a comparison needs of each row, and where they lie in one array."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from polytrainer.executors.comparison import formulas as f
from polytrainer.proto.comparator_args import BINARY, MULTICLASS, MULTILABEL, RANKING, REGRESSION

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BINS = 256
_WIDEST = 16.0  # scores are binned by their logit, from -16 to 16: what is outside is 1e-7 from 0 or 1
_LIKELY = 0.5
_NUMBERS = 1_000_000  # that a slice's sums may have: 8 MB
_GROUPS = range(100, 1001)


@dataclass(frozen=True)
class Layout:
    """Where the sums of models lie.

    Attributes:
        task: A key of `comparator_args.METRICS`.
        metrics: Names of the metrics to compute.
        outputs: How many numbers a prediction has, in its task's form.
        models: Names of the models.
    """

    task: str
    metrics: tuple[str, ...]
    outputs: int
    models: tuple[str, ...]

    @property
    def parts(self) -> dict[str, int]:
        """The sums of one model and how many numbers each has."""
        if self.task == RANKING:
            return dict.fromkeys((f.WEIGHT, f.QUERIES, *self.metrics), 1)
        if self.task == REGRESSION:
            parts = dict.fromkeys((f.WEIGHT, f.SQUARED, f.ABSOLUTE), 1)
            each = dict.fromkeys((f.OFF, f.LABEL, f.LABEL_SQUARED), self.outputs)
            return {**parts, **each} if "r2" in self.metrics else parts
        parts = {f.WEIGHT: 1, f.RIGHT: 1, f.LOSS: 1, **dict.fromkeys((f.HITS, f.PREDICTED, f.ACTUAL), self.outputs)}
        if self.task == MULTILABEL:
            parts[f.EXACT] = 1
        return {**parts, f.NEGATIVES: _BINS, f.POSITIVES: _BINS} if "auc" in self.metrics else parts

    @property
    def is_paired(self) -> bool:
        """Whether it is counted which of two models are right where the other is not."""
        return self.task in (BINARY, MULTICLASS)

    @property
    def width(self) -> int:
        """Numbers of all models together, and of pairs of them."""
        return len(self.models) * sum(self.parts.values()) + len(self.models) ** 2 * self.is_paired

    @property
    def groups(self) -> int:
        """How many groups rows are summed in: as many as memory allows for."""
        return min(max(_NUMBERS // self.width, _GROUPS.start), _GROUPS.stop - 1)

    def of_rows(self, labels: NDArray[Any], predictions: NDArray[Any], weights: NDArray[Any]) -> NDArray[Any]:
        """What each row adds to the sums.

        Args:
            labels: `[rows, outputs]`.
            predictions: `[models, rows, outputs]`.
            weights: `[rows]`.

        Returns:
            `[rows, width]` of float64.
        """
        import numpy as np

        blocks = [self._of_model(labels, each, weights) for each in predictions]
        columns = [block[part] for block in blocks for part in self.parts]
        if self.is_paired:
            right = np.stack([block[f.RIGHT][:, 0] > 0 for block in blocks], axis=1)
            alone = right[:, :, None] & ~right[:, None, :]
            columns.append(alone.reshape(len(labels), len(blocks) ** 2).astype(np.float64))
        return np.concatenate(columns, axis=1)

    def count(self, labels: NDArray[Any]) -> int:
        """How many rows of test results these are: a query's label is how many it has."""
        return int(labels[:, 0].sum()) if self.task == RANKING else len(labels)

    def of_model(self, sums: NDArray[Any], model: str) -> Mapping[str, NDArray[Any]]:
        """One model's part of sums `[…, width]`, by the names in `formulas`."""
        start = self.models.index(model) * sum(self.parts.values())
        result = {}
        for part, width in self.parts.items():
            result[part] = sums[..., start : start + width] if _is_listed(part) else sums[..., start]
            start += width
        return result

    def right_alone(self, sums: NDArray[Any], model: str, other: str) -> float:
        """In how many rows a model is right and another is not."""
        pairs = sums[..., -(len(self.models) ** 2) :]
        return float(pairs[..., self.models.index(model) * len(self.models) + self.models.index(other)])

    def _of_model(self, labels: NDArray[Any], told: NDArray[Any], weights: NDArray[Any]) -> dict[str, NDArray[Any]]:
        import numpy as np

        weight = weights[:, None]
        if self.task == RANKING:
            values = {name: weight * told[:, [column]] for column, name in enumerate(self.metrics)}
            return {f.WEIGHT: weight, f.QUERIES: weight > 0, **values}
        if self.task == REGRESSION:
            off = told - labels
            squared, absolute = (off**2).mean(axis=1, keepdims=True), np.abs(off).mean(axis=1, keepdims=True)
            return {
                f.WEIGHT: weight,
                f.SQUARED: weight * squared,
                f.ABSOLUTE: weight * absolute,
                f.OFF: weight * off**2,
                f.LABEL: weight * labels,
                f.LABEL_SQUARED: weight * labels**2,
            }
        if self.task == MULTICLASS:
            classes = np.zeros_like(told)
            classes[np.arange(len(told)), told.argmax(axis=1)] = 1
            right = (classes * labels).sum(axis=1, keepdims=True)
            loss = -np.log((told * labels).sum(axis=1, keepdims=True) / told.sum(axis=1, keepdims=True))
        else:
            classes = (told > _LIKELY).astype(np.float64)
            right = (classes == labels).mean(axis=1, keepdims=True)
            loss = -np.log(np.where(labels > 0, told, 1 - told)).mean(axis=1, keepdims=True)
        found = {
            f.WEIGHT: weight,
            f.RIGHT: weight * right,
            f.LOSS: weight * loss,
            f.HITS: weight * classes * labels,
            f.PREDICTED: weight * classes,
            f.ACTUAL: weight * labels,
        }
        if f.EXACT in self.parts:
            found[f.EXACT] = weight * (right == 1)
        if f.POSITIVES in self.parts:
            binned = np.eye(_BINS)[_bin(told[:, 0])] * weight
            found |= {f.NEGATIVES: binned * (1 - labels), f.POSITIVES: binned * labels}
        return found


def _bin(scores: NDArray[Any]) -> NDArray[Any]:
    """Number of the bin of each score; bins are even in the logit, so that rare classes have theirs, too."""
    import numpy as np

    logits = np.log(scores) - np.log1p(-scores)
    bins: NDArray[Any] = np.clip((logits + _WIDEST) / (2 * _WIDEST) * _BINS, 0, _BINS - 1).astype(np.int64)
    return bins


def _is_listed(part: str) -> bool:
    of_outputs = (f.OFF, f.LABEL, f.LABEL_SQUARED)
    return part in (f.HITS, f.PREDICTED, f.ACTUAL, f.NEGATIVES, f.POSITIVES, *of_outputs)
