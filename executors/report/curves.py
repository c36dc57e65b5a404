"""Learning curves: what training and evaluations said from step to step."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

from polytrainer.executors.report import figures
from polytrainer.executors.report.page import Block, Figure, Figures, Legend, Text
from polytrainer.executors.run_record import is_learning_rate

Row = Mapping[str, float]
_VALIDATION = "val_"
_MOST_FIGURES, _MOST_POINTS = 18, 1000


def read_csv(text: str) -> list[dict[str, float]]:
    """The rows of a metrics.csv; a cell without a number is left out."""
    return [
        {name: number for name, cell in row.items() if name and (number := _number(cell)) is not None}
        for row in csv.DictReader(io.StringIO(text))
    ]


def curves(rows: Sequence[Row], best_step: int | None, *, all_of_evaluations: bool = False) -> list[Block]:
    """A figure for the loss and for each metric.

    Args:
        rows: With a `step`; metrics of evaluations are called `val_<metric>`, or `val_<split>.<metric>`.
        best_step: Whose weights became the model; None: the last step's.
        all_of_evaluations: Whether all metrics are those of evaluations, whatever they are called.
    """
    metrics: dict[str, dict[str, str]] = {}
    for column in dict.fromkeys(name for row in rows for name in row if name not in ("step", "epoch")):
        metric, who = _metric_of(column, all_of_evaluations)
        metrics.setdefault(metric, {})[who] = column
    # the loss and its parts first, learning rates last, else in their order
    names = sorted(metrics, key=lambda name: (name != "loss", is_learning_rate(name), "loss" not in name))
    drawn = [_figure(name, metrics[name], rows, best_step) for name in names[:_MOST_FIGURES]]
    found: list[Block] = [Figures(list(filter(None, drawn)))] if any(drawn) else []
    empty = [name for name, each in zip(names, drawn, strict=False) if each is None]
    if empty:
        found.append(Text(f"Never a finite number: {', '.join(empty)}."))
    if len(names) > _MOST_FIGURES:
        found.append(Text(f"Not drawn, but in logs/metrics.csv: {', '.join(names[_MOST_FIGURES:])}."))
    return found


def _metric_of(column: str, of_evaluations: bool) -> tuple[str, str]:
    if not column.startswith(_VALIDATION):
        return column, "evaluation" if of_evaluations and not is_learning_rate(column) else "training"
    split, dot, metric = column.removeprefix(_VALIDATION).rpartition(".")
    return metric, f"evaluation of {split}" if dot else "evaluation"


def _figure(metric: str, columns: Mapping[str, str], rows: Sequence[Row], best_step: int | None) -> Figure | None:
    series = {who: _points(column, rows) for who, column in columns.items()}
    series = {who: points for who, points in series.items() if any(math.isfinite(y) for _, y in points)}
    if not series:
        return None
    order = sorted(series, key=lambda who: (who != "training", who != "evaluation"))[: len(figures.SERIES)]
    colors = dict(zip(order, figures.SERIES if "training" in series else figures.SERIES[1:], strict=False))

    def draw(axes: Any) -> None:
        for who, color in colors.items():
            x, y = zip(*series[who], strict=True)
            figures.line(axes, x, y, color, dashed=who == "training")
        if best_step is not None:
            axes.axvline(best_step, color=figures.COLORS["best"], linewidth=1)
        axes.set_xlabel("step")
        axes.xaxis.get_major_locator().set_params(integer=True)

    legend = [Legend(who, color, "dashed" if who == "training" else "solid") for who, color in colors.items()]
    if best_step is not None:
        legend.append(Legend(f"best step, {best_step}", "best"))
    gaps = sum(not math.isfinite(y) for points in series.values() for _, y in points)
    return figures.figure(metric, draw, legend, f"{gaps} points are not finite." if gaps else "")


def _points(column: str, rows: Sequence[Row]) -> list[tuple[float, float]]:
    """A curve's points, not too many; what is not finite is a gap."""
    found = [(row.get("step", place + 1), row[column]) for place, row in enumerate(rows) if column in row]
    some = [found[place] for place in figures.thinned(len(found), _MOST_POINTS)]
    return [(x, y if math.isfinite(y) else math.nan) for x, y in some]


def _number(cell: object) -> float | None:
    try:
        return float(cell)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
