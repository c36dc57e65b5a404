"""How far a training has come."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from polytrainer.executors.errors import loss_not_finite

VALIDATION = "val_"


@dataclass
class TrainState:
    """Counters and records of a training; saved with each checkpoint, read by callbacks.

    Attributes:
        step: Optimizer steps taken, over all epochs and all processes that went before.
        epoch: Epochs finished.
        batches: Batches taken of the epoch it is in.
        examples: Examples seen, over all ranks.
        history: A row for each evaluation: step, epoch, loss since the row before, and `val_<metric>`.
        best: Best value of the metric that is watched; None before the first evaluation.
        best_step: The step at which it was reached.
        waited: Evaluations since then.
        stopped: Whether early stopping has ended the training.
        kept: Steps whose weights are kept, with their metric.
        last_finite_loss: (step, loss); None before the first.
        loss_sum: Of the losses since the last row of `history`.
        loss_steps: How many they are.
    """

    step: int = 0
    epoch: int = 0
    batches: int = 0
    examples: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best: float | None = None
    best_step: int = 0
    waited: int = 0
    stopped: bool = False
    kept: dict[int, float | None] = field(default_factory=dict)
    last_finite_loss: tuple[int, float] | None = None
    loss_sum: float = 0.0
    loss_steps: int = 0

    @property
    def running_loss(self) -> float | None:
        """Mean loss since the last evaluation; None before the first step after it."""
        return self.loss_sum / self.loss_steps if self.loss_steps else None

    def state_dict(self) -> dict[str, Any]:
        """All of it, in plain values."""
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over what `state_dict` returned."""
        vars(self).update(state)

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

    def record(self, metrics: dict[str, float]) -> dict[str, float]:
        """Adds a row for an evaluation, and begins a new mean of the loss.

        Args:
            metrics: By name, without `val_`.
        """
        row: dict[str, float] = {"step": self.step, "epoch": self.epoch}
        if self.running_loss is not None:
            row["loss"] = self.running_loss
        row.update({VALIDATION + name: value for name, value in metrics.items()})
        self.history.append(row)
        self.loss_sum, self.loss_steps = 0.0, 0
        return row
