"""Figures of a regression, all models in each or beside each other on the same scale."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from polytrainer.executors.report import figures
from polytrainer.executors.report.outcomes import Outcomes
from polytrainer.executors.report.page import Block, Figure, Figures, Legend, Table, Text
from polytrainer.executors.report.regression import APART, metrics

_MOST_POINTS, _BINS = 600, 40


def blocks(outcomes: Mapping[str, Outcomes], colors: Mapping[str, str]) -> list[Block]:
    """All there is to draw of values; of several values figures of the first one."""
    drawn = {name: outcomes[name] for name in colors}
    width = next(iter(outcomes.values())).labels.shape[1]
    of = "" if width == 1 else ", value 1"
    told = {name: metrics(each) for name, each in outcomes.items()}
    rows = [[metric, *(each[metric] for each in told.values())] for metric in next(iter(told.values()))]
    found: list[Block] = [Text(f"Figures are of the first of {width} values.")] if width > 1 else []
    found.append(Figures([_spread(drawn, colors, of), _shares(drawn, colors, of)]))
    found.append(Figures(_against(drawn, colors, of)))
    found.append(Figures(_residuals(drawn, colors, of)))
    return [*found, Table(["", *outcomes], rows, f"Metrics of these rows{of}")]


def _apart(outcomes: Outcomes) -> Any:
    return outcomes.predicted[:, 0] - outcomes.labels[:, 0]


def _legend(colors: Mapping[str, str]) -> list[Legend]:
    return [Legend(name, color) for name, color in colors.items()]


def _spread(outcomes: Mapping[str, Outcomes], colors: Mapping[str, str], of: str) -> Figure:
    """How residuals are spread: outlines, since bars of several models would hide each other."""
    import numpy as np

    everything = np.concatenate([_apart(each) for each in outcomes.values()])
    low, high = np.quantile(everything, (0.001, 0.999))
    room = max(high - low, 1e-9 * max(1.0, abs(float(high)))) * 0.02
    edges = np.linspace(low - room, high + room, _BINS + 1)

    def draw(axes: Any) -> None:
        axes.axvline(0, color=figures.COLORS["muted"], linewidth=0.8, linestyle=":")
        for name, color in colors.items():
            counts, _ = np.histogram(np.clip(_apart(outcomes[name]), edges[0], edges[-1]), edges)
            axes.stairs(counts, edges, color=figures.COLORS[color], linewidth=1.5)
        axes.set(xlabel=APART, ylabel="rows")

    return figures.figure(f"How residuals are spread{of}", draw, _legend(colors))


def _shares(outcomes: Mapping[str, Outcomes], colors: Mapping[str, str], of: str) -> Figure:
    """The share of rows with at most so large an error.

    J. Bi, K. Bennett: Regression Error Characteristic Curves, ICML 2003.
    """
    import numpy as np

    most = max(float(np.quantile(np.abs(_apart(each)), 0.99)) for each in outcomes.values())

    def draw(axes: Any) -> None:
        for name, color in colors.items():
            errors = np.sort(np.abs(_apart(outcomes[name])))
            some = figures.thinned(len(errors), _MOST_POINTS)
            axes.plot(errors[some], (some + 1) / len(errors), color=figures.COLORS[color])
        axes.set(xlabel="absolute error", ylabel="share of rows with at most that", ylim=(0, 1.02))
        axes.set_xlim(0, most * 1.02 or 1.0)

    return figures.figure(f"Errors: the higher, the better{of}", draw, _legend(colors))


def _against(outcomes: Mapping[str, Outcomes], colors: Mapping[str, str], of: str) -> list[Figure]:
    """What each model predicted against what was so."""
    values = [part[:, 0] for each in outcomes.values() for part in (each.labels, each.predicted)]
    ends = _ends(*values)
    found = []
    for name, color in colors.items():
        each = outcomes[name]

        def draw(axes: Any, each: Outcomes = each, color: str = color) -> None:
            axes.plot(ends, ends, color=figures.COLORS["muted"], linewidth=0.8, linestyle=":")
            _dots(axes, each.labels[:, 0], each.predicted[:, 0], color)
            axes.set(xlabel="actual", ylabel="predicted", xlim=ends, ylim=ends)

        found.append(figures.figure(f"Predicted against actual{of}: {name}", draw))
    return found


def _residuals(outcomes: Mapping[str, Outcomes], colors: Mapping[str, str], of: str) -> list[Figure]:
    """How far off each model is, by what it predicted."""
    wide, high = _ends(*(each.predicted[:, 0] for each in outcomes.values())), _ends(*map(_apart, outcomes.values()))
    found = []
    for name, color in colors.items():
        each = outcomes[name]

        def draw(axes: Any, each: Outcomes = each, color: str = color) -> None:
            axes.axhline(0, color=figures.COLORS["muted"], linewidth=0.8, linestyle=":")
            _dots(axes, each.predicted[:, 0], _apart(each), color)
            axes.set(xlabel="predicted", ylabel=APART, xlim=wide, ylim=high)

        found.append(figures.figure(f"Residuals{of}: {name}", draw))
    return found


def _dots(axes: Any, x: Any, y: Any, color: str) -> None:
    some = figures.thinned(len(x), _MOST_POINTS)
    axes.plot(x[some], y[some], color=figures.COLORS[color], linestyle="", marker=".", markersize=4, alpha=0.5)


def _ends(*values: Any) -> tuple[float, float]:
    """From the least to the largest of all values, with some room."""
    low, high = min(float(each.min()) for each in values), max(float(each.max()) for each in values)
    room = (high - low) * 0.03 or 1.0
    return low - room, high + room
