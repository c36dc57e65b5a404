"""Decoded chunks → whole arrays, in memory as long as they fit, else in files."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from polytrainer.executors.data.columns import Column, Part
from polytrainer.executors.data.packed import Packed, parts_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

GROWTH = 1.25


class Arena:
    """One array that grows, in memory or in a file."""

    def __init__(self, part: Part) -> None:
        import numpy as np

        self._part = part
        self._dtype = np.dtype(part.stored)
        self._array = np.empty((0, *part.shape), self._dtype)
        self._length = 0
        self._last = 0  # of row splits
        self._file: BinaryIO | None = None

    @property
    def num_bytes(self) -> int:
        """Of what was appended."""
        return self._length * self._dtype.itemsize * math.prod(self._part.shape)

    def append(self, array: NDArray[Any]) -> None:
        """Adds an array; row splits go on where the last ones ended."""
        array = array.view(self._dtype)
        if self._part.splits:
            array = array[1 if self._length else 0 :] + self._last
            self._last = int(array[-1]) if len(array) else self._last
        start, self._length = self._length, self._length + len(array)
        if self._file:
            self._write(array)
            return
        if self._length > len(self._array):
            self._resize(max(self._length, int(len(self._array) * GROWTH)))
        self._array[start : self._length] = array

    def spill(self, path: Path) -> None:
        """What there is, and all that follows, goes to a file."""
        self._file = path.open("wb")
        self._write(self._array[: self._length])
        self._resize(0)

    def finish(self) -> NDArray[Any]:
        """The array, if it is in memory."""
        self._resize(self._length)
        return self._array

    def close(self) -> int:
        """Makes sure that the file is on the disk, and says how long the array is."""
        if self._file:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        return self._length

    def _write(self, array: NDArray[Any]) -> None:
        import numpy as np

        assert self._file
        if array.size:
            self._file.write(np.ascontiguousarray(array).data.cast("B"))

    def _resize(self, length: int) -> None:
        # Growing in place moves pages, where joining chunks at the end would copy all of the data
        self._array.resize((length, *self._part.shape), refcheck=False)


class Builder:
    """The arrays of a split, as its chunks come in.

    Attributes:
        columns: Of the split.
        spilled: Whether they are in files.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        """Starts in memory."""
        self.columns = tuple(columns)
        self.spilled = False
        self._arenas = [Arena(part) for part in parts_of(columns)]

    @property
    def num_bytes(self) -> int:
        """Of all that was added."""
        return sum(arena.num_bytes for arena in self._arenas)

    def add(self, arrays: Sequence[NDArray[Any]]) -> None:
        """Adds a chunk."""
        for arena, array in zip(self._arenas, arrays, strict=True):
            arena.append(array)

    def spill(self, folder: Path) -> None:
        """What there is, and all that follows, goes to files in a folder, which is made."""
        folder.mkdir(parents=True)
        for number, arena in enumerate(self._arenas):
            arena.spill(folder / f"{number}.bin")
        self.spilled = True

    def in_memory(self) -> Packed:
        """The split, if it is in memory."""
        return Packed(self.columns, [arena.finish() for arena in self._arenas])

    def close(self) -> list[int]:
        """Ends the files, and says how long each array is."""
        return [arena.close() for arena in self._arenas]
