"""How far a training has come."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

from polytrainer.executors.errors import loss_not_finite
from polytrainer.executors.monitors import VALIDATION


@dataclass
class TrainState:
    """Counters and records of a training; saved with each checkpoint, read by callbacks.

    Attributes:
        step: Optimizer steps taken, over all epochs and all processes that went before.
        epoch: Epochs finished.
        batches: Batches taken of the epoch it is in.
        examples: Examples seen, over all ranks.
        history: A row for each evaluation: step, epoch (with the part of it that was trained on), learning rates, loss
            since the row before, and `val_<metric>`.
        at_epoch_end: Whether the last batch of an epoch, or of the training, is taken, and what comes after it
            (evaluation, callbacks) is still to come.
        best: Best value of the metric by which the model is selected; None before the first finite one.
        best_step: The step at which it was reached.
        stopping_best: Best value of the metric that early stopping monitors; None before the first finite one.
        waited: Evaluations since then.
        stopped: Whether early stopping or a callback has ended the training.
        kept: Steps whose weights are kept, with their metric.
        tables: Values of the last evaluation that are no single number, e.g. a confusion matrix (row: label, column:
            prediction), by name.
        last_finite_loss: (step, loss); None before the first.
        loss_sum: Of the losses since the last row of `history`.
        loss_steps: How many they are.
    """

    step: int = 0
    epoch: int = 0
    batches: int = 0
    examples: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    at_epoch_end: bool = False
    best: float | None = None
    best_step: int = 0
    stopping_best: float | None = None
    waited: int = 0
    stopped: bool = False
    kept: dict[int, float | None] = field(default_factory=dict)
    tables: dict[str, Any] = field(default_factory=dict)
    last_finite_loss: tuple[int, float] | None = None
    loss_sum: float = 0.0
    loss_steps: int = 0

    @property
    def running_loss(self) -> float | None:
        """Mean loss since the last evaluation; None before the first step after it."""
        return self.loss_sum / self.loss_steps if self.loss_steps else None

    def as_dict(self) -> dict[str, Any]:
        """All of it, by name."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def state_dict(self) -> dict[str, Any]:
        """All of it, in plain values; the history as lines of JSON, so that a long one costs little to save."""
        lines = self._history_lines
        lines.extend(json.dumps(row) for row in self.history[len(lines) :])
        return {**self.as_dict(), "history": "\n".join(lines)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over what `state_dict` returned."""
        known = {each.name for each in fields(self)}
        vars(self).update({name: value for name, value in state.items() if name in known})
        if isinstance(state["history"], str):
            self.history = [json.loads(line) for line in state["history"].splitlines()]
        self._history_lines.clear()

    @cached_property
    def _history_lines(self) -> list[str]:
        """The rows that have been written as JSON before."""
        return []

    def take_losses(self, losses: Sequence[float]) -> None:
        """Adds the losses of the last steps, the one that it is at last of all, to the running mean.

        Raises:
            TrainingError: If one of them is not finite.
        """
        for step, loss in enumerate(losses, self.step - len(losses) + 1):
            if not math.isfinite(loss):
                raise loss_not_finite(loss, step, self.last_finite_loss)
            self.last_finite_loss = (step, loss)
        self.loss_sum += sum(losses)
        self.loss_steps += len(losses)

    def epochs_trained(self, steps_per_epoch: int) -> float:
        """Epochs finished, and the part of the next one that was trained on; a whole number at the end of an epoch.

        Args:
            steps_per_epoch: Batches in an epoch, as far as they were counted before: no part is more than one epoch.
        """
        if not self.batches:
            return self.epoch
        epochs = (self.epoch * steps_per_epoch + min(self.batches, steps_per_epoch)) / steps_per_epoch
        return int(epochs) if epochs.is_integer() else epochs

    def record(
        self, metrics: Mapping[str, float], steps_per_epoch: int, learning_rates: Mapping[str, float]
    ) -> dict[str, float]:
        """Adds a row for an evaluation, and begins a new mean of the loss.

        Args:
            metrics: By name, without `val_`.
            steps_per_epoch: Batches in an epoch.
            learning_rates: By the name of their column.
        """
        row: dict[str, float] = {"step": self.step, "epoch": self.epochs_trained(steps_per_epoch), **learning_rates}
        if self.running_loss is not None:
            row["loss"] = self.running_loss
        row.update({VALIDATION + name: value for name, value in metrics.items()})
        self.history.append(row)
        self.loss_sum, self.loss_steps = 0.0, 0
        return row
