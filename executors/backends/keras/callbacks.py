"""What a training does besides training: progress, records, checkpoints, and stopping when it should.

Each keeps count of steps over the whole training, resumed or not, in the one `Progress` they share.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tensorflow.keras.callbacks import Callback, TensorBoard

from polytrainer.executors.backends.base import Schedule
from polytrainer.executors.backends.keras import compiled
from polytrainer.executors.errors import loss_not_finite
from polytrainer.executors.monitors import ModelSelection
from polytrainer.executors.progress import ProgressLine
from polytrainer.executors.run_record import LEARNING_RATE, MetricsCsv
from polytrainer.executors.termination import Termination
from polytrainer.executors.timings import EVALUATION, Timings


@dataclass
class Progress:
    """How far a training has come.

    Attributes:
        schedule: How far it is to go.
        step: Optimizer steps taken, over all epochs.
        history: A row of metrics for each epoch that was finished.
        best: Best value of the metric that early stopping monitors; None before the first finite one.
        best_step: The step at which it was reached.
        stopping_best: The same: Keras has no other metric to select a model by.
        waited: Evaluations since then.
        best_weights: The weights that were measured then; None once the model has them.
        stopped: Whether early stopping has ended the training.
        ended: Whether no more steps are taken: after the last one, or when a callback stopped the training.
        epoch_logs: Metrics of the steps of an epoch that is still to be evaluated; None between evaluations.
        trained: Whether the model has the weights that are published.
        last_finite_loss: (step, loss); None before the first batch.
    """

    schedule: Schedule
    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best: float | None = None
    best_step: int = 0
    stopping_best: float | None = None
    waited: int = 0
    stopped: bool = False
    ended: bool = False
    trained: bool = False
    best_weights: list[Any] | None = None
    epoch_logs: dict[str, Any] | None = None
    last_finite_loss: tuple[int, float] | None = None

    _COUNTERS = (
        *("step", "best", "best_step", "stopping_best", "waited", "stopped", "ended", "trained", "last_finite_loss"),
    )

    @property
    def epoch(self) -> int:
        """The epoch that the next step belongs to, from 0."""
        return self.step // self.schedule.steps_per_epoch

    def counters(self) -> dict[str, Any]:
        """What a checkpoint has of it, as JSON can hold it: all but weights, metrics and rows, only their number."""
        return {**{name: getattr(self, name) for name in self._COUNTERS}, "rows": len(self.history)}

    def saved(self) -> dict[str, Any]:
        """What is written down of it after the training."""
        return {**{name: getattr(self, name) for name in self._COUNTERS}, "history": self.history}

    def restore(self, counters: dict[str, Any]) -> None:
        """Takes over what `counters` returned."""
        for name in self._COUNTERS:
            setattr(self, name, counters[name])


def numbers(logs: Mapping[str, Any] | None) -> dict[str, float]:
    """Metrics as numbers: of one that has a value for each class, `<name>_0`, `<name>_1` and so on."""
    found: dict[str, float] = {}
    for name, value in (logs or {}).items():
        if isinstance(value, Mapping):
            found.update(numbers(value))
            continue
        array = np.asarray(value)
        if array.ndim == 0:
            found[name] = float(array)
        else:
            found.update((f"{name}_{number}", float(each)) for number, each in enumerate(array.ravel()))
    return found


class CountSteps(Callback):  # type: ignore[misc]
    """Counts steps, stops at the last of them, and stops a training whose loss is no longer a number."""

    def __init__(self, progress: Progress):
        super().__init__()
        self.progress = progress
        self._before_epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Takes note of the steps before this epoch."""
        self._before_epoch = epoch * self.progress.schedule.steps_per_epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Takes note of a step, or of some, where Keras executes several at once."""
        progress, schedule = self.progress, self.progress.schedule
        progress.step = min(self._before_epoch + min(batch + 1, schedule.steps_per_epoch), schedule.total_steps)
        if logs and "loss" in logs:
            loss = float(logs["loss"])
            if not math.isfinite(loss):
                raise loss_not_finite(loss, progress.step, progress.last_finite_loss)
            progress.last_finite_loss = (progress.step, loss)
        if progress.step >= schedule.total_steps:
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
        if self.line.due(self.progress.step):
            self.line.after_step(self.progress.step, numbers(logs))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Shows what the evaluation found."""
        self.line.show(self.progress.step, numbers(logs))


