"""Writes comparison.html, the page of a comparison, beside comparison.json."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from tfx.types import Artifact
from tfx.utils import io_utils

from polytrainer.executors.comparison.checks import Checked
from polytrainer.executors.comparison.page import facts, metrics, training, verdict
from polytrainer.executors.comparison.page.found import Found
from polytrainer.executors.comparison.participants import Participant
from polytrainer.executors.report import effort
from polytrainer.executors.report.page import Block, Page, Text, shown
from polytrainer.proto.comparator_args import REGRESSION
from polytrainer.proto.comparator_pb2 import ComparatorArgs

FILE = "comparison.html"


def write_page(
    artifact: Artifact,
    document: Mapping[str, Any],
    compared: Sequence[Participant],
    known: Checked,
    args: ComparatorArgs,
    names: Mapping[str, str],
) -> str | None:
    """Writes the page, if it can: a comparison that has succeeded does not fail for it.

    Args:
        artifact: The comparison.
        document: From `table.document`.
        compared: All models.
        known: What is known of the rows.
        args: What was asked.
        names: Of pipeline, run and node.

    Returns:
        Its path; None where it is left out, which is logged.
    """
    if not effort.can_be_drawn(FILE):
        return None
    path = os.path.join(artifact.uri, FILE)
    with effort.best_effort(FILE, "comparison"):
        io_utils.write_string_file(path, page(document, artifact.uri, compared, known, args, names).html())
        return path
    return None


def page(
    document: Mapping[str, Any],
    uri: str,
    compared: Sequence[Participant],
    known: Checked,
    args: ComparatorArgs,
    names: Mapping[str, str],
) -> Page:
    """The page of a comparison, from the verdict to the versions."""
    from polytrainer.executors.comparison.page import classes, slices

    found, section = Found(document), partial(effort.section, file=FILE)
    sections = [
        section("Candidates", lambda: verdict.candidates(found)),
        section("Results", lambda: metrics.results(found)),
        section("Differences", lambda: metrics.differences(found)),
        section("Slices", lambda: slices.slices(found)),
        section("Classes", lambda: classes.classes(found)),
        section("Predictions", lambda: _predictions(found, compared, known, args)),
        section("What was compared", lambda: facts.compared(found, args)),
        section("How they were trained", lambda: training.trained_with(found)),
        section("Where things are", lambda: facts.places(found, uri)),
        section("Configuration", lambda: facts.configuration(args)),
    ]
    now = datetime.datetime.now(datetime.timezone.utc)
    title = " · ".join(names[name] for name in ("pipeline", "node") if name in names) or "Comparison of models"
    count = len(found.document["candidates"])
    against = " and the baseline" if found.has_baseline else ""
    said = f"{count} candidate{'s' if count > 1 else ''}{against} on {shown(found.rows())} rows"
    subtitle = f"{said}, {now:%Y-%m-%d %H:%M} UTC"
    return Page(title, subtitle, verdict.headline(found), sections, verdict.callout(found))


def _predictions(found: Found, compared: Sequence[Participant], known: Checked, args: ComparatorArgs) -> list[Block]:
    """Figures of single rows: what all models said of the same ones."""
    from polytrainer.executors.comparison.page import classification, regression, rows

    task, colors = found.document["task"], found.drawn
    if task not in rows.TASKS:
        return [Text(f"There are no figures of single predictions for {task}.")]
    if known.rows * len(known.usable) > rows.MOST_READ:
        return [
            Text(f"{shown(known.rows)} rows of {len(known.usable)} models are too many to be drawn by one process.")
        ]
    outcomes = rows.read(compared, found.document["splits"], known, args)
    outcomes = {name: outcomes[name] for name in found.models}
    count = rows.at_hand(outcomes)
    said = f"Figures are of all {shown(count)} rows."
    if count < known.rows:
        said = f"Figures are of {shown(count)} of {shown(known.rows)} rows, a random sample, the same for all models."
    said += " Each row counts once, whatever its weight." if args.example_weight_key else ""
    left = len(found.models) - len(colors)
    said += f" {left} models have no room in them." if left else ""
    draw = regression.blocks if task == REGRESSION else classification.blocks
    return [Text(said), *draw(outcomes, colors)]
