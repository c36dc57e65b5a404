"""On Beam: the test results of all models → rows that hold what each of them says, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import apache_beam as beam
from tfx.types import artifact_utils

from polytrainer.executors.comparison import joined, queries, slicing
from polytrainer.executors.comparison.facts import (
    CLASS,
    DIFFERING_LABEL,
    DIFFERING_QUERY,
    DUPLICATE,
    FACTS,
    LABEL,
    MISSING,
    NO_QUERY,
    NOT_FINITE,
    OUTPUTS,
    PREDICTION,
    ROW,
    ROWS,
    SLICE,
    WEIGHT,
    MergeFound,
    Noting,
    note,
    with_detail,
)
from polytrainer.executors.comparison.forms import UnfitError, label_of, prediction_of
from polytrainer.executors.comparison.participants import Participant
from polytrainer.executors.comparison.rows import Reader, Told, class_names, group_of, parsed
from polytrainer.proto import comparator_args
from polytrainer.proto.comparator_args import RANKING
from polytrainer.proto.comparator_pb2 import ComparatorArgs


def align(
    pipeline: beam.Pipeline, compared: Sequence[Participant], splits: Sequence[str], args: ComparatorArgs
) -> tuple[beam.PCollection, beam.PCollection]:
    """Joins the rows of all models by their keys.

    Args:
        pipeline: To add to.
        compared: The models; weights, slices and queries are taken from the results of the first.
        splits: Names of the splits.
        args: What is compared.

    Returns:
        Serialized rows, as `joined.row` makes them, those of queries for RANKING, and facts, each with what was found
        of it.
    """
    slice_features = tuple(slicing.features(slicing.kinds(args)))
    read: dict[str, beam.PCollection] = {}
    facts: list[beam.PCollection] = []
    for number, each in enumerate(compared):
        of_splits = []
        for split in splits:
            reader = Reader(split, args.label_key, tuple(args.key_features), args.query_key)
            if number == 0:
                reader = replace(reader, weight_key=args.example_weight_key, slice_features=slice_features)
            [folder] = artifact_utils.get_split_uris([each.results], split)
            source = beam.io.ReadFromTFRecord(f"{folder}/*")
            records = pipeline | f"Read[{each.name}][{split}]" >> source
            keyed = beam.ParDo(_Key(each.name, reader)).with_outputs(FACTS, main=ROWS)
            outputs = records | f"Key[{each.name}][{split}]" >> keyed
            of_splits.append(outputs[ROWS])
            facts.append(outputs[FACTS])
        read[each.name] = of_splits | f"Splits[{each.name}]" >> beam.Flatten(pipeline=pipeline)
    names = [each.name for each in compared]
    join = _Join(names, comparator_args.task(args), slice_features)
    outputs = read | "Align" >> beam.CoGroupByKey() | "Join" >> beam.ParDo(join).with_outputs(FACTS, main=ROWS)
    rows = outputs[ROWS]
    facts.append(outputs[FACTS])
    if comparator_args.task(args) == RANKING:
        rows, of_queries = queries.measured(rows, names, args)
        facts.append(of_queries)
    found = facts | "Facts" >> beam.Flatten() | "MergeFacts" >> beam.CombinePerKey(MergeFound())
    return rows, found


class _Key(Noting):
    """Serialized test results → key and what is compared."""

    def __init__(self, name: str, reader: Reader):
        super().__init__()
        self._name = name
        self._reader = reader

    def process(self, record: bytes) -> Iterator[tuple[str, Told]]:
        features = parsed(record)
        for number, name in class_names(features):
            note(self._found, (with_detail(CLASS, f"{number}={name}"), self._name))
        yield self._reader.read(features)


class _Join(Noting):
    """What all models say of a key → a row, if it can be compared; for RANKING with its query."""

    def __init__(self, names: Sequence[str], task: str, slice_features: Sequence[str]):
        super().__init__()
        self._names = list(names)
        self._task = task
        self._slice_features = list(slice_features)

    def process(self, element: tuple[str, Mapping[str, Iterable[Told]]]) -> Iterator[Any]:
        key, by_name = element
        told = {name: list(by_name[name]) for name in self._names}
        for name, rows in told.items():
            if len(rows) != 1:
                note(self._found, (DUPLICATE if rows else MISSING, name), key)
        if all(len(rows) == 1 for rows in told.values()):
            of_key = {name: rows[0] for name, rows in told.items()}
            row, query = self._row(key, of_key), self._query(key, of_key)
            if row is not None and self._task != RANKING:
                yield row
            elif row is not None and query is not None:
                yield query, row

    def _query(self, key: str, told: Mapping[str, Told]) -> str | None:
        """What the first model's results say, unless those of another say something else."""
        if self._task != RANKING:
            return None
        queries_of = {name: query for name, (*_, query) in told.items()}
        expected = queries_of[self._names[0]]
        if expected is None:
            note(self._found, (NO_QUERY, self._names[0]), key)
            return None
        for name, query in queries_of.items():
            if query not in (None, expected):
                note(self._found, (DIFFERING_QUERY, name), f"{key}: {query} instead of {expected}")
        return expected

    def _row(self, key: str, told: Mapping[str, Told]) -> bytes | None:
        import numpy as np

        note(self._found, (ROW, ""))
        predictions: dict[str, Any] = {}
        labels: dict[str, Any] = {}
        for name, (label, prediction, *_) in told.items():
            values = None if prediction is None else np.frombuffer(prediction)
            if values is None:
                note(self._found, (PREDICTION, name), f"{key}: none")
            elif not np.isfinite(values).all():
                note(self._found, (NOT_FINITE, name), key)
            else:
                self._fit(key, name, values, label, predictions, labels)
        first, *others = labels or [""]
        for name in others:
            if not np.array_equal(labels[name], labels[first]):
                case = f"{key}: {labels[name].tolist()} instead of {labels[first].tolist()}"
                note(self._found, (DIFFERING_LABEL, name), case)
        _, _, weight, slices, _ = told[self._names[0]]
        if not (weight >= 0 and np.isfinite(weight)):
            note(self._found, (WEIGHT, self._names[0]), key)
        sliced = dict(zip(self._slice_features, slices, strict=True))
        for feature, words in sliced.items():
            if words:
                note(self._found, (with_detail(SLICE, feature), ""))
        return joined.row(labels[first], predictions, weight, group_of(key), sliced) if labels else None

    def _fit(self, key: str, name: str, values: Any, label: bytes | None, predictions: Any, labels: Any) -> None:
        """Brings one model's prediction and label into their form."""
        import numpy as np

        try:
            fit = prediction_of(self._task, values)
        except UnfitError as error:
            note(self._found, (PREDICTION, name), f"{key}: {values.tolist()}, expected {error}")
            return
        note(self._found, (with_detail(OUTPUTS, len(fit)), name))
        try:
            found = np.frombuffer(label or b"")
            labels[name] = label_of(self._task, found, len(fit))
            predictions[name] = fit
        except UnfitError as error:
            note(self._found, (LABEL, name), f"{key}: {found.tolist()}, expected {error}")
