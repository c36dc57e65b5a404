"""Cells of a table that are more than a value; how they look is in the style sheet."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

Tone = Literal["", "good", "bad"]  # words say the same: colours alone are not seen by all


class Gain(float):
    """A number that is shown with its sign."""


@dataclass(frozen=True)
class Heat:
    """A cell of a table that is the stronger coloured, the nearer its strength is to 1."""

    value: Any
    strength: float
    right: bool = False

    @property
    def percent(self) -> int:
        """The strength in whole percent; 0 where it is none."""
        return round(100 * min(max(self.strength, 0.0), 1.0)) if math.isfinite(self.strength) else 0


@dataclass(frozen=True)
class Badge:
    """A word that judges."""

    value: str
    tone: Tone = ""
    kind: ClassVar[str] = "badge"


@dataclass(frozen=True)
class Noted:
    """A value with something smaller below it.

    Attributes:
        value: Whatever a cell may hold.
        note: What is below it.
        tone: Of the note.
        best: Whether it is the best of its row, which is marked.
    """

    value: Any
    note: str = ""
    tone: Tone = ""
    best: bool = False
    kind: ClassVar[str] = "noted"


@dataclass(frozen=True)
class Range:
    """An interval as a bar, and the value in it as a dot; bars of one scale below each other can be compared.

    Attributes:
        interval: From low to high; None where there is none, and then nothing is drawn.
        at: The value; None where it is not defined.
        scale: What the left and the right end of the cell stand for.
        zero: Where a line is drawn from above to below, e.g. at no difference; None for none.
        color: Of the style sheet: a name in `figures.COLORS`, "good", "bad" or "muted".
        note: What is below it.
        tone: Of the note.
    """

    interval: tuple[float, float] | None
    at: float | None
    scale: tuple[float, float]
    zero: float | None = None
    color: str = "s1"
    note: str = ""
    tone: Tone = ""
    kind: ClassVar[str] = "range"

    @property
    def places(self) -> str:
        """Where what is drawn lies, as variables of the style sheet; "" where there is nothing to draw."""
        if self.interval is None or self.at is None:
            return ""
        found = {"low": self.interval[0], "high": self.interval[1], "at": self.at}
        found |= {} if self.zero is None else {"zero": self.zero}
        places = "".join(f"--{name}:{self._percent(value):.2f}%;" for name, value in found.items())
        return f"{places}--tone:var(--{self.color})"

    @property
    def said(self) -> str:
        """The same in words."""
        low, high = self.interval or (math.nan, math.nan)
        return f"{self.at:.4g}, from {low:.4g} to {high:.4g}" if self.at is not None else ""

    def _percent(self, value: float) -> float:
        low, high = self.scale
        return 100 * min(max((value - low) / (high - low), 0.0), 1.0) if high > low else 50.0
