"""A trained model on its way to another format, whatever framework it is of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Arrays = Mapping[str, npt.NDArray[np.generic]]

SIGNATURE = "model"


@dataclass(frozen=True)
class Source:
    """A trained model from features, as it sees them, to outputs, both by name.

    Attributes:
        write_saved_model: Writes it into a folder as a SavedModel with one signature, `SIGNATURE`: a dense tensor for
            each feature by its name, `[batch, …]` → a tensor for each output by its name.
        features: Some of the eval splits' examples as it takes them, in one batch.
        predict: What it says of some of them: arrays by name of output. Called with batches cut from `features`.
        calibration: More of them, for finding ranges of values; may be the same.
        write_onnx: Writes it as an ONNX file of an operator set by the framework's own means; None if it has none.
    """

    write_saved_model: Callable[[str], None]
    features: Arrays
    predict: Callable[[Arrays], Arrays]
    calibration: Arrays
    write_onnx: Callable[[str, int], None] | None = None

    def batches(self, sizes: Sequence[int] = (1, 16)) -> list[Arrays]:
        """Batches of these sizes, or as many examples as there are."""
        return [{name: array[:size] for name, array in self.features.items()} for size in sizes]
