"""The parts that a page is built of, and how they become HTML; they know nothing of trainings.

Whatever is put into them is text and is escaped, but for a figure's own SVG.
"""

from __future__ import annotations

import numbers
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

from polytrainer.executors.report.cells import Badge, Gain, Heat, Tone

_LONGEST = 400  # characters of a value


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    kind: ClassVar[str] = "text"


@dataclass(frozen=True)
class Facts:
    """Names and values, one below the other."""

    pairs: Sequence[tuple[str, Any]]
    title: str = ""
    kind: ClassVar[str] = "facts"


@dataclass(frozen=True)
class Table:
    """Rows below a header.

    Attributes:
        header: A name for each column.
        rows: Values, numbers among them; or what `cells` has.
        title: What is above it.
        note: What is below it.
        names_rows: Whether the first column says what each row is.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[Any]]
    title: str = ""
    note: str = ""
    names_rows: bool = True
    kind: ClassVar[str] = "table"

    @property
    def numeric(self) -> list[bool]:
        """Whether a column holds numbers only, which then stand below each other."""
        cells = [
            [getattr(row[column], "value", row[column]) for row in self.rows] for column in range(len(self.header))
        ]
        return [all(value is None or isinstance(value, numbers.Number) for value in column) for column in cells]


@dataclass(frozen=True)
class Legend:
    """What a colour of a figure stands for: `color` is a key of `figures.COLORS`."""

    name: str
    color: str
    line: str = "solid"


@dataclass(frozen=True)
class Figure:
    """A drawing.

    Attributes:
        title: What it shows.
        svg: An SVG element of our own making (`figures.svg`); the one thing on a page that is not escaped.
        legend: What its colours stand for.
        note: What is below it.
    """

    title: str
    svg: str
    legend: Sequence[Legend] = ()
    note: str = ""


@dataclass(frozen=True)
class Figures:
    """Drawings beside each other, as many as there is room for."""

    figures: Sequence[Figure]
    title: str = ""
    kind: ClassVar[str] = "figures"


@dataclass(frozen=True)
class Card:
    """Something with a title, a line and facts; and maybe a word that judges it."""

    title: str
    line: str
    pairs: Sequence[tuple[str, Any]]
    badge: Badge | None = None


@dataclass(frozen=True)
class Cards:
    """Cards, as many beside each other as there is room for."""

    cards: Sequence[Card]
    title: str = ""
    note: str = ""
    kind: ClassVar[str] = "cards"


@dataclass(frozen=True)
class Beside:
    """Tables beside each other, as many as there is room for."""

    tables: Sequence[Table]
    title: str = ""
    note: str = ""
    kind: ClassVar[str] = "beside"


Block: TypeAlias = Text | Facts | Table | Beside | Figures | Cards


@dataclass(frozen=True)
class Callout:
    """What has to be said first."""

    title: str
    lines: Sequence[str]
    tone: Tone = ""


@dataclass(frozen=True)
class Section:
    """A heading, and what is below it."""

    title: str
    blocks: Sequence[Block]

    @property
    def anchor(self) -> str:
        """Its address on the page."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


@dataclass(frozen=True)
class Page:
    """A whole page.

    Attributes:
        title: Of the window, and the heading.
        subtitle: Below it.
        headline: The numbers that come first.
        sections: Those without a block are left out.
        callout: What is said before them; None where the numbers come first.
    """

    title: str
    subtitle: str
    headline: Sequence[tuple[str, Any]]
    sections: Sequence[Section] = field(default_factory=list)
    callout: Callout | None = None

    def html(self) -> str:
        """The page as one self-contained document."""
        import jinja2

        from polytrainer.executors.report.style import STYLE, TEMPLATE

        environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
        environment.filters["shown"] = shown
        filled = [section for section in self.sections if section.blocks]
        return environment.from_string(TEMPLATE).render(page=self, sections=filled, style=STYLE)


def shown(value: Any) -> str:
    """A value as people read it: numbers with four digits that count, words cut where they are long."""
    if isinstance(value, Heat):
        value = value.value
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, numbers.Integral):
        return f"{int(value):,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    if isinstance(value, Gain):
        return f"{float(value):+.4g}".replace("nan", "NaN")
    if isinstance(value, numbers.Real):
        return f"{float(value):.4g}".replace("nan", "NaN")
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text)} characters)"
