"""The data: 344 penguins of three species, as the `palmerpenguins` package ships them, missing values and all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from polytrainer.pipelines.penguins.features import LABEL


def write_csv(folder: Path) -> Path:
    """Writes penguins.csv into a folder and returns its path. A missing value is an empty cell."""
    import palmerpenguins

    return _written(palmerpenguins.load_penguins(), folder)


def write_unlabelled_csv(folder: Path) -> Path:
    """Writes penguins.csv without the species: penguins that nobody has named yet."""
    import palmerpenguins

    return _written(palmerpenguins.load_penguins().drop(columns=[LABEL]), folder)


def _written(table: Any, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "penguins.csv"
    table.to_csv(path, index=False)
    return path
