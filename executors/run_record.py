"""What a run leaves for people and tools to read: metrics.csv and trainer_state.json.

On any file system that TensorFlow knows; TFX is not needed for it, so that a training can run without.
"""

from __future__ import annotations

import csv
import io
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

LEARNING_RATE = "learning_rate"
_POSITION = ("step", "epoch")


def metrics_of(row: Mapping[str, float]) -> dict[str, float]:
    """The metrics of a row of a training's history: all but where it was measured and at which learning rate.

    Args:
        row: Has `step` and `epoch`, and `learning_rate` (`learning_rate_1` and so on of further parameter groups).
    """
    return {name: value for name, value in row.items() if name not in _POSITION and not is_learning_rate(name)}


def is_learning_rate(column: str) -> bool:
    """Whether a column of a training's history holds the learning rate of a parameter group."""
    number = column.removeprefix(LEARNING_RATE)
    return not number or (number != column and number.startswith("_") and number[1:].isdecimal())


def write_csv(path: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes all rows; a column for each name that any of them has.

    Whole each time: a resumed run has new output folders, and the rows from before belong into them too.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)))
    writer.writeheader()
    writer.writerows(rows)
    write(path, text.getvalue().encode())


class MetricsCsv:
    """A metrics.csv that grows with the history of a training: new rows are appended.

    It is written whole when it is begun, as a resumed run has new output folders and the rows from before belong into
    them too, and when a row has a column that none before had.

    Args:
        path: Of the file, on any file system that TensorFlow knows.
    """

    def __init__(self, path: str):
        self._path = path
        self._columns: list[str] = []
        self._count = 0

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Brings the file up to the rows, of which those that were written before are still the first ones."""
        from tensorflow.io import gfile

        new = rows[self._count :]
        columns = dict.fromkeys(name for row in new for name in row)
        if not self._count or len(rows) < self._count or not set(columns) <= set(self._columns):
            self._columns = list(dict.fromkeys(name for row in rows for name in row))
            write_csv(self._path, rows)
        elif new:
            text = io.StringIO(newline="")
            csv.DictWriter(text, self._columns).writerows(new)
            with gfile.GFile(self._path, "ab") as file:
                file.write(text.getvalue().encode())
        self._count = len(rows)


class Throttle:
    """Lets something through that takes longer the longer a training gets, so seldom that it costs little of its time.

    Args:
        share: Of the time, that it may take at most.
        interval: Seconds between two times, at least.
    """

    def __init__(self, share: float = 0.01, interval: float = 5.0):
        self._share, self._interval = share, interval
        self._next = 0.0

    def call(self, function: Callable[[], None]) -> None:
        """Calls the function if it is time to."""
        started = time.monotonic()
        if started < self._next:
            return
        function()
        now = time.monotonic()
        self._next = now + max(self._interval, (now - started) / self._share)


def write_state(model_run_dir: str, state: Mapping[str, Any]) -> None:
    """Writes trainer_state.json. What JSON has no form for is written as its repr."""
    write(os.path.join(model_run_dir, "trainer_state.json"), json.dumps(state, indent=2, default=repr).encode())


def write_file(path: str, local: str) -> None:
    """Writes what a local file holds, as `write` does, without reading all of it into memory."""
    from tensorflow.io import gfile

    gfile.makedirs(os.path.dirname(path))
    gfile.copy(local, f"{path}.partial", overwrite=True)
    gfile.rename(f"{path}.partial", path, overwrite=True)


def write(path: str, content: bytes) -> None:
    """Writes a file, and the folders above it; whoever looks at it sees all of it, or what was there before."""
    from tensorflow.io import gfile

    gfile.makedirs(os.path.dirname(path))
    with gfile.GFile(f"{path}.partial", "wb") as file:
        file.write(content)
    gfile.rename(f"{path}.partial", path, overwrite=True)
