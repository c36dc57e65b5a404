"""Which of the weights that a training went through are kept: the newest, and those with the best metric."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from absl import logging

from polytrainer.executors.backends.torch.state import TrainState
from polytrainer.executors.errors import TrainingError
from polytrainer.executors.monitors import ModelSelection
from polytrainer.proto.problems import Problem
from polytrainer.proto.trainer_pb2 import KeepCheckpoints

_CHECKPOINTS = 3  # the two that are kept, and the one that is being written


class TopKCheckpoints:
    """Files `step-<number>.safetensors`, each of them whole or not there.

    Args:
        folder: Where they are while the training goes on.
        selection: By which metric weights are better than others.
        keeping: How many of the best and of the newest are kept.
        writes: Whether this process is the one that writes them; all ranks keep count.
    """

    def __init__(self, folder: str | Path, selection: ModelSelection, keeping: KeepCheckpoints, *, writes: bool = True):
        self.folder, self._selection, self._writes = Path(folder), selection, writes
        self._keeping, self._num_last = keeping, keeping.last
        # weights are removed only when no checkpoint that may still be resumed from refers to them
        self._referenced_steps = deque([self._present()], maxlen=_CHECKPOINTS)

    @property
    def _num_best(self) -> int:
        return (self._keeping.best or 1) if self._selection.selecting is not None else 0

    def maybe_save(self, state: TrainState, value: float | None, weights: Callable[[], Mapping[str, Any]]) -> None:
        """Keeps the weights of this step if they are to be kept, and drops those that no longer are.

        Args:
            state: Of the training; its `kept` is changed.
            value: Of the metric that selects the model; None if none does, or it is not finite.
            weights: Returns the weights; called only if they are kept.
        """
        if not self._num_best and not self._num_last:
            return
        kept = {**state.kept, state.step: value}
        state.kept = {step: kept[step] for step in self._kept(state, kept)}
        if state.step in state.kept:
            tensors = weights()
            if self._writes:
                self._write(state.step, tensors)
        referenced = set().union(*self._referenced_steps)
        for step in (self._present() if self._writes else set()) - set(state.kept) - referenced:
            self.path(step).unlink(missing_ok=True)

    def checkpointed(self, state: TrainState) -> None:
        """Takes note that a checkpoint refers to the weights that are kept now."""
        self._referenced_steps.append(set(state.kept))

    def has(self, step: int) -> bool:
        """Whether the weights of a step are there, and whole."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path(step), "pt"):  # reads where each tensor is, and whether the file ends there
                return True
        except (OSError, SafetensorError):
            return False

    def forget_missing(self, state: TrainState) -> None:
        """Lets a resumed training go on without kept weights that are gone or damaged: its own state is whole.

        Args:
            state: Of the training; of the weights that are left, the best take the place of the best.
        """
        missing = [step for step in state.kept if not self.has(step)]
        if not missing:
            return
        logging.warning("The kept weights of the steps %s are gone from %s, or damaged.", missing, self.folder)
        state.kept = {step: value for step, value in state.kept.items() if step not in missing}
        if state.best_step in missing:
            best = self._best_of(state.kept, 1)
            state.best, state.best_step = (state.kept[best[0]], best[0]) if best else (None, 0)

    def path(self, step: int) -> Path:
        """The file of a step's weights."""
        return self.folder / f"step-{step:08}.safetensors"

    def publish(self, state: TrainState, destination: str) -> None:
        """Copies them to a folder on any file system that TensorFlow knows."""
        from tensorflow.io import gfile

        for step in state.kept:
            if self.has(step):
                gfile.makedirs(destination)
                gfile.copy(str(self.path(step)), f"{destination}/{self.path(step).name}", overwrite=True)

    def _kept(self, state: TrainState, candidates: Mapping[int, float | None]) -> list[int]:
        newest = sorted(candidates, reverse=True)[: self._num_last]
        best = self._best_of(candidates, self._num_best)
        # the best by `min_delta` is the one that becomes the model, even where others are better by less than that
        selected = [state.best_step] if self._num_best and state.best is not None else []
        return sorted({*newest, *best, *selected} & set(candidates))

    def _best_of(self, candidates: Mapping[int, float | None], count: int) -> list[int]:
        valued = {step: value for step, value in candidates.items() if value is not None}
        selecting = self._selection.selecting
        sign = -1.0 if selecting is not None and selecting.mode == "max" else 1.0
        return sorted(valued, key=lambda step: (sign * valued[step], step))[:count]

    def _present(self) -> set[int]:
        return {int(path.stem.rpartition("-")[2]) for path in self.folder.glob("step-*.safetensors")}

    def _write(self, step: int, weights: Mapping[str, Any]) -> None:
        import torch
        from safetensors.torch import save_file

        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f"partial-{step}"
        tensors = {name: each for name, each in weights.items() if isinstance(each, torch.Tensor)}
        try:
            save_file({name: each.detach().cpu().clone().contiguous() for name, each in tensors.items()}, partial)
        except Exception as error:
            partial.unlink(missing_ok=True)
            got = f"weights that could not be written ({type(error).__name__}: {error})"
            raise TrainingError(Problem(str(self.path(step)), got, "room to write them")) from error
        partial.rename(self.path(step))
