"""Where a training that died is taken up again: folders on disk that are whole or not there."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from absl import logging

_NAME = re.compile(r"step-(\d+)")
KEPT = 2
_STATS_AT_ONCE = 16


def fingerprint(parts: Mapping[str, Any]) -> str:
    """A short name for all that a training follows from; the same parts, in whatever order, give the same name."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:32]


def data_signature(files: Iterable[str]) -> list[tuple[str, int, int]]:
    """What tells whether the data of a training were changed: size and time of change (ns) of each of its files."""
    from tensorflow.io import gfile

    names = sorted(set(files))
    with ThreadPoolExecutor(_STATS_AT_ONCE) as threads:  # each is a request, where files are in a bucket
        stats = list(threads.map(gfile.stat, names))
    return [(file, int(stat.length), int(stat.mtime_nsec)) for file, stat in zip(names, stats, strict=True)]


def check_variables(prefix: str) -> int | None:
    """Reads every variable of a TensorFlow checkpoint, so that damage is found while nothing is overwritten yet.

    Args:
        prefix: Path of the checkpoint without the endings of its files.

    Returns:
        Its global step; None if it has none (an Estimator's has).

    Raises:
        tf.errors.OpError: If it is damaged or not whole.
    """
    import tensorflow as tf

    reader = tf.train.load_checkpoint(prefix)
    names = reader.get_variable_to_shape_map()
    for name in names:
        reader.get_tensor(name)
    return int(reader.get_tensor("global_step")) if "global_step" in names else None


def remove_checkpoints(folder: str | None) -> None:
    """Removes all checkpoints of a training: it is over, or is to start afresh."""
    if folder:
        Checkpoints(folder).remove()


class Checkpoints:
    """The checkpoints of one training, newest last.

    Each is a folder `step-<number>` that a writer has filled beside it and that was renamed into place: what can be
    seen is whole. A folder that was still being filled when the process died is swept away by the next one.

    Attributes:
        folder: Where they are.
        keep: How many of the newest are kept.
    """

    def __init__(self, folder: str | Path, keep: int = KEPT):
        self.folder, self.keep = Path(folder), keep

    def save(self, step: int, write: Callable[[Path], None]) -> Path:
        """Adds a checkpoint and drops all but the newest.

        Args:
            step: Its number; one that exists already is replaced.
            write: Fills an empty folder.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        partial, final = self.folder / f"partial-{step}", self.path(step)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            write(partial)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        replaced = self._replaced(step)
        if final.exists():
            final.rename(replaced)  # not removed yet: a process that is killed here must not leave neither of them
        partial.rename(final)
        shutil.rmtree(replaced, ignore_errors=True)
        for old in self.steps()[: -self.keep]:
            shutil.rmtree(self.path(old), ignore_errors=True)
        return final

    def restore(self, read: Callable[[Path], Any]) -> Any | None:
        """Reads the newest checkpoint that can be read.

        Args:
            read: Takes a folder, returns what it makes of it (not None), or raises.

        Returns:
            What `read` returned; None if there is no checkpoint that can be read.
        """
        for partial in self.folder.glob("partial-*"):
            logging.warning("%s was not finished when its process died; it is removed.", partial)
            shutil.rmtree(partial, ignore_errors=True)
        self._take_back_replaced()
        for step in reversed(self.steps()):
            try:
                return read(self.path(step))
            except Exception as error:
                logging.warning(
                    "The checkpoint %s cannot be read (%s: %s); going back to the one before.",
                    self.path(step),
                    type(error).__name__,
                    error,
                )
        return None

    def _replaced(self, step: int) -> Path:
        return self.folder / f"replaced-{step:08}"

    def _take_back_replaced(self) -> None:
        """Of a step that was being replaced when its process died, the one or the other stays."""
        for replaced in self.folder.glob("replaced-*"):
            final = self.path(int(replaced.name.removeprefix("replaced-")))
            if final.exists():
                shutil.rmtree(replaced, ignore_errors=True)
            else:
                replaced.rename(final)

    def steps(self) -> list[int]:
        """Steps of the checkpoints there are, ascending."""
        names = (_NAME.fullmatch(path.name) for path in self.folder.glob("step-*"))
        return sorted(int(name[1]) for name in names if name)

    def remove(self) -> None:
        """Removes them all, and the folder: by one rename, so that no process that is killed here leaves half of it."""
        removed = self.folder.with_name(f"removed-{self.folder.name}")
        shutil.rmtree(removed, ignore_errors=True)  # of a process that was
        with suppress(FileNotFoundError):
            self.folder.rename(removed)
        shutil.rmtree(removed, ignore_errors=True)

    def path(self, step: int) -> Path:
        """The folder of a step's checkpoint, there or not."""
        return self.folder / f"step-{step:08}"
