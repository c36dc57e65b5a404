"""Which of the weights that a training went through are kept: the newest, and those with the best metric."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polytrainer.executors.backends.torch.state import TrainState
from polytrainer.executors.errors import TrainingError
from polytrainer.proto import args
from polytrainer.proto.problems import Problem
from polytrainer.proto.trainer_pb2 import TrainArgs

_CHECKPOINTS = 3  # the two that are kept, and the one that is being written


@dataclass(frozen=True)
class Watch:
    """What makes weights better than others, and how long a training waits for better ones.

    Attributes:
        metric: Name of the metric, without `val_`.
        sign: 1 if less is better, -1 if more is.
        min_delta: By how much it must change to count.
        patience: Evaluations without getting better after which training stops; None: it does not.
        best: How many of the best are kept.
        last: How many of the newest are kept.
    """

    metric: str
    sign: float
    min_delta: float
    patience: int | None
    best: int
    last: int

    @classmethod
    def of(cls, train_args: TrainArgs) -> Watch:
        """As `early_stopping` and `keep_checkpoints` have it."""
        kept, stops = train_args.keep_checkpoints, train_args.HasField("early_stopping")
        stopping = train_args.early_stopping
        watched = stopping if stops and not kept.metric else kept
        return cls(
            metric=watched.metric or "loss",
            sign=1.0 if args.best_mode(watched) == "min" else -1.0,
            min_delta=stopping.min_delta,
            patience=(stopping.patience or 3) if stops else None,
            best=kept.best or (1 if stops else 0),
            last=kept.last,
        )

    @property
    def is_on(self) -> bool:
        """Whether the metric decides anything."""
        return self.best > 0

    def take_note(self, state: TrainState, value: float) -> None:
        """Compares with the best so far; early stopping follows from that."""
        if state.best is None or self.sign * (value - state.best) < -self.min_delta:
            state.best, state.best_step, state.waited = value, state.step, 0
        else:
            state.waited += 1
            state.stopped = self.patience is not None and state.waited >= self.patience


class KeptWeights:
    """Files `step-<number>.safetensors`, each of them whole or not there.

    Args:
        folder: Where they are while the training goes on.
        watch: Which are kept.
        writes: Whether this process is the one that writes them; all ranks keep count.
    """

    def __init__(self, folder: str | Path, watch: Watch, *, writes: bool = True):
        self.folder, self._watch, self._writes = Path(folder), watch, writes
        # weights are removed only when no checkpoint that may still be resumed from speaks of them
        self._spoken_of = deque([self._present()], maxlen=_CHECKPOINTS)

    def offer(self, state: TrainState, value: float | None, weights: Callable[[], Mapping[str, Any]]) -> None:
        """Keeps the weights of this step if they are to be kept, and drops those that no longer are.

        Args:
            state: Of the training; its `kept` is changed.
            value: Of the metric that is watched; None if none is.
            weights: Returns the weights; called only if they are kept.
        """
        kept = {**state.kept, state.step: value}
        state.kept = {step: kept[step] for step in self._kept(state, kept)}
        if state.step in state.kept:
            found = weights()
            if self._writes:
                self._write(state.step, found)
        for step in (self._present() if self._writes else set()) - set(state.kept) - set().union(*self._spoken_of):
            self.path(step).unlink(missing_ok=True)

    def checkpointed(self, state: TrainState) -> None:
        """Takes note that a checkpoint speaks of the weights that are kept now."""
        self._spoken_of.append(set(state.kept))

    def path(self, step: int) -> Path:
        """The file of a step's weights."""
        return self.folder / f"step-{step:08}.safetensors"

    def publish(self, state: TrainState, destination: str) -> None:
        """Copies them to a folder on any file system that TensorFlow knows."""
        from tensorflow.io import gfile

        for step in state.kept:
            if self.path(step).exists():
                gfile.makedirs(destination)
                gfile.copy(str(self.path(step)), f"{destination}/{self.path(step).name}", overwrite=True)

    def remove(self) -> None:
        """Removes them all."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _kept(self, state: TrainState, candidates: Mapping[int, float | None]) -> list[int]:
        newest = sorted(candidates, reverse=True)[: self._watch.last]
        valued = {step: value for step, value in candidates.items() if value is not None}
        best = sorted(valued, key=lambda step: (self._watch.sign * valued[step], step))[: self._watch.best]
        # the best by `min_delta` is the one that becomes the model, even where others are better by less than that
        wanted = {*newest, *best, *([state.best_step] if self._watch.is_on and state.best is not None else [])}
        return sorted(wanted & set(candidates))

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
