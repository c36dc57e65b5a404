"""The models that a comparison is about, as the node's inputs have them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tfx.dsl.io import fileio
from tfx.types import Artifact, artifact_utils

from polytrainer.executors.comparison.errors import ComparisonError
from polytrainer.executors.data.examples import first_examples, names
from polytrainer.executors.properties import SERVING_ROWS
from polytrainer.executors.test_results import keys as result_keys
from polytrainer.proto import comparator_keys as keys
from polytrainer.proto.comparator_pb2 import ComparatorArgs
from polytrainer.proto.problems import Problem

_NOT_SERVED = (
    "Its serving_default was not called on real raw examples before it was published (parity.serving_rows is 0): "
    "Trainer(raw_examples=…) names some."
)


@dataclass(frozen=True)
class Participant:
    """A model and what it said of the held-out rows.

    Attributes:
        name: Of the candidate, or "baseline".
        results: Its test results.
        model: The model itself.
    """

    name: str
    results: Artifact
    model: Artifact

    @property
    def is_baseline(self) -> bool:
        """Whether it is what candidates have to beat."""
        return self.name == keys.BASELINE

    @property
    def splits(self) -> list[str]:
        """Names of the splits of its test results."""
        return list(artifact_utils.decode_split_names(self.results.split_names or "[]"))

    @property
    def warning(self) -> str | None:
        """What makes it doubtful that the model says when it is served what its test results say."""
        if self.model.has_custom_property(SERVING_ROWS) and self.model.get_int_custom_property(SERVING_ROWS) == 0:
            return _NOT_SERVED
        return None


def resolve(input_dict: Mapping[str, Sequence[Artifact]]) -> list[Participant]:
    """The candidates in the order of their names, then the baseline, if there is one.

    Raises:
        ComparisonError: If one of them comes without its model or without its test results.
    """
    candidates = sorted(name for name in map(keys.candidate_name, input_dict) if name is not None)
    ends = {name: (keys.candidate_results(name), keys.candidate_model(name)) for name in candidates}
    if input_dict.get(keys.BASELINE_RESULTS) or input_dict.get(keys.BASELINE_MODEL):
        ends[keys.BASELINE] = (keys.BASELINE_RESULTS, keys.BASELINE_MODEL)
    counts = {key: len(input_dict.get(key) or []) for pair in ends.values() for key in pair}
    problems = [Problem(key, f"{count} artifacts", "one") for key, count in counts.items() if count != 1]
    if problems:
        raise ComparisonError(*problems)
    return [Participant(name, *(input_dict[key][0] for key in pair)) for name, pair in ends.items()]


def splits_to_compare(compared: Sequence[Participant], args: ComparatorArgs) -> list[str]:
    """Names of the splits.

    Raises:
        ComparisonError: If somebody's test results lack one of them, or there is none.
    """
    asked = list(args.splits) or sorted({split for each in compared for split in each.splits})
    remedy = "Name in comparator_args.splits those that all of them have, or in EvalArgs.test_splits what to test on."
    problems = [
        Problem(f"test results of {each.name}", f"the splits {each.splits}", f"all of {asked}", remedy)
        for each in compared
        if not asked or not set(asked) <= set(each.splits)
    ]
    if problems:
        raise ComparisonError(*problems)
    return asked


def own_weight_key(compared: Sequence[Participant], splits: Sequence[str]) -> str:
    """The feature that trainers write the weights of examples into, where the first model's test results have it."""
    for split in splits:
        [folder] = artifact_utils.get_split_uris([compared[0].results], split)
        files = [os.path.join(folder, name) for name in sorted(fileio.listdir(folder))]
        for record in first_examples(files, 1):
            return result_keys.EXAMPLE_WEIGHT if result_keys.EXAMPLE_WEIGHT in names([record]) else ""
    return ""
