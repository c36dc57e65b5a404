"""Writes report.html, the page of a training, into its ModelRun."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from polytrainer.executors import run_record
from polytrainer.executors.report import effort
from polytrainer.executors.report import run as run_lib
from polytrainer.executors.report.page import Block, Page, Section, Text, shown
from polytrainer.executors.report.raw_rows import RawSplit
from polytrainer.executors.report.run import Run
from polytrainer.executors.test_results.shards import written_splits

FILE = "report.html"
_MOST_SPLITS, _MOST_HEADLINES = 5, 4


def write_report(run: Run) -> str | None:
    """Writes the page, if it can: a training that has succeeded does not fail for it.

    Returns:
        Its path; None where it is left out, which is logged.
    """
    if not effort.can_be_drawn(FILE):
        return None
    path = os.path.join(run.told.model_run_dir, FILE)
    with best_effort():
        run_record.write(path, page(run).html().encode())
        return path
    return None


best_effort = partial(effort.best_effort, FILE, "training")


def page(run: Run) -> Page:
    """The page of a training, made of what lies in its outputs."""
    state: dict[str, Any] = {}
    sections = []
    try:
        state = run.state
    except ValueError as error:
        sections.append(Section("Trainer state", [Text(f"{run_lib.STATE} could not be read: {error}")]))
    sections += [
        _section("What ran", lambda: run_lib.overview(run, state)),
        _section("Metrics", lambda: run_lib.metrics(run)),
        _section("Learning curves", lambda: _learning(run)),
        *_tests(run, state),
        _section("Timing", lambda: run_lib.timing(run, state)),
        _section("Configuration", lambda: run_lib.configuration(run, state)),
        _section("Where things are", lambda: run_lib.artifacts(run)),
    ]
    now = datetime.datetime.now(datetime.timezone.utc)
    title = " · ".join(run.names[name] for name in ("pipeline", "node") if name in run.names) or "Training"
    subtitle = f"{' '.join(run.framework)}, {shown(run.seconds)} s, finished {now:%Y-%m-%d %H:%M} UTC"
    return Page(title, subtitle, _headline(run), sections)


def _headline(run: Run) -> Sequence[tuple[str, Any]]:
    """The metrics of the test, else those of the evaluation, those that are no losses first."""
    metrics, tests = run.result.metrics, tuple(f"{split}." for split in run.told.eval_args.test_splits)
    found = {name: value for name, value in metrics.items() if tests and name.startswith(tests)} or metrics
    first = sorted(found.items(), key=lambda item: "loss" in item[0])[:_MOST_HEADLINES]
    return [*first, *([("steps", run.result.steps)] if run.result.steps is not None else [])]


def _learning(run: Run) -> Sequence[Block]:
    from polytrainer.executors.report import curves

    rows = curves.read_csv(run.read(run_lib.METRICS))
    only_evaluations = run.framework[0] == "estimator"
    return curves.curves(rows, run.result.best_step, all_of_evaluations=only_evaluations)


def _tests(run: Run, state: Mapping[str, Any]) -> Sequence[Section]:
    """A section for each split of the test results."""
    folder = getattr(run.told, "test_results_dir", None)
    splits = written_splits(folder) if folder else []
    label = state.get("label_key") or run.result.label_key
    found = [
        _section(f"Test results: {each}", partial(_tested, folder or "", each, label, run.raw_splits.get(each)))
        for each in splits[:_MOST_SPLITS]
    ]
    left = len(splits) - len(found)
    return [*found, *([Section("Further splits", [Text(f"{left} are not drawn.")])] if left > 0 else [])]


def _tested(folder: str, split: str, label_key: str | None, raw: RawSplit | None) -> Sequence[Block]:
    from polytrainer.executors.report import classification, examples, outcomes, regression
    from polytrainer.executors.report.sample import sample

    some = sample(folder, split)
    seen = f"{shown(some.count)} rows."
    if not some.is_whole:
        seen += f" All figures here are of {shown(len(some.rows))} of them, a random sample."
    try:
        found = outcomes.read(some.rows, label_key)
    except outcomes.NoFiguresError as reason:
        return [Text(f"{seen} {reason}")]
    left = len(some.rows) - len(found.places)
    seen += f" {shown(left)} of them, without a label or without a finite prediction, are left out." if left else ""
    seen += " Each row counts once, whatever its weight." if examples.are_weighted(some.rows) else ""
    drawn = regression.blocks(found) if found.task == "regression" else classification.blocks(found)
    parts = [examples.slices(some.rows, found, label_key), examples.worst(some.rows, found, label_key, raw)]
    return [Text(seen), *drawn, *(part for part in parts if part is not None)]


_section = partial(effort.section, file=FILE)
