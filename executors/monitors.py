"""Which evaluation of a training is the best, and when training stops: one rule for all frameworks."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from absl import logging

from polytrainer.executors.errors import TrainingError
from polytrainer.proto import args
from polytrainer.proto.problems import Problem
from polytrainer.proto.trainer_pb2 import EarlyStopping, KeepCheckpoints, TrainArgs

VALIDATION = "val_"
DEFAULT_METRIC = "loss"
DEFAULT_PATIENCE = 3
_STOPPING, _KEEPING = "train_args.early_stopping.metric", "train_args.keep_checkpoints.metric"


class MonitoredState(Protocol):
    """What a training remembers of its evaluations; saved with each checkpoint.

    Attributes:
        step: Optimizer steps taken.
        best: Best value of the metric by which the model is selected; None before the first finite one.
        best_step: The step at which it was reached.
        stopping_best: Best value of the metric that early stopping monitors; None before the first finite one.
        waited: Evaluations since then.
        stopped: Whether the training has been stopped.
    """

    step: int
    best: float | None
    best_step: int
    stopping_best: float | None
    waited: int
    stopped: bool


@dataclass(frozen=True)
class Monitor:
    """A metric of an evaluation, and which of its values are better.

    Attributes:
        metric: Its name, without `val_`.
        mode: "min" if less is better, "max" if more is.
        min_delta: By how much a value must be better to count.
    """

    metric: str = DEFAULT_METRIC
    mode: str = "min"
    min_delta: float = 0.0

    def is_better(self, value: float, best: float | None) -> bool:
        """Whether a value beats the best one so far; NaN and infinity never do."""
        if not math.isfinite(value):
            return False
        if best is None:
            return True
        gain = best - value if self.mode == "min" else value - best
        return gain > self.min_delta

    def value(self, metrics: Mapping[str, float], where: str) -> float:
        """The metric's value in an evaluation.

        Raises:
            TrainingError: If the evaluation has no such metric.
        """
        if self.metric not in metrics:
            got = f"{self.metric!r}, which is none of the evaluation's metrics"
            raise TrainingError(Problem(where, got, f"one of {sorted(metrics)}"))
        return metrics[self.metric]


class ModelSelection:
    """What follows from an evaluation: which weights are the best, and whether the training stops.

    `early_stopping` and `keep_checkpoints` may monitor different metrics: the first stops by its own, the second
    selects the model by its own. With `early_stopping` alone its best weights become the model, too.

    Attributes:
        stopping: What early stopping monitors; None without it.
        patience: Evaluations without getting better after which training stops.
        selecting: By what the best weights are selected; None: the last become the model.
    """

    def __init__(self, stopping: Monitor | None, selecting: Monitor | None, patience: int = DEFAULT_PATIENCE):
        self.stopping, self.selecting, self.patience = stopping, selecting, patience
        self._warned: set[str] = set()

    @classmethod
    def from_args(cls, train_args: TrainArgs) -> ModelSelection:
        """As `early_stopping` and `keep_checkpoints` have it; the modes were checked by `args.check`."""
        stops, early_stopping = train_args.HasField("early_stopping"), train_args.early_stopping
        stopping = _monitor(early_stopping, early_stopping.min_delta) if stops else None
        keeping = train_args.keep_checkpoints
        selecting = stopping
        if keeping.metric and (stops or keeping.best):
            selecting = _monitor(keeping)
            if stopping and (selecting.metric, selecting.mode) == (stopping.metric, stopping.mode):
                selecting = stopping
        elif keeping.best and not stops:
            selecting = _monitor(keeping)
        return cls(stopping, selecting, early_stopping.patience or DEFAULT_PATIENCE)

    @property
    def plateau(self) -> Monitor:
        """What a schedule that steps on a metric follows: early stopping's metric, or the selection's, or the loss."""
        return self.stopping or self.selecting or Monitor()

    def problems(self, metrics: Collection[str] | None, *, evaluates: bool) -> list[Problem]:
        """What cannot be monitored; to be called before training.

        Args:
            metrics: Names of the metrics that an evaluation gives, without `val_`; None: not known yet.
            evaluates: Whether the training is evaluated at all.
        """
        monitors = {_STOPPING: self.stopping, _KEEPING: self.selecting if self.selecting is not self.stopping else None}
        problems = []
        for where, monitor in monitors.items():
            if monitor is None:
                continue
            if not evaluates:
                got = f"{monitor.metric!r}, in a training that is not evaluated"
                remedy = "Without one, leave early_stopping and keep_checkpoints out."
                problems.append(Problem(where, got, "a split to evaluate on", remedy))
            elif metrics is not None and monitor.metric not in metrics:
                problems.append(Problem(where, repr(monitor.metric), f"one of {sorted(metrics)}"))
        return problems

    def update(self, state: MonitoredState, metrics: Mapping[str, float]) -> float | None:
        """Takes an evaluation into account.

        Args:
            state: Of the training; changed.
            metrics: Of the evaluation, by name without `val_`.

        Returns:
            The value of the metric that selects the model; None where nothing does, or it is not finite.

        Raises:
            TrainingError: If a monitored metric is not among them.
        """
        value = None
        if self.selecting is not None:
            value = self._finite(self.selecting.value(metrics, _KEEPING if self.stopping is None else _STOPPING))
            if value is not None and self.selecting.is_better(value, state.best):
                state.best, state.best_step = value, state.step
        if self.stopping is not None:
            self._update_stopping(state, self.stopping.value(metrics, _STOPPING))
        self._warn(metrics)
        return value

    def _update_stopping(self, state: MonitoredState, value: float) -> None:
        assert self.stopping is not None
        if self.stopping.is_better(value, state.stopping_best):
            state.stopping_best, state.waited = value, 0
            return
        state.waited += 1
        if state.waited >= self.patience:
            state.stopped = True

    @staticmethod
    def _finite(value: float) -> float | None:
        return value if math.isfinite(value) else None

    def _warn(self, metrics: Mapping[str, float]) -> None:
        """Says once of each metric of an evaluation that it is not finite."""
        monitored = {monitor.metric for monitor in (self.stopping, self.selecting) if monitor is not None}
        for name, value in metrics.items():
            if math.isfinite(value) or name in self._warned:
                continue
            self._warned.add(name)
            follows = " It is never the best, and counts as no improvement." if name in monitored else ""
            logging.warning("The metric %r of an evaluation is %s.%s", name, value, follows)


def _monitor(watched: EarlyStopping | KeepCheckpoints, min_delta: float = 0.0) -> Monitor:
    metric = (watched.metric or DEFAULT_METRIC).removeprefix(VALIDATION)
    return Monitor(metric, args.best_mode(watched) or "min", min_delta)
