"""The splits of a node's Examples, looked at before training."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from tfx.types import Artifact, artifact_utils

from polytrainer.executors.data import records
from polytrainer.executors.data.files import data_files
from polytrainer.proto import args, keys
from polytrainer.proto.problems import Problem
from polytrainer.proto.trainer_pb2 import EvalArgs, TrainArgs

Artifacts = dict[str, list[Artifact]]
# A problem, and the key of the input that has to be read for it to matter; None if the node fails in any case.
Finding = tuple[str | None, Problem]

RUN_UPSTREAM = "Did the component that produces it finish? Its artifact can be looked up in ML Metadata."
# Of data in a format of the user's own, say a folder of images, only some files are looked at
_SAMPLED_FILES = 16


def check_args_and_splits(
    input_dict: Artifacts, exec_properties: dict[str, Any], *, all_files: bool
) -> Iterator[Finding]:
    """Looks at train and eval args and at the splits that they name.

    Args:
        input_dict: Artifacts of the node by key.
        exec_properties: Of the node.
        all_files: Whether each file is looked at, or some of each split.
    """
    try:
        train_args = args.parse(exec_properties.get(keys.TRAIN_ARGS), TrainArgs)
        eval_args = args.parse(exec_properties.get(keys.EVAL_ARGS), EvalArgs)
    except (TypeError, ValueError) as error:
        yield None, Problem("train_args or eval_args", str(error), "a valid TrainArgs and EvalArgs")
        return
    if not input_dict.get(keys.EXAMPLES):
        yield None, Problem("examples", "no artifact", "at least one Examples artifact", RUN_UPSTREAM)
        return
    splits_by_argument = {
        "train_args.splits": train_args.splits or ["train"],
        "eval_args.splits": eval_args.splits or ["eval"],
        "eval_args.test_splits": eval_args.test_splits,
    }
    yield from ((None, problem) for problem in args.check(train_args, eval_args))
    yield from ((keys.TRAIN_ARGS, problem) for problem in args.check_for_trainers(train_args, eval_args))
    checked: set[str] = set()
    for where, splits in splits_by_argument.items():
        for split in splits:
            if split and split not in checked:
                checked.add(split)
                yield from _check_split(input_dict[keys.EXAMPLES], where, split, all_files=all_files)


def _check_split(examples: list[Artifact], where: str, split: str, *, all_files: bool) -> Iterator[Finding]:
    for artifact in examples:
        names = artifact_utils.decode_split_names(artifact.split_names)
        if split not in names:
            got = f"the split {split!r}, while the Examples at {artifact.uri} have {names}"
            yield None, Problem(where, got, "splits that every Examples artifact has")
            return
    uris = artifact_utils.get_split_uris(examples, split)
    files = data_files(os.path.join(uri, "*") for uri in uris)
    if not files:
        got = f"no file for the split {split!r} in {uris}"
        yield keys.EXAMPLES, Problem(where, got, "files of tf.Examples", RUN_UPSTREAM)
        return
    if any(_is_parquet(artifact) for artifact in examples):
        return  # whoever reads it says what is wrong with it
    sample = files if all_files else files[:_SAMPLED_FILES]
    inspection = records.inspect(sample)
    if inspection.num_records == 0 and inspection.whole and not inspection.problems and len(sample) == len(files):
        got = f"no example in the split {split!r} ({uris})"
        yield keys.EXAMPLES, Problem(where, got, "at least one example", "Is the split configuration right?")
    yield from ((keys.EXAMPLES, problem) for problem in inspection.problems)


def _is_parquet(artifact: Artifact) -> bool:
    return str(artifact.get_string_custom_property("payload_format")) == "FORMAT_PARQUET"
