"""The raw examples of which Transform made rows of test results: people read degrees, not z-scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from absl import logging

from polytrainer.executors.report.outcomes import parsed
from polytrainer.executors.test_results import keys

_SEARCHED = 20_000  # raw examples
_BATCH = 1000

Values = Mapping[str, list[Any]]


@dataclass(frozen=True)
class RawSplit:
    """The raw examples of a split.

    Attributes:
        patterns: Of their files.
        transform_graph_path: Of the transform graph that has been applied to them.
    """

    patterns: Sequence[str]
    transform_graph_path: str

    def of_rows(self, rows: Sequence[bytes], label_key: str | None) -> list[Values | None]:
        """Finds the raw examples of some rows, among the first 20,000: those of which the graph makes their features.

        Returns:
            Values by raw feature for each row; None where none is found, or several that differ.
        """
        try:
            return self._find(rows, label_key)
        except Exception as error:  # the page goes without
            logging.info("The raw examples of test results could not be found: %s: %s", type(error).__name__, error)
            return [None] * len(rows)

    def _find(self, rows: Sequence[bytes], label_key: str | None) -> list[Values | None]:
        import tensorflow_transform as tft

        from polytrainer.executors.backends.raw_or_transformed import TransformGraph, matching_rows
        from polytrainer.executors.data.examples import all_examples
        from polytrainer.executors.data.files import data_files

        output = tft.TFTransformOutput(self.transform_graph_path)
        names = {name for row in rows for name in parsed(row)} - {label_key, *keys.ADDED}
        spec = {name: feature for name, feature in output.transformed_feature_spec().items() if name in names}
        if not rows or not spec:
            return [None] * len(rows)
        graph = TransformGraph(output.raw_feature_spec(), spec, output.transform_features_layer())
        found: list[dict[str, Values]] = [{} for _ in rows]  # raw examples of each row that differ from each other
        for batch in _batches(islice(all_examples(data_files(self.patterns)), _SEARCHED)):
            for row, place in matching_rows(graph, rows, batch):
                values = parsed(batch[place])
                found[row][repr(sorted(values.items()))] = values
        return [next(iter(each.values())) if len(each) == 1 else None for each in found]


def _batches(examples: Iterator[bytes]) -> Iterator[list[bytes]]:
    while batch := list(islice(examples, _BATCH)):
        yield batch
