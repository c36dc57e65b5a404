"""What was found out about rows while they were aligned: a count and some examples of each kind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindows

Fact: TypeAlias = tuple[str, str]  # a kind, and the model it is about, or ""
Found: TypeAlias = tuple[int, list[str]]  # how often, and some of the cases

ROW = "row"
MISSING = "missing"
DUPLICATE = "duplicate"
NOT_FINITE = "not_finite"
PREDICTION = "prediction"
LABEL = "label"
DIFFERING_LABEL = "differing_label"
WEIGHT = "weight"
OUTPUTS = "outputs"
SLICE = "slice"
CLASS = "class"
NO_QUERY = "no_query"
DIFFERING_QUERY = "differing_query"
QUERY_WEIGHT = "query_weight"
QUERY = "query"
RELEVANT = "relevant"
FACTS, ROWS = "facts", "rows"  # names of a step's outputs
_SHOWN = 3


def with_detail(kind: str, what: int | str) -> str:
    """A kind that is counted for each of several numbers or names."""
    return f"{kind}:{what}"


def note(found: dict[Fact, Found], fact: Fact, case: str = "") -> None:
    """Adds one case."""
    count, cases = found.get(fact, (0, []))
    found[fact] = (count + 1, [*cases, case] if case and len(cases) < _SHOWN else cases)


class Noting(beam.DoFn):  # type: ignore[misc]
    """Gathers facts, and tells them once a bundle."""

    def __init__(self) -> None:
        self._found: dict[Fact, Found] = {}

    def start_bundle(self) -> None:  # noqa: D102
        self._found = {}

    def finish_bundle(self) -> Iterator[Any]:  # noqa: D102
        for fact, found in self._found.items():
            yield beam.pvalue.TaggedOutput(FACTS, GlobalWindows.windowed_value((fact, found)))


class MergeFound(beam.CombineFn):  # type: ignore[misc]
    """Adds counts up, and keeps the first few cases in alphabetic order."""

    def create_accumulator(self) -> Found:  # noqa: D102
        return 0, []

    def add_input(self, accumulator: Found, element: Found) -> Found:  # noqa: D102
        return self.merge_accumulators([accumulator, element])

    def merge_accumulators(self, accumulators: Iterable[Found]) -> Found:  # noqa: D102
        count, cases = self.create_accumulator()
        for each, some in accumulators:
            count, cases = count + each, sorted([*cases, *some])[:_SHOWN]
        return count, cases

    def extract_output(self, accumulator: Found) -> Found:  # noqa: D102
        return accumulator
