"""Drawings for a page: Matplotlib's, as SVG elements whose colours are the page's own, light or dark."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from polytrainer.executors.report.page import Figure, Legend

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

SERIES = ("s1", "s2", "s3", "s4", "s5", "s6")
# Matplotlib is told colours that nothing else has; in what it draws they become variables of the style sheet
COLORS = {name: f"#0{place:x}0b0c" for place, name in enumerate(("fg", "muted", "grid", *SERIES, "best"))}
_SIZE = (3.6, 2.5)  # inches: 320 px of a phone show the 8 points of a label as 10 px
_STYLE = {
    "svg.fonttype": "none",  # text stays text, in the page's font
    "svg.hashsalt": "polytrainer",
    "text.parse_math": False,
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": COLORS["muted"],
    "axes.labelcolor": COLORS["muted"],
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "axes.formatter.use_mathtext": False,
    "grid.color": COLORS["grid"],
    "grid.linewidth": 0.6,
    "text.color": COLORS["fg"],
    "xtick.color": COLORS["muted"],
    "ytick.color": COLORS["muted"],
    "lines.linewidth": 1.5,
    "axes.unicode_minus": True,
}


def figure(
    title: str,
    draw: Callable[[Any], None],
    legend: Sequence[Legend] = (),
    note: str = "",
    *,
    rows: Sequence[int] = (1,),
) -> Figure:
    """Draws a figure.

    Args:
        title: What it shows.
        draw: Is given Matplotlib's Axes; a list of them, where there are several rows. No word that comes from data
            belongs into it: those are for the title and the legend, where they wrap.
        legend: What its colours stand for.
        note: What is below it.
        rows: Relative heights of Axes above each other, which share what is from left to right.
    """
    with _canvas(rows) as (drawn, axes):
        draw(axes if len(rows) > 1 else axes[0])
        return Figure(title, svg(drawn, title), legend, note)


def line(axes: Any, x: ArrayLike, y: ArrayLike, color: str, *, dashed: bool = False) -> None:
    """Draws a line; points, too, where they are few."""
    import numpy as np

    few = np.size(x) <= 12  # noqa: PLR2004
    axes.plot(x, y, color=COLORS[color], linestyle="--" if dashed else "-", marker="o" if few else "", markersize=3)


def svg(drawn: Any, title: str) -> str:
    """A drawing as an SVG element that stands among others on a page."""
    from markupsafe import escape

    text = io.StringIO()
    drawn.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    found = text.getvalue()
    found = found[found.index("<svg") :]
    found = re.sub(r"<metadata>.*?</metadata>", "", found, flags=re.DOTALL)
    for name, color in COLORS.items():
        found = found.replace(color, f"var(--{name})")
    # names of parts must be those of this drawing only
    prefix = f"{re.sub('[^a-z0-9]+', '-', title.lower())}-{_checksum(title)}-"
    found = re.sub(r'(\sid="|href="#|url\(#)', lambda match: match[1] + prefix, found)
    [box] = re.findall(r'viewBox="[^"]*"', found)[:1]
    return f'<svg {box} role="img" aria-label="{escape(title)}">' + found[found.index(">") + 1 :].strip()


def thinned(count: int, most: int) -> Any:
    """Places of at most `most` of `count` points, the first and the last among them."""
    import numpy as np

    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)) if count else np.arange(0)


@contextmanager
def _canvas(rows: Sequence[int]) -> Iterator[tuple[Any, Any]]:
    """A figure of its own, which no state of pyplot knows, as no user's style does."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as Drawing

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        drawn = Drawing(figsize=(_SIZE[0], _SIZE[1] * (1.25 if len(rows) > 1 else 1)), layout="constrained")
        FigureCanvasSVG(drawn)
        axes = drawn.subplots(len(rows), sharex=True, squeeze=False, height_ratios=rows)[:, 0]
        yield drawn, axes


def _checksum(title: str) -> str:
    import zlib

    return f"{zlib.crc32(title.encode()):08x}"
