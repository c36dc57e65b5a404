"""The checkpoints of an Estimator: which can be resumed from, and a copy of the best one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
from absl import logging
from tfx.dsl.io import fileio
from tfx.utils import io_utils

from polytrainer.executors.checkpoints import check_variables
from polytrainer.executors.run_record import LEARNING_RATE

_BEST, _STEP = "best", re.compile(r"step-(\d+)")
_KEPT = 2  # the best one, and the one before: what was best at the checkpoint before the newest


def step_of(checkpoint: str) -> int:
    """The global step of a checkpoint."""
    return int(tf.train.load_variable(checkpoint, "global_step"))


def variables(checkpoint: str) -> Iterator[tuple[str, Any]]:
    """Names and values of a checkpoint's variables, the model's and the optimizer's."""
    reader = tf.train.load_checkpoint(checkpoint)
    for name, dtype in reader.get_variable_to_dtype_map().items():
        if dtype.is_floating:
            yield name, reader.get_tensor(name)


def learning_rates(checkpoint: str) -> dict[str, float]:
    """The learning rates that a checkpoint has: `learning_rate`, and `learning_rate_1`, … of further optimizers.

    Keras's optimizers keep them as a variable; those of `tf.compat.v1.train`, and those that follow a schedule, do not.
    One that decays with the steps is left out: its variable is the rate of the first step.
    """
    reader = tf.train.load_checkpoint(checkpoint)
    names = sorted(name for name in reader.get_variable_to_shape_map() if name.endswith(f"/{LEARNING_RATE}"))
    decays = [f"{name.removesuffix(LEARNING_RATE)}decay" for name in names]
    rates = [
        float(reader.get_tensor(name))
        for name, decay in zip(names, decays, strict=True)
        if not (reader.has_tensor(decay) and float(reader.get_tensor(decay)))
    ]
    return {f"{LEARNING_RATE}_{number}" if number else LEARNING_RATE: rate for number, rate in enumerate(rates)}


def newest_readable_step(folder: str) -> int:
    """The step of the newest checkpoint that can be read, which becomes the Estimator's latest; 0 without one."""
    state = tf.train.get_checkpoint_state(folder)
    paths = list(state.all_model_checkpoint_paths) if state else []
    for path in reversed(paths):
        try:
            step = check_variables(path)
        except Exception as error:
            logging.warning("The checkpoint %s cannot be read (%s); going back to the one before.", path, error)
            continue
        if not step:
            break  # nothing was trained yet
        kept = paths[: paths.index(path) + 1]
        tf.compat.v1.train.update_checkpoint_state(folder, path, all_model_checkpoint_paths=kept)
        return step
    if fileio.exists(folder):
        fileio.rmtree(folder)
    return 0


class BestCheckpoints:
    """Copies of checkpoints that were the best, where the Estimator does not clean them up.

    Each is a folder `best/step-<number>` that was filled beside and renamed into place: what can be seen is whole. The
    last two are kept.

    Args:
        model_dir: Of the Estimator.
    """

    def __init__(self, model_dir: str):
        self._folder = os.path.join(model_dir, _BEST)

    def copy(self, checkpoint: str, step: int) -> None:
        """Keeps a copy of the Estimator's checkpoint of a step."""
        partial, final = os.path.join(self._folder, f"partial-{step}"), os.path.dirname(self.path(step))
        for leftover in (partial, final):
            if fileio.exists(leftover):
                fileio.rmtree(leftover)
        for file in fileio.glob(f"{checkpoint}.*"):
            io_utils.copy_file(file, os.path.join(partial, os.path.basename(file)))
        fileio.rename(partial, final)

    def path(self, step: int) -> str:
        """The path of the copy of a step, as TensorFlow takes it, there or not."""
        return os.path.join(self._folder, f"step-{step}", f"model.ckpt-{step}")

    def is_readable(self, step: int) -> bool:
        """Whether there is a copy of a step, and it is not damaged."""
        try:
            check_variables(self.path(step))
        except Exception as error:
            logging.warning("The best checkpoint, %s, cannot be read (%s).", self.path(step), error)
            return False
        return True

    def prune(self, last_step: int) -> None:
        """Removes all but the newest copies, those of later steps than the last, and what was not finished."""
        names = [name.strip("/") for name in fileio.listdir(self._folder)] if fileio.exists(self._folder) else []
        steps = sorted(int(found[1]) for name in names if (found := _STEP.fullmatch(name)))
        kept = [step for step in steps if step <= last_step][-_KEPT:]
        for name in set(names) - {f"step-{step}" for step in kept}:
            fileio.rmtree(os.path.join(self._folder, name))
