"""The rows of a training's history beside its checkpoints: appended to, so that a checkpoint does not hold them all."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


class HistoryFile:
    """A line of JSON for each row."""

    def __init__(self, path: Path):
        self._path = path
        self._count = 0

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Adds the rows that are not there yet; those that checkpoints refer to are there at any moment."""
        lines = [json.dumps(row) + "\n" for row in rows[self._count :]]
        if not self._count:
            partial = self._path.with_suffix(".partial")
            partial.write_text("".join(lines))
            partial.replace(self._path)
        elif lines:
            with self._path.open("a") as file:
                file.writelines(lines)
        self._count = len(rows)

    def read(self, count: int) -> list[dict[str, Any]]:
        """The first rows; those after them, of steps that are taken again, go when the next are written.

        Raises:
            ValueError: If there are fewer.
        """
        lines = self._path.read_text().splitlines()[:count] if count else []
        if len(lines) < count:
            raise ValueError(f"{self._path} has {len(lines)} rows; expected {count}")
        self._count = 0  # the file is written anew, without the others
        return [json.loads(line) for line in lines]
