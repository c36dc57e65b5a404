"""Metrics of all models, with their intervals, and how far models are from each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from polytrainer.executors.comparison import statistics
from polytrainer.executors.comparison.page.found import Found, Interval
from polytrainer.executors.report.cells import Gain, Noted, Range, Tone
from polytrainer.executors.report.page import Beside, Block, Table, Text, shown
from polytrainer.proto import comparator_args
from polytrainer.proto.comparator_keys import BASELINE

TONES: dict[str, Tone] = {statistics.BETTER: "good", statistics.WORSE: "bad", statistics.UNCLEAR: ""}
COLORS = {statistics.BETTER: "good", statistics.WORSE: "bad", statistics.UNCLEAR: "muted"}
_LEAST_P = 0.0001


def results(found: Found) -> list[Block]:
    """A row for each metric, a column for each model; and the same as a drawing."""
    level = f"{found.document['confidence']:.4g}"
    note = f"Below each value its interval at the confidence level {level}; \N{BLACK STAR} marks the best of a metric."
    table = [[_said(found, metric), *_values(found, metric)] for metric in found.metrics]
    drawn = [Table(["", "value", "interval"], list(_intervals(found, each)), each) for each in found.metrics]
    return [
        Table(["metric", *found.models], table, note=note),
        Beside(drawn, "Intervals", "Each metric has a scale of its own."),
    ]


def differences(found: Found) -> list[Block]:
    """Gains of all candidates over the baseline, and of the best over all others."""
    level = f"{found.document['confidence_of_differences']:.6g}"
    note = (
        "Right of the dashed line is better, whatever the metric. Better and worse are said if the interval at the "
        f"confidence level {level} leaves 0 out and, where there is a p-value (McNemar's exact test), it is at most "
        f"{1 - found.document['confidence_of_differences']:.4g}. Each metric has a scale of its own."
    )
    pairs = [(name, BASELINE) for name in found.candidates] if found.has_baseline else []
    others = [(found.best, name) for name in found.candidates if name != found.best]
    tables = [
        *_forest(found, pairs, "Candidates against the baseline", 0),
        *_forest(found, others, f"{found.best} against the other candidates", 1),
    ]
    return [Text(note), *tables] if tables else [Text("There is one model: nothing to compare it with.")]


def interval_text(interval: Interval | None) -> str:
    """An interval in words."""
    return "no interval" if interval is None else f"{shown(interval[0])} to {shown(interval[1])}"


def around_zero(intervals: Sequence[Interval | None], gains: Sequence[float | None]) -> Interval:
    """A scale with 0 in the middle that has room for all of them."""
    ends = [abs(end) for each in intervals if each is not None for end in each]
    most = max([*ends, *(abs(gain) for gain in gains if gain is not None)], default=0.0) * 1.05 or 1.0
    return -most, most


def _said(found: Found, metric: str) -> str:
    less = ", less is better" if metric in comparator_args.LESS_IS_BETTER else ""
    return f"{metric}{less}{' (decides)' if metric == found.primary else ''}"


def _values(found: Found, metric: str) -> Iterator[Noted]:
    values = {name: found.value(name, metric) for name in found.models}
    gains = [comparator_args.gain(metric, value, 0.0) for value in values.values() if value is not None]
    for name, value in values.items():
        best = value is not None and comparator_args.gain(metric, value, 0.0) == max(gains)
        yield Noted(value, interval_text(found.interval(name, metric)), best=best)


def _intervals(found: Found, metric: str) -> Iterator[list[object]]:
    intervals = {name: found.interval(name, metric) for name in found.models}
    values = {name: found.value(name, metric) for name in found.models}
    ends = [end for each in intervals.values() if each is not None for end in each]
    ends += [value for value in values.values() if value is not None]
    room = (max(ends) - min(ends)) * 0.05 if ends else 0.0
    scale = (min(ends) - room, max(ends) + room) if ends else (0.0, 1.0)
    for name, interval in intervals.items():
        bar = Range(interval, values[name], scale, color=found.drawn.get(name, "muted"))
        yield [name, values[name], bar]


def _forest(found: Found, pairs: Sequence[tuple[str, str]], title: str, who: int) -> list[Block]:
    """A table for each metric with a row for each pair, of which one, `who`, is named."""
    tables = [Table(["", "gain", "interval"], list(_gains(found, pairs, each, who)), each) for each in found.metrics]
    return [Beside(tables, title)] if pairs else []


def _gains(found: Found, pairs: Sequence[tuple[str, str]], metric: str, who: int) -> Iterator[list[object]]:
    told = [found.difference(*pair, metric) for pair in pairs]
    gains = [found.gain(*pair, metric) for pair in pairs]
    scale = around_zero([each["interval"] for each in told], gains)
    for pair, each, gain in zip(pairs, told, gains, strict=True):
        verdict, interval = each["verdict"], each["interval"]
        note = verdict + _p_value(each.get("p_value"))
        bar = Range(interval, gain, scale, 0.0, COLORS[verdict], note, TONES[verdict])
        yield [pair[who], Noted(None if gain is None else Gain(gain), interval_text(interval)), bar]


def _p_value(value: float | None) -> str:
    if value is None:
        return ""
    text = f"p = {value:.3g}" if value >= _LEAST_P else f"p < {_LEAST_P:g}"
    return ", " + text.replace(" ", "\N{NO-BREAK SPACE}")
