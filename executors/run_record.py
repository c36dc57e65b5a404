"""What a run leaves for people and tools to read: metrics.csv and trainer_state.json.

On any file system that TensorFlow knows; TFX is not needed for it, so that a training can run without.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any


def write_csv(path: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes all rows; a column for each name that any of them has.

    Whole each time: a resumed run has new output folders, and the rows from before belong into them too.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)))
    writer.writeheader()
    writer.writerows(rows)
    write(path, text.getvalue().encode())


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
