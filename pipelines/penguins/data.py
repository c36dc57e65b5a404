"""The data: 344 penguins of three species, as the `palmerpenguins` package ships them, missing values and all."""

from __future__ import annotations

from pathlib import Path


def write_csv(folder: Path) -> Path:
    """Writes penguins.csv into a folder and returns its path. A missing value is an empty cell."""
    import palmerpenguins

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "penguins.csv"
    palmerpenguins.load_penguins().to_csv(path, index=False)
    return path
