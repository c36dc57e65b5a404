"""How a model's outputs are read: as probabilities and classes, or as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from polytrainer.executors.test_results import keys

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAIN = ("logits", "outputs")  # the entries of outputs with several that a loss is about
_LIKELY = 0.5


@dataclass(frozen=True)
class Reading:
    """How a model's outputs are read.

    Attributes:
        task: "multiclass": a score for each class; "multilabel": one for each of several labels, or, where there is
            one only, for the second of two classes; None: numbers, or nobody knows.
        activation: What makes probabilities of the scores. None: they are written as they are.
        axis: Of the classes, in outputs of more than two dimensions.
        class_names: Where they are known; passed over where they are not as many as the classes.
    """

    task: Literal["multiclass", "multilabel"] | None = None
    activation: Literal["softmax", "sigmoid", "exp"] | None = None
    axis: int = 1
    class_names: Sequence[bytes] | None = None

    def of(self, outputs: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        """Features of test results, each with a row for each example.

        Args:
            outputs: By name, `[batch, …]`: floats or integers of any width.
        """
        import numpy as np

        names = [name for name in MAIN if name in outputs] or (list(outputs) if len(outputs) == 1 else [])
        if not names:
            return {keys.prediction_of(name): value for name, value in outputs.items()}
        scores = np.asarray(outputs[names[0]])
        if self.task is None or scores.dtype.kind != "f":
            return {keys.PREDICTION: scores}
        likely = self._activated(scores.reshape(len(scores), -1) if scores.ndim == 1 else scores)
        classes = self._classes(likely)
        found = {keys.PREDICTION: likely.astype(np.float32), keys.PREDICTED_CLASS: classes}
        several = likely.shape[self.axis] if self.task == "multiclass" else likely[:1].size
        if classes is None:
            del found[keys.PREDICTED_CLASS]
        elif self.class_names is not None and len(self.class_names) == max(several, 2):
            words = list(self.class_names)
            found[keys.PREDICTED_CLASS_NAME] = [[words[each] for each in np.ravel(row)] for row in classes]
        return found

    def _activated(self, scores: NDArray[Any]) -> NDArray[Any]:
        """In float64, as the metrics have it: in less, scores above 17 become the same 1.0."""
        import numpy as np

        scores = scores.astype(np.float64)
        if self.activation == "exp":
            scores = np.exp(scores)
        elif self.activation == "sigmoid":
            scores = np.exp(-np.logaddexp(0, -scores))  # which neither overflows nor becomes 0 early
        elif self.activation == "softmax":
            scores = np.exp(scores - scores.max(axis=self.axis, keepdims=True))
            scores /= scores.sum(axis=self.axis, keepdims=True)
        return scores

    def _classes(self, likely: NDArray[Any]) -> Any:
        """The number of the class; of several labels, the numbers of those that are likely."""
        import numpy as np

        if self.task == "multiclass":
            return likely.argmax(axis=self.axis).astype(np.int64)
        flat = likely.reshape(len(likely), -1) > _LIKELY
        if flat.shape[1] == 1:
            return flat.astype(np.int64)
        return [np.flatnonzero(row).astype(np.int64) for row in flat]
