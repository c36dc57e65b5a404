"""Figures of a regression: what was predicted against what was so, and what is between them."""

from __future__ import annotations

from typing import Any

from polytrainer.executors.report import figures
from polytrainer.executors.report.outcomes import Outcomes
from polytrainer.executors.report.page import Block, Facts, Figure, Figures, Table, Text

_MOST_POINTS, _MOST_VALUES, _MOST_ROWS, _BINS = 1000, 3, 30, 30
_TITLE = "Metrics of these rows"
APART = "predicted \N{MINUS SIGN} actual"


def blocks(outcomes: Outcomes) -> list[Block]:
    """All there is to see of a regression; of several values figures of the first ones."""
    width = outcomes.labels.shape[1]
    if width == 1:
        return [Facts(list(metrics(outcomes).items()), _TITLE), Figures(_drawn(outcomes, 0, ""))]
    names = [f"value {number + 1}" for number in range(width)]
    rows = [[names[number], *metrics(outcomes, number).values()] for number in range(min(width, _MOST_ROWS))]
    found: list[Block] = [Table(["", *metrics(outcomes)], rows, _TITLE)]
    for number in range(min(width, _MOST_VALUES)):
        found.append(Figures(_drawn(outcomes, number, f", {names[number]}")))
    if width > _MOST_VALUES:
        found.append(Text(f"Figures are of the first {_MOST_VALUES} of {width} values."))
    return found


def metrics(outcomes: Outcomes, number: int = 0) -> dict[str, float | None]:
    """Metrics of one of the values; R² only where labels differ."""
    import numpy as np
    from sklearn import metrics as sk

    true, said = outcomes.labels[:, number], outcomes.predicted[:, number]
    return {
        "mean absolute error": float(sk.mean_absolute_error(true, said)),
        "root mean squared error": float(np.sqrt(sk.mean_squared_error(true, said))),
        "median absolute error": float(sk.median_absolute_error(true, said)),
        "R²": float(sk.r2_score(true, said)) if len(true) > 1 and np.ptp(true) > 0 else None,
        f"mean of {APART}": float((said - true).mean()),
    }


def _drawn(outcomes: Outcomes, number: int, of: str) -> list[Figure]:
    import numpy as np

    true, said = outcomes.labels[:, number], outcomes.predicted[:, number]
    apart = said - true
    some = figures.thinned(len(true), _MOST_POINTS)
    note = f"{len(some)} of {len(true)} rows." if len(some) < len(true) else ""
    dots: dict[str, Any] = {
        "color": figures.COLORS["s1"],
        "linestyle": "",
        "marker": ".",
        "markersize": 4,
        "alpha": 0.5,
    }
    lines: dict[str, Any] = {"color": figures.COLORS["muted"], "linewidth": 0.8, "linestyle": ":"}

    def against(axes: Any) -> None:
        ends = [min(true.min(), said.min()), max(true.max(), said.max())]
        axes.plot(ends, ends, **lines)
        axes.plot(true[some], said[some], **dots)
        axes.set(xlabel="actual", ylabel="predicted")

    def residuals(axes: Any) -> None:
        axes.axhline(0, **lines)
        axes.plot(said[some], apart[some], **dots)
        axes.set(xlabel="predicted", ylabel=APART)

    def histogram(axes: Any) -> None:
        wide = np.ptp(apart) > 1e-9 * max(1.0, float(np.abs(apart).max()))
        axes.hist(apart, bins=_BINS if wide else 1, color=figures.COLORS["s1"], alpha=0.6)
        axes.set(xlabel=APART, ylabel="rows")

    return [
        figures.figure(f"Predicted against actual{of}", against, note=note),
        figures.figure(f"Residuals{of}", residuals, note=note),
        figures.figure(f"How residuals are spread{of}", histogram),
    ]
