"""What a run leaves for people and tools to read: metrics.csv and trainer_state.json."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes all rows; a column for each name that any of them has.

    Whole each time: a resumed run has new output folders, and the rows from before belong into them too.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)


def write_state(model_run_dir: str, state: Mapping[str, Any]) -> None:
    """Writes trainer_state.json. What JSON has no form for is written as its repr."""
    path = Path(model_run_dir) / "trainer_state.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(state, indent=2, default=repr))
