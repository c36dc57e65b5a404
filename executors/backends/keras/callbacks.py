"""What a training does besides training: progress, records, checkpoints, and stopping when it should.

Each keeps count of steps over the whole training, resumed or not, in the one `Progress` they share.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tensorflow.keras.callbacks import Callback

from polytrainer.executors.backends.base import Schedule
from polytrainer.executors.errors import TrainingError, loss_not_finite
from polytrainer.executors.progress import ProgressLine
from polytrainer.executors.run_record import write_csv
from polytrainer.executors.termination import Termination
from polytrainer.executors.timings import EVALUATION, Timings
from polytrainer.proto.problems import Problem

VALIDATION = "val_"


@dataclass
class Progress:
    """How far a training has come. What of it is saved with a checkpoint is `saved()`.

    Attributes:
        schedule: How far it is to go.
        step: Optimizer steps taken, over all epochs.
        history: A row of metrics for each epoch that was finished.
        best: Best value of the metric that early stopping watches; None before the first evaluation.
        best_step: The step at which it was reached.
        waited: Evaluations since then.
        best_weights: The weights of that step.
        stopped: Whether early stopping has ended the training.
        last_finite_loss: (step, loss); None before the first batch.
    """

    schedule: Schedule
    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best: float | None = None
    best_step: int = 0
    waited: int = 0
    stopped: bool = False
    best_weights: list[Any] | None = None
    last_finite_loss: tuple[int, float] | None = None

    _SAVED = ("step", "history", "best", "best_step", "waited", "stopped", "last_finite_loss")

    @property
    def epoch(self) -> int:
        """The epoch that the next step belongs to, from 0."""
        return self.step // self.schedule.steps_per_epoch

    def saved(self) -> dict[str, Any]:
        """All but the weights, as JSON can hold it."""
        return {name: getattr(self, name) for name in self._SAVED}

    def restore(self, saved: dict[str, Any]) -> None:
        """Takes over what `saved` returned."""
        for name in self._SAVED:
            setattr(self, name, saved[name])


class CountSteps(Callback):  # type: ignore[misc]
    """Counts steps, stops at the last of them, and stops a training whose loss is no longer a number."""

    def __init__(self, progress: Progress):
        super().__init__()
        self.progress = progress

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Takes note of one step."""
        progress = self.progress
        progress.step += 1
        loss = float((logs or {}).get("loss", math.nan))
        if logs and "loss" in logs and not math.isfinite(loss):
            raise loss_not_finite(loss, progress.step, progress.last_finite_loss)
        progress.last_finite_loss = (progress.step, loss)
        if progress.step >= progress.schedule.total_steps:
            self.model.stop_training = True


class TimeEvaluations(Callback):  # type: ignore[misc]
    """Measures the evaluations that are part of a training."""

    def __init__(self, timings: Timings):
        super().__init__()
        self.timings = timings

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Begins one."""
        self.timings.begin(EVALUATION)

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """Ends it."""
        self.timings.end()


class PrintProgress(Callback):  # type: ignore[misc]
    """A line now and then, and one at the end of each epoch."""

    def __init__(self, progress: Progress, every_n_steps: int = 0):
        super().__init__()
        self.progress = progress
        schedule = progress.schedule
        self.line = ProgressLine(schedule.total_steps, schedule.batch_size, progress.step, every_n_steps)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Shows a line if it is time for one."""
        self.line.after_step(self.progress.step, logs or {})

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Shows what the evaluation found."""
        self.line.show(self.progress.step, logs or {})


class KeepHistory(Callback):  # type: ignore[misc]
    """Keeps a row of metrics an epoch, and writes them all as a CSV file, if this process is to write one."""

    def __init__(self, progress: Progress, path: str | None):
        super().__init__()
        self.progress, self.path = progress, path

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Adds a row."""
        row = {"step": self.progress.step, "epoch": self.progress.step / self.progress.schedule.steps_per_epoch}
        self.progress.history.append({**row, **{name: float(value) for name, value in (logs or {}).items()}})
        if self.path is not None:
            write_csv(self.path, self.progress.history)


class StopEarly(Callback):  # type: ignore[misc]
    """Stops when a metric no longer gets better, and gives the model its best weights at the end."""

    def __init__(self, progress: Progress, metric: str, mode: str, patience: int, min_delta: float):
        super().__init__()
        self.progress, self.metric = progress, VALIDATION + metric.removeprefix(VALIDATION)
        self.sign = 1.0 if mode == "min" else -1.0
        self.patience, self.min_delta = patience, min_delta

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Compares with the best so far."""
        if self.metric not in (logs or {}):
            known = sorted(name.removeprefix(VALIDATION) for name in logs or {} if name.startswith(VALIDATION))
            raise TrainingError(Problem("train_args.early_stopping.metric", repr(self.metric), f"one of {known}"))
        value = float(logs[self.metric])  # type: ignore[index]
        progress = self.progress
        better = progress.best is None or self.sign * (value - progress.best) < -self.min_delta
        if better:
            progress.best, progress.best_step, progress.waited = value, progress.step, 0
            progress.best_weights = self.model.get_weights()
        else:
            progress.waited += 1
            if progress.waited >= self.patience:
                progress.stopped = self.model.stop_training = True


class SaveCheckpoints(Callback):  # type: ignore[misc]
    """Saves at the end of each epoch, or every so many steps, and when the process is asked to end."""

    def __init__(self, progress: Progress, save: Callable[[], None], every_n_steps: int = 0):
        super().__init__()
        self.progress, self.save, self.every_n_steps = progress, save, every_n_steps
        self.termination = Termination()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Saves if it is time to, and ends the training if it was asked to end."""
        progress = self.progress
        if progress.step % progress.schedule.steps_per_epoch and progress.step < progress.schedule.total_steps:
            self._save_if(bool(self.every_n_steps) and progress.step % self.every_n_steps == 0)
        # else the epoch is over: it is saved once its evaluation is part of what is saved

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """The same at the end of an epoch, which is always saved, unless steps were asked for."""
        self._save_if(not self.every_n_steps or self.progress.step % self.every_n_steps == 0)

    def _save_if(self, due: bool) -> None:
        if due or self.termination.wished:
            self.save()
        if self.termination.wished:
            raise self.termination.error(self.progress.step)
