"""What runs have in common, and what not: numbers, and what they were told."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from polytrainer.executors import properties
from polytrainer.proto import args, keys
from polytrainer.proto.trainer_pb2 import KeepCheckpoints

if TYPE_CHECKING:
    from polytrainer.executors.provenance import Provenance
    from polytrainer.pipelines.metadata import Run

_CODE = 12  # characters of a hash that tell it apart


@dataclass(frozen=True)
class Row:
    """What runs say of one thing.

    Attributes:
        name: Of a metric, or "train_seconds" or the like.
        values: Of each run; None where it says nothing.
        best: Places of the best values; none where only the author knows which they are, or where all are equal.
    """

    name: str
    values: Sequence[float | None]
    best: Sequence[int] = ()

    @property
    def differences(self) -> list[float | None]:
        """To the first run's value; None where one of the two is missing or not finite."""
        first = self.values[0]
        return [None if value is None or first is None else _finite(value - first) for value in self.values]


def metrics(runs: Sequence[Run]) -> list[Row]:
    """Their metrics; those of further splits, `<split>.<metric>`, last."""
    names = sorted({name for run in runs for name in run.metrics}, key=lambda name: ("." in name, name))
    rows = {name: [run.metrics.get(name) for run in runs] for name in names}
    return [Row(name, values, _best(name, values)) for name, values in rows.items()]


def costs(runs: Sequence[Run]) -> list[Row]:
    """What training took, and how far what was written is from what was trained."""
    formats = sorted({name for run in runs for name in run.parity})
    phases = dict.fromkeys(phase for run in runs for phase in run.provenance.seconds)
    return [
        *(Row(name, [getattr(run, name) for run in runs]) for name in ("train_seconds", "train_steps", "best_step")),
        *(Row(properties.SECONDS + phase, [run.provenance.seconds.get(phase) for run in runs]) for phase in phases),
        *(Row(properties.PARITY + name, [run.parity.get(name) for run in runs]) for name in formats),
        Row(properties.SERVING_ROWS, [run.serving_rows for run in runs]),
    ]


def arguments_that_differ(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """What runs were told differently, or ran on: by dotted name, e.g. `train_args.batch_size`, a value for each run.

    None stands for what a run was not told.
    """
    told = [_told(run, with_path=not all(each.user_code for each in runs)) for run in runs]
    names = list(dict.fromkeys(name for each in told for name in each))
    values = {name: [each.get(name) for each in told] for name in names}
    return {name: each for name, each in values.items() if any(value != each[0] for value in each)}


def _told(run: Run, *, with_path: bool) -> dict[str, Any]:
    facts = {
        "trainer": run.trainer,
        "framework": run.framework,
        "framework_version": run.framework_version,
        "polytrainer_version": run.polytrainer_version,
        "user_code": run.user_code and run.user_code[:_CODE],
    }
    # the path holds a hash of the code, which is told already
    given = {name: value for name, value in run.arguments.items() if with_path or name != keys.MODULE_PATH}
    return {**facts, **_flat(given), **trained_with(run.provenance)}


def trained_with(provenance: Provenance) -> dict[str, str]:
    """Base model, tuned values and constructor arguments, by the names of their properties."""
    return {
        **({properties.BASE_MODEL: provenance.base_model} if provenance.base_model else {}),
        **{properties.HYPERPARAMETER + name: value for name, value in provenance.hyperparameters.items()},
        **{properties.ARGUMENT + name: value for name, value in provenance.arguments.items()},
    }


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, each in value.items():
        flat.update(_flat(each, f"{prefix}{name}.") if isinstance(each, Mapping) else {prefix + name: each})
    return flat


def _best(metric: str, values: Sequence[float | None]) -> list[int]:
    known = {place: value for place, value in enumerate(values) if value is not None and math.isfinite(value)}
    # as early stopping takes it
    mode = args.best_mode(KeepCheckpoints(metric=metric))
    if mode is None or len(set(known.values())) <= 1:
        return []
    best = min(known.values()) if mode == "min" else max(known.values())
    return [place for place, value in known.items() if value == best]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
