"""`polytrainer compare`: the metrics of runs side by side, and what they were told differently."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from polytrainer.pipelines.cli import options as options_lib
from polytrainer.pipelines.cli import side_by_side, terminal
from polytrainer.pipelines.cli.side_by_side import Row
from polytrainer.pipelines.cli.terminal import Column, number
from polytrainer.pipelines.errors import MetadataError
from polytrainer.proto.problems import Problem

if TYPE_CHECKING:
    from polytrainer.pipelines.metadata import Run

_BEST = "*"


def add_to(subcommands: Any) -> None:
    """Adds the command."""
    parser = subcommands.add_parser("compare", help="show two runs or more side by side", description=__doc__)
    parser.add_argument("first", metavar="RUN", help="a run's number, as `polytrainer runs` shows it, or a unique "
                        "beginning of the name of its execution or of its pipeline's run")  # fmt: skip
    parser.add_argument("others", metavar="RUN", nargs="+", help="more of them, which are compared with the first")
    options_lib.add_metadata(parser)
    parser.set_defaults(call=show)


def show(options: argparse.Namespace) -> None:
    """Prints the comparison."""
    from polytrainer.pipelines.metadata import find
    from polytrainer.pipelines.metadata_connection import connect

    store = connect(options.metadata)
    runs = [find(store, wanted) for wanted in (options.first, *options.others)]
    twice = sorted({run.id for run in runs if sum(run.id == other.id for other in runs) > 1})
    if twice:
        raise MetadataError(Problem("run", f"{', '.join(map(str, twice))} more than once", "different runs"))
    metrics, costs = side_by_side.metrics(runs), side_by_side.costs(runs)
    differing = side_by_side.arguments_that_differ(runs)
    print(_json(runs, metrics, costs, differing) if options.json else _text(runs, metrics, costs, differing))


def _json(runs: Sequence[Run], metrics: Sequence[Row], costs: Sequence[Row], differing: Mapping[str, Any]) -> str:
    def of(rows: Sequence[Row]) -> dict[str, Any]:
        return {
            row.name: {
                "values": row.values,
                "differences": row.differences,
                "best": [runs[place].id for place in row.best],
            }
            for row in rows
        }

    told = {"runs": [run.id for run in runs], "metrics": of(metrics), "costs": of(costs), "differing": differing}
    return options_lib.as_json(told)


def _text(runs: Sequence[Run], metrics: Sequence[Row], costs: Sequence[Row], differing: Mapping[str, Any]) -> str:
    facts = {
        "started (UTC)": [f"{run.started:%Y-%m-%d %H:%M}" for run in runs],
        "pipeline": [run.pipeline for run in runs],
        "node": [run.node for run in runs],
        "state": [run.state for run in runs],
        "framework": [" ".join(filter(None, (run.framework, run.framework_version))) for run in runs],
    }
    measured = {row.name: _cells(row) for row in (*metrics, *costs) if any(each is not None for each in row.values)}
    told = {name: ["" if value is None else _shown(value) for value in values] for name, values in differing.items()}
    heads = [f"run {run.id}" for run in runs]
    sections = [_blocks("", heads, facts), _blocks("metric", heads, measured), _blocks("told differently", heads, told)]
    legend = f"{_BEST} best; (in brackets) the difference to run {runs[0].id}"
    if not measured:
        sections[1], legend = "no metric in any of them", ""
    if not told:
        sections[2] = "nothing was told differently"
    return "\n\n".join(filter(None, (sections[0], sections[1], legend, sections[2])))


def _cells(row: Row) -> list[str]:
    cells = []
    for place, (value, difference) in enumerate(zip(row.values, row.differences, strict=True)):
        mark = f" {_BEST}" if place in row.best else ""
        apart = f" ({_signed(difference)})" if place and difference is not None else ""
        shown = number(value)
        cells.append(f"{shown}{apart}{mark}")
    return cells


def _signed(difference: float) -> str:
    return "=" if difference == 0 else f"{'+' if difference > 0 else ''}{number(difference)}"


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _blocks(title: str, heads: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    """A table; several, one below the other, each with the first run, where the terminal has no room for one."""
    limit, places = terminal.width(), list(range(1, len(heads)))
    names = Column(title, list(rows), rank=-2, cut="end", least=16)

    def column(place: int) -> Column:
        cells = [cells[place] or terminal.NOTHING for cells in rows.values()]
        return Column(heads[place], cells, place, cut="end", least=20)

    blocks = []
    while places:
        shown = places
        while len(shown) > 1 and terminal.table([names, column(0), *map(column, shown)], limit)[1]:
            shown = shown[:-1]
        blocks.append(terminal.table([names, column(0), *map(column, shown)], limit)[0])
        places = places[len(shown) :]
    return "\n\n".join(blocks)
