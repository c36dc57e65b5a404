"""What runs beside an Estimator's steps: progress and SIGTERM while it trains, the mean loss while it evaluates."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from polytrainer.executors.backends.base import Schedule
from polytrainer.executors.progress import ProgressLine
from polytrainer.executors.termination import Termination

v1 = tf.compat.v1


class TrainingHook(tf.compat.v1.train.SessionRunHook):  # type: ignore[misc]
    """Counts steps, prints progress, and stops when the process is asked to end; Estimator then saves a checkpoint.

    Attributes:
        step: Optimizer steps taken, over all processes.
        loss: Of the last step; None before the first one.
        termination: Whether SIGTERM has come.
    """

    def __init__(self, schedule: Schedule, step: int, every_n_steps: int):
        self.step = step
        self.loss: float | None = None
        self.termination = Termination()
        self._line = ProgressLine(schedule.total_steps, schedule.batch_size, step, every_n_steps)

    def before_run(self, run_context: Any) -> Any:
        """Asks for the loss of the step."""
        losses = v1.get_collection(v1.GraphKeys.LOSSES)
        return v1.train.SessionRunArgs(losses[-1:])

    def after_run(self, run_context: Any, run_values: Any) -> None:
        """Counts the step, and ends the training if that was asked for."""
        self.step += 1
        if run_values.results:
            self.loss = loss = float(run_values.results[0])
            self._line.after_step(self.step, {"loss": loss})
        if self.termination.wished:
            run_context.request_stop()

    def end(self, session: Any) -> None:
        """Shows the last step."""
        self._line.show(self.step, {} if self.loss is None else {"loss": self.loss})


class MeanLossHook(tf.compat.v1.train.SessionRunHook):  # type: ignore[misc]
    """The mean loss of an evaluation over its examples.

    Estimator's own `loss` is the mean over batches, in which an example of a smaller last batch counts more than the
    others: it depends on the batch size.

    Args:
        loss: Of a batch, a scalar.
        batch_size: Examples in it, a scalar.
    """

    def __init__(self, loss: Any, batch_size: Any):
        self._fetches = (loss, batch_size)
        self._sum, self._count = 0.0, 0

    def before_run(self, run_context: Any) -> Any:
        """Asks for the batch's loss and size."""
        return v1.train.SessionRunArgs(self._fetches)

    def after_run(self, run_context: Any, run_values: Any) -> None:
        """Adds the batch."""
        loss, batch_size = run_values.results
        self._sum += float(loss) * int(batch_size)
        self._count += int(batch_size)

    @property
    def mean(self) -> float:
        """Over the examples of all batches so far."""
        return self._sum / self._count
