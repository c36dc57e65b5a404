"""Everything that runs on Beam, in two pipelines: rows are aligned and checked, then measured."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam

from polytrainer.executors.comparison import alignment, checks, metrics, slicing, statistics, sums
from polytrainer.executors.comparison.decision import Values
from polytrainer.executors.comparison.layout import Layout
from polytrainer.executors.comparison.participants import Participant
from polytrainer.proto import comparator_args
from polytrainer.proto.comparator_pb2 import ComparatorArgs


@dataclass(frozen=True)
class Measured:
    """What was found.

    Attributes:
        known: Of the rows.
        values: Of the metrics: slice → model → metric.
        told: slice → model → what `metrics.read` found.
        summaries: slice → what `statistics.summary` says, and `rows`.
    """

    known: checks.Checked
    values: Values
    told: Mapping[str, Any]
    summaries: Mapping[str, Mapping[str, Any]]

    def differences_of(self, name: str) -> Mapping[str, Any]:
        """Of a candidate to each other model, over all rows; empty if it cannot be compared."""
        differences: Mapping[str, Any] = self.summaries[slicing.ALL_ROWS]["differences"].get(name, {})
        return differences


def measure(
    make_pipeline: Callable[[], beam.Pipeline],
    scratch: str,
    folder: str,
    compared: Sequence[Participant],
    splits: Sequence[str],
    args: ComparatorArgs,
    settings: statistics.Settings,
) -> Measured:
    """Aligns, checks and measures.

    Args:
        make_pipeline: Makes an empty pipeline.
        scratch: A folder for the joined rows, which every worker reaches; they are removed again.
        folder: Where TFMA's files are kept.
        compared: The models.
        splits: Names of the splits.
        args: What is compared.
        settings: How sure one wants to be.

    Raises:
        ComparisonError: If the rows cannot be compared.
    """
    from tensorflow.io import gfile

    scratch = os.path.join(scratch, "comparison")
    if gfile.exists(scratch):
        gfile.rmtree(scratch)
    gfile.makedirs(scratch)
    try:
        known = _aligned(make_pipeline, scratch, compared, splits, args)
        return _measured(make_pipeline, scratch, folder, known, args, settings)
    finally:
        gfile.rmtree(scratch)


def _aligned(
    make_pipeline: Callable[[], beam.Pipeline],
    scratch: str,
    compared: Sequence[Participant],
    splits: Sequence[str],
    args: ComparatorArgs,
) -> checks.Checked:
    """Writes joined rows."""
    facts_file = os.path.join(scratch, "facts.jsonl")
    with make_pipeline() as pipeline:
        rows, facts = alignment.align(pipeline, compared, splits, args)
        _ = rows | "WriteRows" >> beam.io.WriteToTFRecord(os.path.join(scratch, "rows"), file_name_suffix=".gz")
        _ = facts | "FactLines" >> beam.Map(checks.line) | "WriteFacts" >> _one_file(facts_file)
    return checks.checked(checks.read(facts_file), [each.name for each in compared], args)


def _measured(
    make_pipeline: Callable[[], beam.Pipeline],
    scratch: str,
    folder: str,
    known: checks.Checked,
    args: ComparatorArgs,
    settings: statistics.Settings,
) -> Measured:
    """Measures joined rows."""
    from tensorflow.io import gfile

    task, names = comparator_args.task(args), comparator_args.metrics(args)
    kinds = [(slicing.NAMED,)] if task == comparator_args.RANKING else slicing.kinds(args)
    layout = Layout(task, names, known.outputs, tuple(known.usable))
    config = metrics.eval_config(layout, kinds, settings.is_weighted)
    summaries_file = os.path.join(scratch, "summaries.jsonl")
    with make_pipeline() as pipeline:
        rows = pipeline | "ReadRows" >> beam.io.ReadFromTFRecord(os.path.join(scratch, "rows*"))
        metrics.evaluate(rows, config, folder)
        _ = sums.summaries(rows, layout, kinds, settings) | "WriteSummaries" >> _one_file(summaries_file)
    told = metrics.read(folder, layout)
    with gfile.GFile(summaries_file) as file:
        summaries = {each["slice"]: each for each in map(json.loads, file.read().splitlines())}
    values = {
        name: {
            model: {
                metric: summaries[name]["values"][model][metric]
                if metric in metrics.FROM_SUMS
                else metrics.value(metric, of_model, task)
                for metric in names
            }
            for model, of_model in by_model.items()
        }
        for name, by_model in told.items()
    }
    return Measured(known, values, told, summaries)


def _one_file(path: str) -> beam.PTransform:
    return beam.io.WriteToText(path, num_shards=1, shard_name_template="")
