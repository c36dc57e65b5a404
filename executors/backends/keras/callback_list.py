"""The callbacks of one training, which may take several calls of `fit`: the one after a resume ends an epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from polytrainer.executors.backends.keras.callbacks import EndOfEpoch, Progress, SaveCheckpoints
from polytrainer.executors.run_record import metrics_of

# an evaluation that is interrupted has called these; Keras's own callback that has some can be saved in between
_OF_EVALUATIONS = ("on_test_begin", "on_test_batch_begin", "on_test_batch_end")
_SWAP_EMA = "SwapEMAWeights"


class TrainingCallbacks(tf.keras.callbacks.CallbackList):  # type: ignore[misc]
    """Keras's list of callbacks, begun and ended once a training and not once a `fit`.

    Batches are counted within their whole epoch, and `params` are those of the whole training, however often it was
    resumed.
    """

    def __init__(
        self,
        default: Mapping[str, Any],
        own: Sequence[Any],
        model: Any,
        progress: Progress,
        restore: Callable[[], None],
    ):
        """Puts callbacks in their order: default ones, the user's, Keras's history, and last what saves checkpoints.

        Args:
            default: By name, as `KerasTrainer.default_callbacks` has them.
            own: The user's.
            model: That is trained.
            progress: Of the training.
            restore: Gives callbacks, model and others what they had in the checkpoint; called once, after they began.
        """
        checkpoint = default.get("checkpoint")
        self._checkpoint = checkpoint if isinstance(checkpoint, SaveCheckpoints) else None
        before = [callback for name, callback in default.items() if name != "checkpoint"]
        history = tf.keras.callbacks.History()
        self._changes = any(_takes_part_in_evaluations(callback) for callback in own)
        self._progress, self._restore, self._resumed_at = progress, restore, progress.step
        self._begun, self._epoch, self._in_epoch = False, progress.epoch, False
        self._logs: Any = None
        after = [EndOfEpoch(progress), *([checkpoint] if checkpoint is not None else [])]
        schedule = progress.schedule
        super().__init__(
            [*before, *own, history, *after],
            model=model,
            verbose=0,
            epochs=schedule.num_epochs,
            steps=schedule.steps_per_epoch,
        )
        self._history_of_training = history

    # ---- as Keras calls them

    def on_train_begin(self, logs: Any = None) -> None:
        """Begins the training, at the first time."""
        if self._begun:
            return
        self._begun = True
        super().on_train_begin(logs)
        _restore_history(self._history_of_training, self._progress)
        progress = self._progress
        if progress.ended or progress.epoch_logs is not None or not self._skipped(progress.epoch):
            self._restore()  # else once the epoch has begun

    def on_train_end(self, logs: Any = None) -> None:
        """Nothing: a `fit` has ended, see `end`."""

    def end(self) -> None:
        """Ends the training."""
        super().on_train_end(self._logs)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Begins an epoch.

        Of one that is resumed in its middle callbacks are told, too; what they change they had changed already when it
        was saved, so that it is given back after them.
        """
        self._epoch, self._in_epoch = epoch, True
        super().on_epoch_begin(epoch, logs)
        if self._skipped(epoch):
            self._restore()

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Begins a batch."""
        super().on_train_batch_begin(batch + self._skipped(self._epoch), logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Ends a batch."""
        self._logs = logs
        super().on_train_batch_end(batch + self._skipped(self._epoch), logs)

    def on_test_begin(self, logs: Any = None) -> None:
        """Begins an evaluation; the steps before it are saved first."""
        if self._in_epoch:
            self._progress.epoch_logs, self._progress.ended = plain_logs(self._logs), bool(self.model.stop_training)
            self._in_epoch = False
        if self._checkpoint is not None:
            self._checkpoint.before_evaluation(changes=self._changes)
        super().on_test_begin(logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Ends an epoch; once all callbacks but the last have done so it is known whether the training has ended."""
        self._progress.epoch_logs, self._in_epoch = None, False
        self._logs = logs
        super().on_epoch_end(epoch, logs)

    # ---- inside

    def _skipped(self, epoch: int) -> int:
        """Batches of an epoch that another process has trained on."""
        first, skipped = divmod(self._resumed_at, self._progress.schedule.steps_per_epoch)
        return skipped if epoch == first else 0


def plain_logs(logs: Any) -> dict[str, Any]:
    """Metrics as numbers and arrays, as callbacks get them from Keras when an epoch ends."""
    import numpy as np

    arrays = {name: np.asarray(value) for name, value in (logs or {}).items()}
    return {name: array.item() if array.ndim == 0 else array for name, array in arrays.items()}


def _takes_part_in_evaluations(callback: Any) -> bool:
    if type(callback).__name__ == _SWAP_EMA:
        return False
    plain = tf.keras.callbacks.Callback
    return any(getattr(type(callback), name) is not getattr(plain, name) for name in _OF_EVALUATIONS)


def _restore_history(history: Any, progress: Progress) -> None:
    """Gives Keras's `model.history` the epochs that other processes have trained."""
    for number, row in enumerate(progress.history):
        history.epoch.append(number)
        for name, value in metrics_of(row).items():
            history.history.setdefault(name, []).append(value)
