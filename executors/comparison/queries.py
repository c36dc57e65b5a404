"""On Beam: joined rows of documents → joined rows of queries, whose predictions are each model's metrics of the query.

From there on a query is what a row is in other tasks: TFMA takes the mean over queries, and the bootstrap draws them.
Rows of one query are not independent of each other, queries are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import apache_beam as beam

from polytrainer.executors.comparison import joined, ranking, slicing
from polytrainer.executors.comparison.facts import FACTS, QUERY, QUERY_WEIGHT, RELEVANT, ROWS, Noting, note
from polytrainer.executors.comparison.rows import group_of
from polytrainer.proto import comparator_args
from polytrainer.proto.comparator_pb2 import ComparatorArgs


def measured(
    documents: beam.PCollection, names: Sequence[str], args: ComparatorArgs
) -> tuple[beam.PCollection, beam.PCollection]:
    """Ranks each query's documents, all of them and those of each slice.

    Args:
        documents: Names of queries, each with a serialized row, as `joined.row` makes them.
        names: The models.
        args: What is compared.

    Returns:
        Serialized rows, one for each query and slice, and facts. The slice is a row's feature `slicing.NAMED`; each
        label is how many documents there are; the weight is 0, if none of them is relevant.
    """
    measure = _Measure(names, comparator_args.metrics(args), slicing.kinds(args))
    outputs = (
        documents
        | "GroupByQuery" >> beam.GroupByKey()
        | "MeasureQueries" >> beam.ParDo(measure).with_outputs(FACTS, main=ROWS)
    )
    return outputs[ROWS], outputs[FACTS]


class _Measure(Noting):
    """A query with its rows → a row for each slice."""

    def __init__(self, names: Sequence[str], metrics: Sequence[str], kinds: Sequence[tuple[str, ...]]):
        super().__init__()
        self._names = list(names)
        self._metrics = list(metrics)
        self._kinds = list(kinds)

    def process(self, element: tuple[str, Iterable[bytes]]) -> Iterator[bytes]:
        import numpy as np

        query, records = element[0], list(element[1])
        told_of = joined.models(records)
        names = [name for name in self._names if name in told_of]
        batch = joined.batch(records, names, slicing.features(self._kinds))
        relevance, weight = batch.labels[:, 0], batch.weights[0]
        note(self._found, (QUERY, ""))
        if (batch.weights != weight).any():
            note(self._found, (QUERY_WEIGHT, ""), query)
        if (relevance > 0).any():
            note(self._found, (RELEVANT, ""))
        for name, rows in slicing.members(batch.slices, self._kinds, len(records)).items():
            is_relevant = bool((relevance[rows] > 0).any())
            nothing = np.zeros(len(self._metrics))
            told = {
                model: ranking.values(self._metrics, relevance[rows], scores[rows, 0]) if is_relevant else nothing
                for model, scores in zip(names, batch.predictions, strict=True)
            }
            label = np.full(len(self._metrics), len(rows))
            yield joined.row(label, told, weight * is_relevant, group_of(query), {slicing.NAMED: [name]})
