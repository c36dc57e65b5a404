"""Parts of the rows: how the model does where a feature has a value, and where it is furthest from the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from polytrainer.executors.report.outcomes import Outcomes, parsed
from polytrainer.executors.report.page import Card, Cards, Table, shown
from polytrainer.executors.report.raw_rows import RawSplit
from polytrainer.executors.test_results import keys

MOST_VALUES, MOST_FEATURES, MOST_SLICES, MOST_CARDS, MOST_PAIRS = 12, 40, 40, 10, 12
_LOOKED_AT, _MOST_CHARACTERS = 1000, 80


def slices(rows: Sequence[bytes], outcomes: Outcomes, label_key: str | None) -> Table | None:
    """A row for each value of features that have few, the worst first; None without such a feature."""
    import numpy as np

    chosen = _features_of_few_values(rows, label_key)
    members: dict[tuple[str, Any], list[int]] = {}
    for number, place in enumerate(outcomes.places):
        values = parsed(rows[place])
        for name in chosen:
            members.setdefault((name, values[name][0] if values.get(name) else None), []).append(number)
    many = {name for name in chosen if sum(each == name for each, _ in members) > MOST_VALUES}
    regression = outcomes.task == "regression"
    right = None if regression else outcomes.right
    found: list[list[Any]] = []
    for (name, value), numbers in members.items():
        if name in many:
            continue
        loss = float(outcomes.losses[numbers].mean())
        measure = float(np.sqrt(loss)) if right is None else float(right[numbers].mean())
        found.append([f"{name} = {_short(value)}", len(numbers), measure, *([] if regression else [loss])])
    if not found:
        return None
    found.sort(key=lambda row: row[2], reverse=regression)
    whole = [["all", len(outcomes.places), *_measures(outcomes)]]
    header = ["where", "rows", *(["root mean squared error"] if regression else ["accuracy", "mean loss"])]
    note = f"The worst {MOST_SLICES} of {len(found)}." if len(found) > MOST_SLICES else ""
    return Table(header, whole + found[:MOST_SLICES], "Slices, the worst first", note)


def worst(
    rows: Sequence[bytes], outcomes: Outcomes, label_key: str | None, raw: RawSplit | None = None
) -> Cards | None:
    """The rows with the largest losses of those that the model is wrong about.

    Args:
        rows: Of the test results.
        outcomes: What is known of them.
        label_key: The feature that is the label.
        raw: The raw examples of which the rows were made, where these are known: their values are shown, too.
    """
    import numpy as np

    order = np.argsort(-outcomes.losses, kind="stable")
    if outcomes.task != "regression":
        order = order[~outcomes.right[order]]
    if not len(order):
        return None
    shown_rows = [rows[outcomes.places[number]] for number in order[:MOST_CARDS]]
    raw_values = raw.of_rows(shown_rows, label_key) if raw is not None else [None] * len(shown_rows)
    cards = []
    for number, row, before in zip(order[:MOST_CARDS], shown_rows, raw_values, strict=True):
        title = f"loss {shown(float(outcomes.losses[number]))}"
        cards.append(Card(title, _said(outcomes, int(number)), _pairs(parsed(row), label_key, before)))
    of_wrong = "" if outcomes.task == "regression" else f" of {len(order)} that are wrong"
    what = "the squared error" if outcomes.task == "regression" else "minus the log of the probability of what is true"
    return Cards(cards, f"Worst errors: {len(cards)}{of_wrong}", f"The loss of a row is {what}.")


def are_weighted(rows: Sequence[bytes]) -> bool:
    """Whether the rows have weights."""
    return bool(rows) and keys.EXAMPLE_WEIGHT in parsed(rows[0])


def _measures(outcomes: Outcomes) -> list[float]:
    loss = float(outcomes.losses.mean())
    return [loss**0.5] if outcomes.task == "regression" else [float(outcomes.right.mean()), loss]


def _features_of_few_values(rows: Sequence[bytes], label_key: str | None) -> list[str]:
    """Features with one value in a row and few different ones in the first rows; numbers with a fraction are none."""
    seen: dict[str, set[Any]] = {}
    wide: set[str] = set()
    for row in rows[:_LOOKED_AT]:
        for name, values in _features(parsed(row), label_key).items():
            known = seen.setdefault(name, set())
            known.update(values[:1] or [None])
            if len(values) > 1 or len(known) > MOST_VALUES or any(_has_fraction(value) for value in values):
                wide.add(name)
    return [name for name, values in seen.items() if name not in wide and len(values) > 1][:MOST_FEATURES]


def _has_fraction(value: Any) -> bool:
    return isinstance(value, float) and not value.is_integer()  # what is not finite is no integer either


def _said(outcomes: Outcomes, number: int) -> str:
    label, score, predicted = outcomes.labels[number], outcomes.scores[number], outcomes.predicted[number]
    if outcomes.task == "regression":
        return f"is {_listed(label)}, predicted {_listed(score)}"
    if outcomes.task == "multilabel":
        return f"is {_named(outcomes, label)}, predicted {_named(outcomes, predicted)}"
    if outcomes.task == "binary":
        sure = score if predicted == 1 else 1 - score
    else:
        sure = score[predicted] if 0 <= predicted < len(score) else float("nan")
    return f"is {outcomes.name(label)}, predicted {outcomes.name(predicted)} ({float(sure):.3f})"


def _named(outcomes: Outcomes, labels: Any) -> str:
    return ", ".join(outcomes.name(number) for number in labels.nonzero()[0][:MOST_PAIRS]) or "nothing"


def _listed(values: Any) -> str:
    return ", ".join(shown(float(value)) for value in values[:MOST_PAIRS]) + (", …" if len(values) > MOST_PAIRS else "")


def _pairs(
    values: Mapping[str, list[Any]], label_key: str | None, raw: Mapping[str, list[Any]] | None = None
) -> list[tuple[str, str]]:
    """Features of a row; behind a feature's value, or for itself, that of the raw example."""
    features, raw = _features(values, label_key), _features(raw or {}, label_key)
    texts = {
        name: f"{_short_list(value)} (raw: {_short_list(raw[name])})" if name in raw else _short_list(value)
        for name, value in features.items()
    }
    texts |= {f"{name} (raw)": _short_list(value) for name, value in raw.items() if name not in features}
    found = sorted(texts.items())[:MOST_PAIRS]
    left = len(texts) - len(found)
    return [*found, ("…", f"and {left} more features")] if left else found


def _features(values: Mapping[str, list[Any]], label_key: str | None) -> dict[str, list[Any]]:
    """Without the label, and what was added."""
    told = {label_key, *keys.ADDED, keys.EXAMPLE_WEIGHT}
    if label_key is not None:
        told.add(keys.stored_label(label_key))
    return {name: each for name, each in values.items() if name not in told}


def _short_list(values: Sequence[Any]) -> str:
    some = ", ".join(_short(value) for value in values[:MOST_PAIRS])
    return some + (f", … ({len(values)} values)" if len(values) > MOST_PAIRS else "")


def _short(value: Any) -> str:
    text = "missing" if value is None else str(value) if isinstance(value, int) else shown(value)  # 2007 may be a year
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"
