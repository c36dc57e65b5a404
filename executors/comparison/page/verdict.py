"""What was decided: the first thing on the page, and why it is so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from polytrainer.executors.comparison.page.found import Found, where
from polytrainer.executors.report.cells import Badge, Gain
from polytrainer.executors.report.page import Block, Callout, Card, Cards, Table, shown
from polytrainer.proto.comparator_keys import BASELINE

_RULES = {
    "BETTER": "to be better than the baseline by more than chance, by {}",
    "NOT_WORSE": "not to be worse than the baseline by more than chance, by {}",
}


def callout(found: Found) -> Callout:
    """Which candidate is the best, and whether it is blessed."""
    document = found.document
    count, word = len(document["candidates"]), "is blessed" if document["blessed"] else "is not blessed"
    title = f"{found.best} {f'is the best of {count} candidates, and ' if count > 1 else ''}{word}"
    lines = [*document["reasons"], *_asked_for(found)]
    return Callout(title, lines, "good" if document["blessed"] else "bad")


def _asked_for(found: Found) -> list[str]:
    """What a candidate must be to be blessed, in a sentence; none where nothing was asked for."""
    rule, checks = found.document["rule"], found.document["candidates"][found.best]["thresholds"]
    asked = [_RULES[rule].format(found.primary)] if found.has_baseline and rule in _RULES else []
    asked += ["to hold all thresholds"] if checks else []
    return [f"Asked for: {'; and '.join(asked)}."] if asked else []


def headline(found: Found) -> list[tuple[str, Any]]:
    """The numbers that come first."""
    best, primary = found.best, found.primary
    numbers: list[tuple[str, Any]] = [(f"{primary} of {best}", found.value(best, primary))]
    if found.has_baseline:
        numbers.append((f"{primary} of the baseline", found.value(BASELINE, primary)))
        gain = found.gain(best, BASELINE, primary)
        numbers.append(("gain over the baseline", None if gain is None else Gain(gain)))
    return [*numbers, ("candidates", len(found.document["candidates"])), ("rows", found.rows())]


def candidates(found: Found) -> list[Block]:
    """What became of each candidate, and why."""
    names = [*found.candidates, *_kept_out(found)]
    return [Cards([_card(found, name) for name in names]), *_thresholds(found)]


def _card(found: Found, name: str) -> Card:
    told = found.document["candidates"][name]
    why = " ".join([*told["reasons"], *told.get("notes", [])])
    if "metrics" not in told:
        return Card(name, why, [], Badge("kept out", "bad"))
    pairs: list[tuple[str, Any]] = [(found.primary, found.value(name, found.primary))]
    gain = found.gain(name, BASELINE, found.primary) if found.has_baseline else None
    pairs += [("gain over the baseline", Gain(gain))] if gain is not None else []
    if name == found.best and found.document["blessed"]:
        return Card(name, why, pairs, Badge("blessed", "good"))
    return Card(name, why, pairs, Badge("good enough") if told["blessable"] else Badge("not good enough", "bad"))


def _kept_out(found: Found) -> list[str]:
    return [name for name in found.document["candidates"] if name not in found.candidates]


def _thresholds(found: Found) -> list[Block]:
    """Which thresholds hold; those that do not come first."""
    checks = [(name, check) for name in found.candidates for check in found.document["candidates"][name]["thresholds"]]
    if not checks:
        return []
    rows = [
        [name, _held(check), check["metric"], _asked(check), check["value"], where(check["slice"])]
        for name, check in sorted(checks, key=lambda each: each[1]["held"])
    ]
    note = f"Held: {sum(check['held'] for _, check in checks)} of {len(checks)}."
    return [Table(["candidate", "", "metric", "asked for", "got", "where"], rows, "Thresholds", note)]


def _asked(check: Mapping[str, Any]) -> str:
    signs = {
        "lower": "\N{GREATER-THAN OR EQUAL TO}",
        "upper": "\N{LESS-THAN OR EQUAL TO}",
        "min_gain": "gain \N{GREATER-THAN OR EQUAL TO}",
    }
    return f"{signs[check['bound']]} {shown(check['limit'])}".replace(" ", "\N{NO-BREAK SPACE}")


def _held(check: Mapping[str, Any]) -> Badge:
    return Badge("held", "good") if check["held"] else Badge("missed", "bad")
