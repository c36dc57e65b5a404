"""Lightning's checkpoints in folders of ours: each is whole or not there, and can be read without running code."""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from polytrainer.executors.checkpoints import Checkpoints
from polytrainer.executors.distributed import process_group
from polytrainer.executors.errors import TrainingError
from polytrainer.proto.problems import Problem

OURS = "polytrainer"  # the key, in Lightning's checkpoints, of what is ours
_FILE, _CHECKSUM = "lightning.ckpt", "checksum"


class LightningCheckpoints:
    """Checkpoints that `lightning.Trainer` writes and reads; rank 0's, while all ranks call each method.

    Args:
        folder: Where they are.
    """

    def __init__(self, folder: str | Path):
        self._checkpoints = Checkpoints(folder)
        self._seen_to_be_plain = False

    def save(self, step: int, write: Callable[[Path], None]) -> None:
        """Writes one.

        Args:
            step: Its number.
            write: Writes the file; called on every rank, as Lightning asks for it, and counts on rank 0.

        Raises:
            TrainingError: If there is no room, or if it could not be read back safely.
        """
        if process_group.rank() != 0:
            write(self._checkpoints.path(step) / _FILE)
            return
        try:
            self._checkpoints.save(step, lambda folder: self._write(write, folder))
        except OSError as error:
            got = f"a checkpoint that could not be written ({error})"
            remedy = "Once there is room, the same pipeline goes on from the one before."
            raise TrainingError(Problem(str(self._checkpoints.folder), got, "room to write it", remedy)) from error

    def newest(self) -> tuple[Path, dict[str, Any]] | None:
        """The file of the newest that is whole, and what of it is ours."""
        newest = self._checkpoints.restore(_read) if process_group.rank() == 0 else None
        return process_group.agreed(newest)  # type: ignore[no-any-return]

    def _write(self, write: Callable[[Path], None], folder: Path) -> None:
        path = folder / _FILE
        write(path)
        (folder / _CHECKSUM).write_text(str(_checksum(path)))
        if self._seen_to_be_plain:
            return
        try:
            torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            got = f"something in it that only code can make: {_gist(error)}"
            expected = "tensors, numbers, strings, and lists and dicts of them"
            remedy = "Is it a hyperparameter? save_hyperparameters(ignore=[…]) leaves it out."
            raise TrainingError(Problem("the LightningModule's checkpoint", got, expected, remedy)) from error
        self._seen_to_be_plain = True


def _read(folder: Path) -> tuple[Path, dict[str, Any]]:
    path = folder / _FILE
    if str(_checksum(path)) != (folder / _CHECKSUM).read_text():
        raise ValueError(f"{_FILE} is not what was written")
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    return path, checkpoint[OURS]


def _checksum(path: Path) -> int:
    found = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            found = zlib.crc32(block, found)
    return found


def _gist(error: Exception) -> str:
    """The line of torch's long message that names it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if "GLOBAL" in line or "global" in line), lines[0] if lines else "?")
