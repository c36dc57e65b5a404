"""The kinds of columns a batch is made of, and how rows are taken out of those of varying length."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch

# Runs longer than this are copied one by one; shorter ones cost less as elements of one index.
LONG_RUN = 64


class Ragged(NamedTuple):
    """Rows of varying length, laid out as TensorFlow and Arrow lay them out.

    Attributes:
        values: `[total, *inner]`, the rows one after the other; another Ragged where they are ragged in turn.
            Bytes are uint8.
        row_splits: int64 `[batch + 1]`; row `i` is `values[row_splits[i] : row_splits[i + 1]]`.
    """

    values: torch.Tensor | Ragged
    row_splits: torch.Tensor


class Sparse(NamedTuple):
    """Rows of which only some elements are there.

    Attributes:
        values: `[total]`, those of row 0 first; Ragged where they are bytes.
        columns: int64 `[total]`, which element of its row each value is; `[total, rank]` for rows of more dimensions.
        row_splits: int64 `[batch + 1]`; row `i` has the values from `row_splits[i]` to `row_splits[i + 1]`.
        size: Elements in a row, with those that are not there; a tuple for rows of more dimensions.
    """

    values: torch.Tensor | Ragged
    columns: torch.Tensor
    row_splits: torch.Tensor
    size: int | tuple[int, ...]


class Part(NamedTuple):
    """One array a column is stored as: `[total, *shape]`, or the row splits of a level."""

    dtype: str
    shape: tuple[int, ...]
    splits: bool = False

    @property
    def stored(self) -> str:
        """The dtype as NumPy has it, which knows no bfloat16."""
        return "int16" if self.dtype == "bfloat16" else self.dtype


@dataclass(frozen=True)
class Column:
    """A column of a split.

    Attributes:
        name: The feature.
        dtype: Of its values, a name that NumPy, torch and TensorFlow share; uint8 for bytes.
        shape: What follows the dimension that is batched or ragged.
        levels: How many row splits stand before the values; 0 for a dense column.
        size: Of a sparse column's rows; empty for any other.
    """

    name: str
    dtype: str
    shape: tuple[int, ...] = ()
    levels: int = 0
    size: tuple[int, ...] = ()

    @property
    def dense(self) -> bool:
        """Whether every row has the same number of values."""
        return self.levels == 0

    @property
    def elements(self) -> int:
        """Values in a row of a dense column."""
        return math.prod(self.shape)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The arrays a column that is not dense is stored as: row splits, outermost first, values, columns."""
        splits = [Part("int64", (), splits=True)] * self.levels
        columns = [Part("int64", () if len(self.size) == 1 else (len(self.size),))] if self.size else []
        return (*splits, Part(self.dtype, self.shape), *columns)

    def value(self, arrays: Sequence[torch.Tensor]) -> Ragged | Sparse:
        """The column of a batch, from the arrays it is stored as."""
        values: torch.Tensor | Ragged = arrays[self.levels]
        for splits in reversed(arrays[: self.levels]):
            values = Ragged(values, splits)
        assert isinstance(values, Ragged)  # a dense column has no arrays of its own
        if not self.size:
            return values
        return Sparse(values.values, arrays[-1], values.row_splits, self.size[0] if len(self.size) == 1 else self.size)


def take(levels: int, arrays: Sequence[torch.Tensor], rows: torch.Tensor) -> list[torch.Tensor]:
    """The given rows of a column that is not dense, in the given order, as new arrays.

    Args:
        levels: How many row splits there are.
        arrays: Of the column, see `Column.parts`.
        rows: int64, which rows.
    """
    taken, beside = [], list(arrays[levels + 1 :])
    for level, splits in enumerate(arrays[:levels]):
        starts = splits.index_select(0, rows)
        lengths = splits.index_select(0, rows + 1) - starts
        new = _splits_of(lengths)
        taken.append(new)
        total = int(new[-1])
        innermost = level == levels - 1
        if innermost and not beside and total > LONG_RUN * len(rows):
            return [*taken, _runs(arrays[levels], starts.tolist(), lengths.tolist())]
        rows = (starts - new[:-1]).repeat_interleave(lengths, output_size=total)
        rows += _range(total)
        if level == 0:
            beside = [array.index_select(0, rows) for array in beside]
    return [*taken, arrays[levels].index_select(0, rows), *beside]


def cut(levels: int, arrays: Sequence[torch.Tensor], start: int, stop: int) -> list[torch.Tensor]:
    """Rows `start` to `stop` of a column that is not dense, as new arrays."""
    taken, beside = [], list(arrays[levels + 1 :])
    for level, splits in enumerate(arrays[:levels]):
        part = splits[start : stop + 1]
        start, stop = int(part[0]), int(part[-1])
        taken.append(part - start)
        if level == 0:
            beside = [array[start:stop].clone() for array in beside]
    return [*taken, arrays[levels][start:stop].clone(), *beside]


def _splits_of(lengths: torch.Tensor) -> torch.Tensor:
    splits = lengths.new_zeros(len(lengths) + 1)
    splits[1:] = lengths.cumsum(0)
    return splits


def _range(stop: int) -> torch.Tensor:
    import torch

    return torch.arange(stop)


def _runs(values: torch.Tensor, starts: list[int], lengths: list[int]) -> torch.Tensor:
    import torch

    return torch.cat([values.narrow(0, start, length) for start, length in zip(starts, lengths, strict=True)])
