"""comparison.json as the parts of the page read it: models in the order in which they are shown, numbers by place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from polytrainer.proto import comparator_args
from polytrainer.proto.comparator_keys import BASELINE

Interval = tuple[float, float]
Place = int | None  # of a slice among the slices; None: all rows
_COLORS = ("s1", "s2", "s4", "s6", "s5", "s3")  # of figures.SERIES; green is the last, which elsewhere says "better"


@dataclass(frozen=True)
class Found:
    """What was found.

    Attributes:
        document: As `table.document` makes it.
    """

    document: Mapping[str, Any]

    @property
    def best(self) -> str:
        """Name of the best candidate."""
        return str(self.document["best"])

    @property
    def primary(self) -> str:
        """The metric that decides."""
        return str(self.document["primary_metric"])

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics, the one that decides first."""
        return sorted(self._candidates[self.best]["metrics"], key=lambda metric: metric != self.primary)

    @property
    def slices(self) -> Sequence[Mapping[str, str]]:
        """Feature → word of each."""
        return [each["slice"] for each in self._candidates[self.best]["slices"]]

    @property
    def has_baseline(self) -> bool:
        """Whether there is one."""
        return BASELINE in self.document["models"]

    @cached_property
    def candidates(self) -> list[str]:
        """Those that could be compared, the best first, then by the metric that decides."""

        def rank(name: str) -> tuple[bool, float]:
            value = self.value(name, self.primary)
            cost = float("inf") if value is None else comparator_args.gain(self.primary, 0.0, value)
            return name != self.best, cost

        return sorted(self._candidates, key=rank)

    @property
    def models(self) -> list[str]:
        """The candidates that could be compared, and the baseline at the end."""
        return [*self.candidates, *([BASELINE] if self.has_baseline else [])]

    @property
    def drawn(self) -> dict[str, str]:
        """The models that figures have room for, with their colours, which are the same ones all over the page."""
        colors = dict(zip(self.candidates, _COLORS, strict=False))
        return {**colors, **({BASELINE: "muted"} if self.has_baseline else {})}

    def rows(self, place: Place = None) -> int:
        """How many rows, of a slice or of all."""
        return int(self._of(self.best, place)["rows"])

    def value(self, model: str, metric: str, place: Place = None) -> float | None:
        """A metric; None where it is not defined."""
        who, which = (self.best, "existing") if model == BASELINE else (model, "trained")
        value: float | None = self._of(who, place)["metrics"][metric][which]
        return value

    def interval(self, model: str, metric: str, place: Place = None) -> Interval | None:
        """Of a metric; None where there is none."""
        who, which = (self.best, "existing_intervals") if model == BASELINE else (model, "intervals")
        return _pair(self._of(who, place)[which][metric])

    def matrix(self, model: str) -> Any:
        """The confusion matrix, or those of several labels; None where there is none."""
        who, which = (self.best, "existing") if model == BASELINE else (model, "trained")
        return self._candidates[who].get("confusion_matrix", {}).get(which)

    def gain(self, candidate: str, other: str, metric: str, place: Place = None) -> float | None:
        """By how much a candidate is better than another model."""
        mine, others = self.value(candidate, metric, place), self.value(other, metric, place)
        return None if mine is None or others is None else float(comparator_args.gain(metric, mine, others))

    def difference(self, candidate: str, other: str, metric: str, place: Place = None) -> Mapping[str, Any]:
        """What was found of that: `interval`, `verdict` and maybe `p_value`."""
        told: Mapping[str, Any] = self._of(candidate, place)["against"][other][metric]
        return {**told, "interval": _pair(told["interval"])}

    def class_name(self, number: int) -> str:
        """A class as people know it."""
        return short(str(self.document["class_names"].get(str(number), number)), 40)

    @property
    def _candidates(self) -> dict[str, Any]:
        return {name: each for name, each in self.document["candidates"].items() if "metrics" in each}

    def _of(self, candidate: str, place: Place) -> Mapping[str, Any]:
        told: Mapping[str, Any] = self.document["candidates"][candidate]
        return told if place is None else dict(told["slices"][place])


def _pair(interval: Sequence[float] | None) -> Interval | None:
    return None if interval is None else (interval[0], interval[1])


def where(words: Mapping[str, str]) -> str:
    """A slice in words."""
    return " and ".join(f"{feature} = {short(word, 60)}" for feature, word in words.items()) or "all rows"


def short(text: str, most: int) -> str:
    """At most so many characters of it."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
