"""What a training says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

from polytrainer.executors.errors import TrainingError
from polytrainer.proto.problems import Problem


@dataclass(frozen=True)
class TrainResult:
    """What a `run_fn` may return for MLMD to remember. Every field may be left out.

    Attributes:
        metrics: Final metrics by name, e.g. `{"accuracy": 0.97}`.
        steps: Optimizer steps taken.
        framework: What trained the model, e.g. "pytorch"; found from the user's imports where not given.
        framework_version: Its version; that of the installed package where not given.
        parity: Largest difference between what the trained model and what was written of it say of real examples,
            relative to the largest output, by format: `{"saved_model": 1.2e-7}`.
        best_step: The step whose weights became the model, where they were chosen by a metric.
        label_key: The feature of the test results that is the label, for the figures of `report.html`; a trainer class
            says it by itself.
        serving_rows: On how many real raw examples `serving_default` was seen to say what the trained model says; None
            where nobody looked.
    """

    metrics: Mapping[str, float] = field(default_factory=dict)
    steps: int | None = None
    framework: str | None = None
    framework_version: str | None = None
    parity: Mapping[str, float] = field(default_factory=dict)
    best_step: int | None = None
    label_key: str | None = None
    serving_rows: int | None = None

    @classmethod
    def of(cls, returned: Any) -> TrainResult:
        """Reads what a `run_fn` returned: nothing (TFX's contract), a dict of metrics, or a TrainResult.

        Anything else is not ours to judge: TFX ignores the return value, so a module that returns, say, its model is
        a module that works.

        Raises:
            TrainingError: If a TrainResult holds a metric that is not a number.
        """
        if isinstance(returned, TrainResult):
            wrong = {name: value for name, value in returned.metrics.items() if _number(value) is None}
            if wrong:
                raise TrainingError(
                    Problem("TrainResult.metrics", repr(wrong), "a number for each metric", "Use float(value).")
                )
            return returned
        if isinstance(returned, Mapping):
            numbers = {str(name): _number(value) for name, value in returned.items()}
            return cls(metrics={name: value for name, value in numbers.items() if value is not None})
        return cls()

    def completed(self, exported: TrainResult | None) -> TrainResult:
        """The same with what was measured of the written model, where this does not say it itself."""
        if exported is None:
            return self
        said = {name: value for name, value in vars(self).items() if value is not None}
        return TrainResult(**{**vars(exported), **said, "parity": {**exported.parity, **self.parity}})


def _number(value: Any) -> float | None:
    """A Python or NumPy number, or a tensor of one element, as a float."""
    if isinstance(value, bool):
        return None
    if isinstance(value, Real) or getattr(value, "shape", None) == ():
        try:
            return float(value)
        except (TypeError, ValueError):
            return None
    return None