class KeepHistory(Callback):  # type: ignore[misc]
    """Keeps a row of metrics an epoch, and writes them as a CSV file, if this process is to write one."""

    def __init__(self, progress: Progress, path: str | None):
        super().__init__()
        self.progress = progress
        self.file = MetricsCsv(path) if path is not None else None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Adds a row."""
        row = {"step": self.progress.step, "epoch": self.progress.step / self.progress.schedule.steps_per_epoch}
        rate = compiled.learning_rate_value(getattr(self.model, "optimizer", None))
        rates = {} if rate is None else {LEARNING_RATE: rate}
        self.progress.history.append({**row, **rates, **numbers(logs)})
        if self.file is not None:
            self.file.write(self.progress.history)


class WriteEvents(TensorBoard):  # type: ignore[misc]
    """TensorBoard events of every metric, also of those that have a value for each class."""

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes those of a batch."""
        super().on_train_batch_end(batch, numbers(logs))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes those of an epoch."""
        super().on_epoch_end(epoch, numbers(logs))

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """Writes those of an evaluation."""
        super().on_test_end(numbers(logs))


class StopEarly(Callback):  # type: ignore[misc]
    """Stops when a metric no longer gets better, and keeps the weights that were measured as the best."""

    def __init__(self, progress: Progress, selection: ModelSelection):
        super().__init__()
        self.progress, self.selection = progress, selection

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """Compares with the best so far.

        Now and not when the epoch ends: callbacks that evaluate other weights than are trained (averages of them) give
        the model these in between.
        """
        best = self.progress.best
        self.selection.update(self.progress, numbers(logs))
        if self.progress.best != best:
            self.progress.best_weights = self.model.get_weights()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Ends the training if it is time to."""
        if self.progress.stopped:
            self.model.stop_training = True


class EndOfEpoch(Callback):  # type: ignore[misc]
    """Takes note, after the user's callbacks and before the checkpoint, of whether one of them ends the training."""

    def __init__(self, progress: Progress):
        super().__init__()
        self.progress = progress

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Asks the model."""
        progress = self.progress
        progress.ended |= bool(self.model.stop_training) or progress.step >= progress.schedule.total_steps


class SaveCheckpoints(Callback):  # type: ignore[misc]
    """Saves at the end of each epoch, or every so many steps, and when the process is asked to end.

    To be called after all other callbacks, so that what they do is part of what is saved; `before_evaluation` before
    them.
    """

    def __init__(self, progress: Progress, save: Callable[[], None], every_n_steps: int = 0):
        super().__init__()
        self.progress, self.save, self.every_n_steps = progress, save, every_n_steps
        self.termination = Termination()
        self._saved_step, self._is_saved = progress.step, False

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Saves if it is time to, and ends the training if it was asked to end."""
        progress = self.progress
        last = progress.step >= progress.schedule.total_steps or self.model.stop_training
        if progress.step % progress.schedule.steps_per_epoch and not last:
            self._save_if(bool(self.every_n_steps) and self._is_due())
        # else the epoch is over: it is saved once its evaluation is part of what is saved

    def before_evaluation(self, *, changes: bool) -> None:
        """Saves an epoch whose steps are all taken, if there are no more, or one is asked to end.

        Args:
            changes: Whether callbacks change something in the evaluation, so that it can only be saved now.
        """
        is_last = self.progress.step >= self.progress.schedule.total_steps
        self._save_if((is_last or changes) and self._saved_step != self.progress.step)
        self._is_saved = self._saved_step == self.progress.step

    def on_test_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Ends the training if it was asked to end: the evaluation is begun anew when it goes on."""
        if self.termination.wished and self._is_saved:
            raise self.termination.error(self.progress.step)
        self._save_if(due=False)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Saves the end of an epoch, unless steps were asked for; and the end of a training that a callback stops."""
        if self.progress.step < self.progress.schedule.total_steps:  # else it was saved before the evaluation
            self._save_if(not self.every_n_steps or self._is_due() or self.progress.ended)
        else:
            self._save_if(due=False)

    def _is_due(self) -> bool:
        return self.progress.step // self.every_n_steps > self._saved_step // self.every_n_steps

    def _save_if(self, due: bool) -> None:
        if due or self.termination.wished:
            self.save()
            self._saved_step = self.progress.step
        if self.termination.wished:
            raise self.termination.error(self.progress.step)
