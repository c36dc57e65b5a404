"""Plain tables as wide as the terminal."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

_GAP = "  "
NOTHING = "-"
_MORE = "…"
_UNLIMITED = 1_000_000


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: Its head; is cut where the cells are narrower.
        cells: A text for each row; empty where there is nothing to say.
        rank: Columns with higher ones are left out first, where there is no room for all.
        cut: Which end of a text is cut where there is no room for all of it; None: it is whole, or left out.
        least: The width, in characters, under which cut texts say too little to be shown; so, too, for the title.
        right: Whether cells stand at the right, as numbers do.
    """

    title: str
    cells: Sequence[str]
    rank: int = 0
    cut: Literal["start", "end"] | None = None
    least: int = 8
    right: bool = False

    @property
    def natural(self) -> int:
        """The width at which nothing is cut."""
        return max(len(self.title), self._of_cells)

    @property
    def narrowest(self) -> int:
        """The width under which it is not shown."""
        of_cells = self._of_cells if self.cut is None else min(self.least, self._of_cells)
        return max(of_cells, min(self.least, len(self.title)))

    @property
    def _of_cells(self) -> int:
        return max(map(len, self.cells), default=0)


def width() -> int:
    """The terminal's, in characters; there is no limit where the output goes to a file or a pipe."""
    return shutil.get_terminal_size((_UNLIMITED, 0)).columns


def table(columns: Sequence[Column], limit: int = _UNLIMITED) -> tuple[str, list[str]]:
    """Lays a table out.

    Args:
        columns: From left to right; those without any cell that says something are not shown.
        limit: Characters in a line.

    Returns:
        The table, and the titles of what was left out for want of room.
    """
    told = [column for column in columns if any(column.cells)]
    shown: list[Column] = []
    for column in sorted(told, key=lambda each: each.rank):
        if sum(each.narrowest + len(_GAP) for each in shown) + column.narrowest <= limit or not shown:
            shown.append(column)
    spare = limit - sum(each.narrowest for each in shown) - len(_GAP) * (len(shown) - 1)
    widths = {}
    for column in shown:  # by rank: the most important one is the first to get all it wants
        widths[id(column)] = column.narrowest + max(min(spare, column.natural - column.narrowest), 0)
        spare -= widths[id(column)] - column.narrowest
    in_order = [column for column in told if id(column) in widths]
    laid = [_lines(column, widths[id(column)]) for column in in_order]
    lines = [_GAP.join(row).rstrip() for row in zip(*laid, strict=True)]
    return "\n".join(lines), [column.title for column in told if id(column) not in widths]


def number(value: float | None) -> str:
    """A number in as few characters as tell it apart from others of its kind; nothing for None."""
    if value is None:
        return ""
    if isinstance(value, int) or not math.isfinite(value):
        return str(value)
    return f"{value:.4g}"


def _lines(column: Column, size: int) -> list[str]:
    cells = [_cut(_printable(cell) or NOTHING, size, column.cut or "end") for cell in column.cells]
    aligned = [cell.rjust(size) if column.right else cell.ljust(size) for cell in cells]
    title = _cut(column.title, size, "end")
    return [title.rjust(size) if column.right else title.ljust(size), "-" * size, *aligned]


def _cut(text: str, size: int, where: Literal["start", "end"]) -> str:
    if len(text) <= size:
        return text
    return text[: size - 1] + _MORE if where == "end" else _MORE + text[len(text) - size + 1 :]


def _printable(text: str) -> str:
    """Names may hold what would move the cursor."""
    return "".join(each if each.isprintable() else "?" for each in text)
