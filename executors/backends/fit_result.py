"""What `fit` returns, and where a later training or a prediction finds the model that it wrote."""

from __future__ import annotations

import os
import shutil
import weakref
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polytrainer.executors.result import TrainResult
from polytrainer.proto.problems import Problem

if TYPE_CHECKING:
    from polytrainer.executors.backends.served_model import ServedModel

MODEL, SERVING = "model", "Format-Serving"


@dataclass(frozen=True)
class FitResult(TrainResult):
    """A trained model that `fit` wrote, and what its training says of itself.

    Attributes:
        output_dir: The folder that all is in; without an `output_dir` of `fit` a temporary one, which has the model
            alone and is removed together with this object.
        schema_path: Of the schema that the examples were read by; None without one.
    """

    output_dir: str = ""
    schema_path: str | None = None

    @classmethod
    def from_training(
        cls, result: TrainResult, root: Path, schema_path: str | None, *, is_temporary: bool
    ) -> FitResult:
        """What a training returned, and the folder of its outputs, which ends with the result if it is temporary."""
        known = {each.name: getattr(result, each.name) for each in fields(TrainResult)}
        made = cls(**known, output_dir=str(root), schema_path=schema_path)
        if is_temporary:
            weakref.finalize(made, shutil.rmtree, str(root), ignore_errors=True)
        return made

    @property
    def model_dir(self) -> str:
        """The model as it is served: `Format-Serving`."""
        return os.path.join(self.output_dir, MODEL, SERVING)

    def predict(self, data: Any) -> dict[str, Any]:
        """What the published model says of examples: what it will say when it is served.

        Args:
            data: Paths or patterns of files with raw tf.Examples, a pandas DataFrame, or a dict of numpy arrays by
                feature. The label is not needed.

        Returns:
            The outputs by name as numpy arrays, a row for each example, in their order.
        """
        return self.served_model.predict(data)

    @cached_property
    def served_model(self) -> ServedModel:
        """The published model, loaded."""
        from polytrainer.executors.backends.served_model import ServedModel

        return ServedModel(self.model_dir, self.schema_path)


def base_model_path(given: Any) -> tuple[str | None, list[Problem]]:
    """The `Format-Serving` of a base model.

    Args:
        given: What `fit` returned, its `output_dir`, the folder of a model, or the model's `Format-Serving`.

    Returns:
        The path, None without a base model; and what is wrong with it.
    """
    if given is None:
        return None, []
    root = given.output_dir if isinstance(given, FitResult) else given
    if not isinstance(root, (str, os.PathLike)):
        expected = "what fit returned, its output_dir, or the path of a model"
        return None, [Problem("base_model", f"a {type(root).__name__}", expected)]
    path = serving_path(str(root))
    if path is None:
        expected = f"the output_dir of a fit that succeeded, or a model with {SERVING} in it"
        return None, [Problem("base_model", f"{str(root)!r}, in which there is no model", expected)]
    return path, []


def serving_path(root: str) -> str | None:
    """The `Format-Serving` in an output folder or a model's folder, or the folder itself; None if there is none."""
    from tensorflow.io import gfile

    root = root.rstrip("/")
    if os.path.basename(root) == SERVING:
        return root
    candidates = [os.path.join(root, MODEL, SERVING), os.path.join(root, SERVING)]
    return next((path for path in candidates if gfile.exists(path)), None)
