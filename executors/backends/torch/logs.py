"""What a training tells while it goes on: a line of progress, TensorBoard events, system figures."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from polytrainer.executors.progress import ProgressLine
from polytrainer.executors.run_record import MetricsCsv, metrics_of

if TYPE_CHECKING:
    from torch import nn

    from polytrainer.executors.backends.base import Schedule
    from polytrainer.executors.backends.torch.state import TrainState

DEFAULT_EVERY = 50


class Logs:
    """Logs of rank 0; the other ranks are silent.

    Args:
        folder: Of TensorBoard's events and metrics.csv; any file system that TensorFlow knows.
        schedule: Of the training.
        first_step: Steps that earlier processes took.
        every_n_steps: Steps between two points of a curve; 0: 50. Lines are printed then, too; where it is 0, every 10
            seconds, on a terminal every tenth of one.
        histograms: Whether weights are drawn as histograms at each evaluation.
    """

    def __init__(self, folder: str, schedule: Schedule, first_step: int, every_n_steps: int, histograms: bool):
        from torch.utils.tensorboard import SummaryWriter

        self.every = every_n_steps or DEFAULT_EVERY
        self.line = ProgressLine(schedule.total_steps, schedule.batch_size, first_step, every_n_steps)
        self._writer = SummaryWriter(folder, purge_step=first_step or None)
        self._csv, self._histograms = MetricsCsv(os.path.join(folder, "metrics.csv")), histograms
        self._last = (time.monotonic(), first_step * schedule.batch_size)

    def begin(self, state: TrainState) -> None:
        """Writes what earlier processes found: a resumed run has new output folders, and may not evaluate any more."""
        if state.history:
            self._csv.write(state.history)

    def curves(self, state: TrainState, loss: float, learning_rates: Mapping[str, float], norm: float | None) -> None:
        """Adds a point to each curve."""
        now, examples = time.monotonic(), state.examples
        rate = (examples - self._last[1]) / max(now - self._last[0], 1e-9)
        values = {"loss": loss, "examples_per_second": rate, **learning_rates}
        self._last = (now, examples)
        if norm is not None:
            values["gradient_norm"] = norm
        values.update(_system())
        self._add({f"train/{name}": value for name, value in values.items()}, state.step)

    def evaluation(self, state: TrainState, metrics: Mapping[str, float], model: nn.Module) -> None:
        """Writes what an evaluation found: curves, metrics.csv, a line."""
        self._add({f"validation/{name}": value for name, value in metrics.items()}, state.step)
        if self._histograms:
            for name, parameter in model.named_parameters():
                self._writer.add_histogram(name, parameter.detach(), state.step)
        self._writer.flush()
        self._csv.write(state.history)
        shown = metrics_of(state.history[-1])
        self.line.show(state.step, {name: value for name, value in shown.items() if "." not in name})
        for split in dict.fromkeys(name.partition(".")[0] for name in metrics if "." in name):
            own = {name.partition(".")[2]: value for name, value in metrics.items() if name.startswith(f"{split}.")}
            print(f"  {split}: " + "  ".join(f"{name} {value:.4g}" for name, value in own.items()), flush=True)

    def graph(self, model: nn.Module, features: Any) -> None:
        """Draws the model as a graph."""
        self._writer.add_graph(model, (features,), use_strict_trace=False)

    def _add(self, scalars: Mapping[str, float], step: int) -> None:
        """Points of several curves as one event: `add_scalar` makes an event of each, which costs as much as a step."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
        assert self._writer.file_writer is not None
        self._writer.file_writer.add_summary(Summary(value=values), step)

    def close(self) -> None:
        """Writes what is left."""
        self._writer.close()


def _system() -> dict[str, float]:
    import psutil

    figures = {"memory_mib": psutil.Process().memory_info().rss / 2**20}
    if torch.cuda.is_available():
        figures["gpu_memory_mib"] = torch.cuda.memory_allocated() / 2**20
        figures["gpu_memory_peak_mib"] = torch.cuda.max_memory_allocated() / 2**20
    return figures
