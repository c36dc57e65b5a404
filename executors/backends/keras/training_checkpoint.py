"""All that a Keras training goes on from when its process has died, on disk."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from polytrainer.executors.backends.keras import random_states
from polytrainer.executors.backends.keras.composition import composition, differences
from polytrainer.executors.backends.keras.history_file import HistoryFile
from polytrainer.executors.backends.keras.plain_values import decode, encode
from polytrainer.executors.checkpoints import Checkpoints, check_variables
from polytrainer.executors.errors import PreflightError

if TYPE_CHECKING:
    from polytrainer.executors.backends.keras.callback_states import CallbackStates
    from polytrainer.executors.backends.keras.callbacks import Progress

_STATE, _ARRAYS, _BEST, _VARIABLES = "progress.json", "arrays.npz", "best.npz", "variables"


class TrainingCheckpoints:
    """The checkpoints of one training: of its model, optimizer, metrics, callbacks, random generators and progress.

    Attributes:
        callbacks: States of the user's callbacks; None before they were made.
        resumed: Whether the training goes on from one of them.
    """

    def __init__(self, folder: str, model: Any, progress: Progress, seed: int, *, is_chief: bool = True):
        """Takes a model that is built, its metrics, too; `is_chief`: whether this process writes."""
        self.callbacks: CallbackStates | None = None
        self.resumed = False
        self._checkpoints, self._history = Checkpoints(folder), HistoryFile(Path(folder, "history.jsonl"))
        self._model, self._progress, self._seed = model, progress, seed
        self._composition = composition(model)
        self._is_chief = is_chief
        self._saved: dict[str, Any] = {}
        self._arrays: dict[str, Any] = {}
        self._prefix = ""

    def save(self) -> None:
        """Saves; of the workers of a cluster the chief does."""
        if self._is_chief:
            self._checkpoints.folder.mkdir(parents=True, exist_ok=True)
            self._history.write(self._progress.history)
            self._checkpoints.save(self._progress.step, self._write)
            return
        with tempfile.TemporaryDirectory() as folder:  # reading variables is something that all workers do together
            self._write(Path(folder))

    def restore(self) -> dict[str, Any] | None:
        """Gives model, optimizer and progress back what the newest checkpoint has that can be read.

        What callbacks change when a training begins is given back once more by `restore_begun`.

        Returns:
            What was saved of the training: `step`, `seed` and others; None without a checkpoint.

        Raises:
            PreflightError: If it is one of another model, optimizer, loss or metrics.
        """
        saved = self._checkpoints.restore(self._read)
        if saved is None:
            return None
        if problems := differences(saved["composition"], self._composition, saved["progress"]["step"]):
            raise PreflightError(problems)
        self._progress.restore(saved["progress"])
        self._seed, self.resumed = saved["seed"], True
        self._restore_variables()
        return dict(saved)

    def check_callbacks(self) -> None:
        """Compares the callbacks with those of the checkpoint.

        Raises:
            PreflightError: If there are others.
        """
        if self.resumed and self.callbacks is not None:
            before, now = {"callbacks": self._saved["callback_names"]}, {"callbacks": self.callbacks.names}
            if problems := differences(before, now, self._progress.step):
                raise PreflightError(problems)

    def restore_begun(self) -> None:
        """Gives everything back after the callbacks' `on_train_begin`, which may have changed any of it."""
        if not self.resumed:
            return
        self._restore_variables()
        if self.callbacks is not None:
            self.callbacks.restore(self._saved["callbacks"], self._arrays)
        random_states.restore_global_states(self._saved["random"], self._arrays)

    def _restore_variables(self) -> None:
        self._variables().read(self._prefix).assert_existing_objects_matched()

    def _variables(self) -> tf.train.Checkpoint:
        metrics = [variable for metric in self._model.metrics for variable in metric.variables]
        return tf.train.Checkpoint(
            model=self._model,
            optimizer=self._model.optimizer,
            metrics=[
                getattr(variable, "value", variable) if _is_keras_3(variable) else variable for variable in metrics
            ],
            generators=random_states.generators(self._model),
        )

    def _write(self, folder: Path) -> None:
        self._variables().write(str(folder / _VARIABLES))
        if self._progress.best_weights is not None:
            np.savez(folder / _BEST, *self._progress.best_weights)
        arrays: list[Any] = []
        logs = self._progress.epoch_logs
        state = {
            "progress": self._progress.counters(),
            "epoch_logs": None if logs is None else encode(logs, arrays),
            "seed": self._seed,
            "composition": self._composition,
            "callback_names": self.callbacks.names if self.callbacks else [],
            "callbacks": self.callbacks.state(arrays) if self.callbacks else [],
            "random": random_states.global_states(arrays),
        }
        np.savez(folder / _ARRAYS, **{str(number): array for number, array in enumerate(arrays)})
        (folder / _STATE).write_text(json.dumps(state))

    def _read(self, folder: Path) -> dict[str, Any]:
        """Reads all of a checkpoint, and changes nothing of model and optimizer."""
        saved = json.loads((folder / _STATE).read_text())
        arrays = _arrays(folder / _ARRAYS)
        best = _arrays(folder / _BEST) if (folder / _BEST).exists() else None
        check_variables(str(folder / _VARIABLES))
        history = self._history.read(saved["progress"]["rows"])
        self._saved, self._arrays, self._prefix = saved, arrays, str(folder / _VARIABLES)
        self._progress.history = history
        self._progress.best_weights = list(best.values()) if best is not None else None
        logs = saved["epoch_logs"]
        self._progress.epoch_logs = None if logs is None else decode(logs, arrays)
        return dict(saved)


def _arrays(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _is_keras_3(variable: Any) -> bool:
    return not isinstance(variable, tf.Variable)
