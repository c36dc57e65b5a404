"""The evaluations of an Estimator's training, and what follows from them; kept beside its checkpoints."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass

from absl import logging
from tensorflow.io import gfile

from polytrainer.executors.backends.estimator_checkpoints import BestCheckpoints
from polytrainer.executors.monitors import ModelSelection
from polytrainer.executors.run_record import metrics_of, write

_HISTORY, _STATE = "evaluations.jsonl", "course.json"


@dataclass
class SelectionState:
    """What `ModelSelection` knows of the evaluations; a `MonitoredState`."""

    step: int = 0
    best: float | None = None
    best_step: int = 0
    stopping_best: float | None = None
    waited: int = 0
    stopped: bool = False


class EvaluationHistory:
    """The metrics of each evaluation, the state that follows from them, and a copy of the best checkpoint.

    `evaluations.jsonl` is appended to, and `course.json` holds the state after the last of its rows. Each row is
    written once the copy of the checkpoint that it refers to is there: whenever the process dies, the evaluation is
    either known with all that follows from it, or is made again.

    Attributes:
        rows: Metrics by name, with step, epoch and learning rates, one for each evaluation.
        state: What follows from them.
    """

    def __init__(self, model_dir: str, selection: ModelSelection):
        self.rows: list[dict[str, float]] = []
        self.state = SelectionState()
        self._folder, self._selection = model_dir, selection
        self._best = BestCheckpoints(model_dir)

    @classmethod
    def restore(cls, model_dir: str, selection: ModelSelection, step: int) -> EvaluationHistory:
        """The history of the training in a folder, up to the step of the checkpoint that it is resumed from."""
        history = cls(model_dir, selection)
        path = os.path.join(model_dir, _HISTORY)
        content = _content(path) or b""
        rows = [row for line in content.splitlines() if (row := _parsed(line)) is not None]
        history.rows = [row for row in rows if row["step"] <= step]
        saved = _saved_state(os.path.join(model_dir, _STATE))
        if history.rows and saved is not None and saved.step == history.rows[-1]["step"]:
            history.state = saved
        else:
            for row in history.rows:
                history._update(row)
        history._check_best()
        known = b"".join(map(_line, history.rows))
        if known != content:  # of steps that are taken again, or a line that is not whole
            write(path, known)
        return history

    def has_evaluation(self, step: int) -> bool:
        """Whether the last evaluation was at a step."""
        return bool(self.rows) and self.rows[-1]["step"] == step

    def add(
        self, step: int, metrics: Mapping[str, float], checkpoint: str, recorded: Mapping[str, float] | None = None
    ) -> None:
        """Takes an evaluation into account.

        Args:
            step: Of the training.
            metrics: Of the evaluation.
            checkpoint: What was evaluated.
            recorded: What else the row has: epoch and learning rates.
        """
        row = {"step": step, **(recorded or {}), **metrics}
        self._update(row)
        if self.is_best(step):
            self._best.copy(checkpoint, step)
        self.rows.append(row)
        with gfile.GFile(os.path.join(self._folder, _HISTORY), "ab") as file:
            file.write(_line(row))
        write(os.path.join(self._folder, _STATE), json.dumps(vars(self.state)).encode())
        self._best.prune(step)

    def is_best(self, step: int) -> bool:
        """Whether the weights of a step are the best so far."""
        return self.state.best is not None and self.state.best_step == step

    @property
    def best_checkpoint(self) -> str | None:
        """The path of the best checkpoint's copy; None where none was selected."""
        return None if self.state.best is None else self._best.path(self.state.best_step)

    def _update(self, row: Mapping[str, float]) -> None:
        self.state.step = int(row["step"])
        self._selection.update(self.state, metrics_of(row))

    def _check_best(self) -> None:
        """Forgets a best checkpoint that is not there, or is damaged: the next evaluation is compared with none."""
        if self.state.best is not None and not self._best.is_readable(self.state.best_step):
            logging.warning("The best weights so far, of step %d, are lost.", self.state.best_step)
            self.state.best, self.state.best_step = None, 0
        self._best.prune(int(self.rows[-1]["step"]) if self.rows else 0)


def _saved_state(path: str) -> SelectionState | None:
    saved = json.loads(_content(path) or b"{}")
    return SelectionState(**saved) if set(saved) == set(vars(SelectionState())) else None


def _content(path: str) -> bytes | None:
    if not gfile.exists(path):
        return None
    with gfile.GFile(path, "rb") as file:
        return file.read()  # type: ignore[no-any-return]


def _line(row: Mapping[str, float]) -> bytes:
    return json.dumps(row).encode() + b"\n"


def _parsed(line: bytes) -> dict[str, float] | None:
    """A row; None for one that was still being written when the process died."""
    try:
        return json.loads(line)  # type: ignore[no-any-return]
    except ValueError:
        return None
