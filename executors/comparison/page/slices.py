"""Parts of the rows: how each model does there, and what has changed since the baseline."""

from __future__ import annotations

from polytrainer.executors.comparison.page.found import Found, where
from polytrainer.executors.comparison.page.metrics import COLORS, TONES, around_zero
from polytrainer.executors.report.cells import Gain, Noted, Range
from polytrainer.executors.report.page import Block, Table, Text, shown
from polytrainer.proto import comparator_args
from polytrainer.proto.comparator_keys import BASELINE

_MOST_SLICES = 40


def slices(found: Found) -> list[Block]:
    """A table for the metric that decides, and for each that has a threshold on slices."""
    if not found.slices:
        return []
    told = [check for name in found.candidates for check in found.document["candidates"][name]["thresholds"]]
    asked = {check["metric"] for check in told if check["slice"]}
    metrics = [metric for metric in found.metrics if metric == found.primary or metric in asked]
    note = "Of many slices some are called better or worse by chance alone: levels are not shared out among slices."
    left = [metric for metric in found.metrics if metric not in metrics]
    note += f" Of slices comparison.json has {', '.join(left)}, too." if left else ""
    return [*(_table(found, metric) for metric in metrics), Text(note)]


def _table(found: Found, metric: str) -> Table:
    """The slices of which the best candidate has most to fear come first."""

    def rank(place: int) -> tuple[float, int]:
        value = found.gain(found.best, BASELINE, metric, place) if found.has_baseline else None
        own = found.value(found.best, metric, place)
        if value is None and own is not None:
            value = comparator_args.gain(metric, own, 0.0)
        return float("inf") if value is None else value, -found.rows(place)

    places = sorted(range(len(found.slices)), key=rank)
    shown_places = places[:_MOST_SLICES]
    header = ["where", "rows", *found.models, *(["gain of " + found.best] if found.has_baseline else [])]
    scale = (0.0, 0.0)
    if found.has_baseline:
        compared = [found.difference(found.best, BASELINE, metric, place)["interval"] for place in shown_places]
        scale = around_zero(compared, [found.gain(found.best, BASELINE, metric, place) for place in shown_places])
    rows = [_row(found, metric, place, scale) for place in [None, *shown_places]]
    worst = "least gain" if found.has_baseline else "worst"
    note = f"{worst.capitalize()} of {found.best} first."
    note += f" {_MOST_SLICES} of {len(places)} slices." if len(places) > _MOST_SLICES else ""
    return Table(header, rows, metric, note)


def _row(found: Found, metric: str, place: int | None, scale: tuple[float, float]) -> list[object]:
    words = found.slices[place] if place is not None else {}
    row: list[object] = [where(words), found.rows(place)]
    for name in found.models:
        value = found.value(name, metric, place)
        if name == BASELINE or not found.has_baseline:
            row.append(value)
            continue
        verdict = found.difference(name, BASELINE, metric, place)["verdict"]
        gain = found.gain(name, BASELINE, metric, place)
        note = "" if gain is None else f"{shown(Gain(gain))} {verdict if TONES[verdict] else ''}"
        row.append(Noted(value, note, TONES[verdict]))
    if found.has_baseline:
        told = found.difference(found.best, BASELINE, metric, place)
        gain = found.gain(found.best, BASELINE, metric, place)
        row.append(Range(told["interval"], gain, scale, 0.0, COLORS[told["verdict"]]))
    return row
