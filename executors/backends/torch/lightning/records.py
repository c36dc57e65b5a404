"""What a training by Lightning leaves behind: its history, a line of progress, and the weights that are kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch

from polytrainer.executors.backends.torch.logs import DEFAULT_EVERY
from polytrainer.executors.backends.torch.optimizers import learning_rates
from polytrainer.executors.backends.torch.state import TrainState
from polytrainer.executors.backends.torch.top_k_checkpoints import TopKCheckpoints
from polytrainer.executors.monitors import ModelSelection
from polytrainer.executors.progress import ProgressLine
from polytrainer.executors.run_record import MetricsCsv, metrics_of

if TYPE_CHECKING:
    from polytrainer.executors.backends.base import Schedule
    from polytrainer.executors.backends.torch.trainer import TorchTrainer


class Records:
    """Losses and evaluations of a training.

    Args:
        trainer: Whose training it is.
        state: Its counters; losses and evaluations are added.
        selection: Which evaluation is the best, and when training stops.
        kept: Where the better ones are.
        is_first: Whether this process is rank 0, which writes.
    """

    def __init__(
        self,
        trainer: TorchTrainer,
        state: TrainState,
        selection: ModelSelection,
        kept: TopKCheckpoints,
        *,
        is_first: bool,
    ):
        self._trainer, self._state, self._selection, self._kept = trainer, state, selection, kept
        self._is_first = is_first
        self._csv = MetricsCsv(f"{trainer.fn_args.model_run_dir}/logs/metrics.csv")
        self._every = trainer.fn_args.train_args.log_every_n_steps
        self._pending: list[torch.Tensor] = []
        self._line: ProgressLine | None = None

    def show_progress(self, schedule: Schedule) -> None:
        """Prints lines from now on."""
        if self._is_first:
            self._line = ProgressLine(schedule.total_steps, schedule.batch_size, self._state.step, self._every)

    def step(self, lightning: Any, losses: list[torch.Tensor]) -> None:
        """After a step, with the losses of its parts: their sum is its own."""
        if losses:
            self._pending.append(torch.stack(losses).sum())
        step, is_alone = self._state.step, lightning.world_size == 1
        if step % (self._every or DEFAULT_EVERY) == 0:
            self.flush(lightning)
        if self._line is not None and self._line.due(step):
            if is_alone:
                self.flush(lightning)
            loss = {} if self._state.running_loss is None else {"loss": self._state.running_loss}
            row = _shown(self._state.history[-1]) if self._state.history else {}
            self._line.show(step, {**row, **loss}, stays=False)

    def flush(self, lightning: Any) -> None:
        """Reads the losses of the last steps, which is when the device is waited for; all ranks call it.

        Raises:
            TrainingError: If one of them is not finite.
        """
        if not self._pending:
            return
        losses = lightning.strategy.reduce(torch.stack(self._pending), reduce_op="mean").tolist()
        self._pending.clear()
        self._state.take_losses(losses)

    def evaluation(self, lightning: Any, metrics: dict[str, float], weights: Callable[[], Mapping[str, Any]]) -> None:
        """Writes down what an evaluation found, and decides what follows from it.

        Args:
            lightning: The `lightning.Trainer`; it is told to stop where that follows.
            metrics: By name, the same on all ranks.
            weights: Returns the weights that were evaluated.

        Raises:
            TrainingError: If the metric that is watched is not among them.
        """
        self.flush(lightning)
        state, best = self._state, self._state.best
        is_kept = bool(state.history) and state.history[-1]["step"] == state.step and state.step in state.kept
        row = state.record(metrics, self._trainer.schedule.steps_per_epoch, learning_rates(lightning.optimizers))
        value = self._selection.update(state, metrics)
        # other weights of the same step (an average that a callback makes at the end) take the place of those that are
        # kept only if they are better
        if not is_kept or self._selection.selecting is None or state.best != best:
            self._kept.maybe_save(state, value, weights)
        if state.stopped:
            lightning.should_stop = True
        self.write()
        if self._line is not None:
            self._line.show(state.step, _shown(row))

    def write(self) -> None:
        """Writes the history down."""
        if self._is_first:
            self._csv.write(self._state.history)
            self._trainer.log_state(self._state)


def _shown(row: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics_of(row).items() if "." not in name}
