"""`polytrainer runs`: what Trainers have done, newest first."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING, Any

from polytrainer.executors import timings
from polytrainer.pipelines.cli import options as options_lib
from polytrainer.pipelines.cli import terminal
from polytrainer.pipelines.cli.terminal import Column, number

if TYPE_CHECKING:
    from polytrainer.pipelines.metadata import Run

_SHOWN = 20
_FIRST = 2  # metrics that are more important than most of what is told besides


def add_to(subcommands: Any) -> None:
    """Adds the command."""
    parser = subcommands.add_parser("runs", help="list the runs of Trainers, newest first", description=__doc__)
    options_lib.add_metadata(parser)
    parser.add_argument("--pipeline", metavar="NAME", help="only those of this pipeline")
    parser.add_argument("--node", metavar="ID", help="only those of nodes of this id, e.g. Trainer.torch")
    parser.add_argument(
        "--limit",
        type=_limit,
        metavar="N",
        help=f"at most so many; 0: all of them (default: {_SHOWN} in a table, all with --json)",
    )
    parser.set_defaults(call=show)


def show(options: argparse.Namespace) -> None:
    """Prints them."""
    from polytrainer.pipelines.metadata import runs
    from polytrainer.pipelines.metadata_connection import connect

    store = connect(options.metadata)
    limit = (0 if options.json else _SHOWN) if options.limit is None else options.limit
    found = list(islice(runs(store, options.pipeline, options.node), limit + 1 if limit else None))
    listed = found[:limit] if limit else found
    if options.json:
        print(options_lib.as_json([asdict(run) for run in listed]))
        return
    if not listed:
        print(_none(options))
        return
    shown, left_out = terminal.table(_columns(listed), terminal.width())
    print(shown)
    if left_out:
        print(f"\nno room for: {', '.join(left_out)} (a wider terminal or --json has them)")
    if len(found) > len(listed):
        print(f"\nthe newest {len(listed)}; --limit 0 lists all")


def _columns(runs: Sequence[Run]) -> list[Column]:
    one_pipeline = len({run.pipeline for run in runs}) == 1
    return [
        Column("run", [str(run.id) for run in runs], rank=0, right=True),
        Column("started (UTC)", [f"{run.started:%Y-%m-%d %H:%M}" for run in runs], rank=2),
        Column("pipeline", [run.pipeline for run in runs], rank=60 if one_pipeline else 4, cut="end"),
        Column("node", [run.node or run.trainer for run in runs], rank=3, cut="end", least=13),
        Column("state", [run.state for run in runs], rank=1),
        Column("framework", [_framework(run) for run in runs], rank=7, cut="end", least=9),
        Column("seconds", [number(run.train_seconds) for run in runs], rank=8, right=True),
        *(_seconds(runs, phase) for phase in (timings.TRAINING, timings.EVALUATION, timings.EXPORT)),
        Column("steps", [number(run.train_steps) for run in runs], rank=9, right=True),
        Column("best step", [number(run.best_step) for run in runs], rank=10, right=True),
        *_metrics(runs),
        Column("parity", [number(max(run.parity.values(), default=None)) for run in runs], rank=50, right=True),
        Column("model", [run.model_uri or "" for run in runs], rank=70, cut="start", least=24),
    ]


def _seconds(runs: Sequence[Run], phase: str) -> Column:
    """What a phase took: a part of the seconds of the whole training."""
    return Column(f"{phase} s", [number(run.provenance.seconds.get(phase)) for run in runs], rank=40, right=True)


def _metrics(runs: Sequence[Run]) -> list[Column]:
    """A column for each: those that most runs have first, those of further splits, `<split>.<metric>`, last."""
    counts = Counter(name for run in runs for name in run.metrics)
    names = sorted(counts, key=lambda name: ("." in name, -counts[name], name))
    return [
        Column(name, [number(run.metrics.get(name)) for run in runs], (5 if place < _FIRST else 11) + place, right=True)
        for place, name in enumerate(names)
    ]


def _framework(run: Run) -> str:
    return " ".join(filter(None, (run.framework, run.framework_version)))


def _none(options: argparse.Namespace) -> str:
    asked = [f"{name} {value!r}" for name in ("pipeline", "node") if (value := getattr(options, name)) is not None]
    return f"no run of a Trainer{' of ' + ' and '.join(asked) if asked else ''} in {options.metadata}"


def _limit(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"got {text!r}; expected a number from 0")
    return int(text)
