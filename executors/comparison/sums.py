"""On Beam: rows → for each slice the sums over groups of rows → what `statistics` says of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindows

from polytrainer.executors.comparison import joined, slicing, statistics
from polytrainer.executors.comparison.layout import Layout

_HELD = 8_000_000  # numbers of sums that a bundle holds before it hands them on: 64 MB
_BATCH = range(16, 2049)
_BATCH_NUMBERS = 1_000_000


def summaries(
    rows: beam.PCollection, layout: Layout, kinds: Sequence[tuple[str, ...]], settings: statistics.Settings
) -> beam.PCollection:
    """What is known of each slice, as lines of JSON.

    Args:
        rows: Serialized, as `joined.row` makes them.
        layout: Which sums are needed.
        kinds: The features of each kind of slice.
        settings: How sure one wants to be.
    """
    most = min(max(_BATCH_NUMBERS // layout.width, _BATCH.start), _BATCH.stop - 1)
    return (
        rows
        | "Batch" >> beam.BatchElements(min_batch_size=_BATCH.start, max_batch_size=most)
        | "Sum" >> beam.ParDo(_Sum(layout, kinds))
        | "Merge" >> beam.CombinePerKey(_Merge())
        | "Summarise" >> beam.Map(_line, layout, settings)
    )


def _line(element: tuple[str, Any], layout: Layout, settings: statistics.Settings) -> str:
    name, (count, sums) = element
    return json.dumps({"slice": name, "rows": count, **statistics.summary(sums, layout, settings)})


class _Sum(beam.DoFn):  # type: ignore[misc]
    """Batches of rows → for each slice how many rows, and their sums `[groups, width]`."""

    def __init__(self, layout: Layout, kinds: Sequence[tuple[str, ...]]):
        self._layout = layout
        self._kinds = list(kinds)
        self._features = slicing.features(kinds)
        self._sums: dict[str, tuple[int, Any]] = {}

    def start_bundle(self) -> None:
        self._sums = {}

    def process(self, records: Sequence[bytes]) -> Iterator[Any]:
        import numpy as np

        batch = joined.batch(records, self._layout.models, self._features)
        added = self._layout.of_rows(batch.labels, batch.predictions, batch.weights)
        groups = batch.groups % self._layout.groups
        for name, rows in slicing.members(batch.slices, self._kinds, len(groups)).items():
            count, sums = self._sums.get(name) or (0, np.zeros((self._layout.groups, self._layout.width)))
            np.add.at(sums, groups[rows], added[rows])
            self._sums[name] = (count + self._layout.count(batch.labels[rows]), sums)
        if len(self._sums) * self._layout.groups * self._layout.width > _HELD:
            yield from self._sums.items()
            self._sums = {}

    def finish_bundle(self) -> Iterator[Any]:
        yield from map(GlobalWindows.windowed_value, self._sums.items())
        self._sums = {}


class _Merge(beam.CombineFn):  # type: ignore[misc]
    """Adds up."""

    def create_accumulator(self) -> tuple[int, Any]:
        return 0, 0.0

    def add_input(self, accumulator: tuple[int, Any], element: tuple[int, Any]) -> tuple[int, Any]:
        return accumulator[0] + element[0], accumulator[1] + element[1]

    def merge_accumulators(self, accumulators: Iterable[tuple[int, Any]]) -> tuple[int, Any]:
        result = self.create_accumulator()
        for each in accumulators:
            result = self.add_input(result, each)
        return result

    def extract_output(self, accumulator: tuple[int, Any]) -> tuple[int, Any]:
        return accumulator
