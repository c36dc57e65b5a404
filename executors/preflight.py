"""Everything that can be seen to be wrong before training, seen before training, and all of it at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from tfx.dsl.io import fileio
from tfx.types import Artifact, artifact_utils
from tfx.utils import json_utils, path_utils

from polytrainer.executors import user_code
from polytrainer.executors.backends.environment import environment_for
from polytrainer.executors.data import records
from polytrainer.executors.data.feature_specs import read_schema
from polytrainer.executors.distributed import strategies
from polytrainer.executors.errors import PreflightError, UserCodeError
from polytrainer.executors.frameworks import framework_of
from polytrainer.executors.inputs import only_file, read_hyperparameters, read_num_examples
from polytrainer.proto import args, export_args, keys
from polytrainer.proto.problems import Problem
from polytrainer.proto.trainer_pb2 import EvalArgs, ExportArgs, TrainArgs

Artifacts = dict[str, list[Artifact]]

_RUN_UPSTREAM = "Did the component that produces it finish? Its artifact can be looked up in ML Metadata."


@contextmanager
def passed(
    input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
) -> Iterator[user_code.UserCode]:
    """The user's code, imported, if nothing was found wrong with it or with what the node was given.

    Raises:
        PreflightError: With everything that was found wrong.
    """
    with ExitStack() as stack:
        strategies.prepare(_train_args(exec_properties))
        problems = check(input_dict, output_dict, exec_properties)
        cause: BaseException | None = None
        try:
            location = user_code.locate(exec_properties)
            stack.enter_context(environment_for(framework_of(location)))
            code = stack.enter_context(user_code.imported(location))
        except UserCodeError as error:
            problems.append(error.problem)
            cause = error.__cause__
        if problems:
            raise PreflightError(problems) from cause
        yield code


def check(input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> list[Problem]:
    """Looks at each input and property of the node.

    Returns:
        Every problem found; empty if training may begin.
    """
    return [
        *_args_and_splits(input_dict, exec_properties),
        *_export_args(exec_properties),
        *_custom_config(exec_properties),
        *_input(input_dict, keys.SCHEMA, "one schema.pbtxt", lambda uri: read_schema(only_file(uri))),
        *_input(
            input_dict,
            keys.STATISTICS,
            "the output of a StatisticsGen component",
            lambda _: read_num_examples(input_dict),
        ),
        *_input(input_dict, keys.TRANSFORM_GRAPH, "the output of a Transform component", _transform_graph),
        *_input(
            input_dict,
            keys.HYPERPARAMETERS,
            "one JSON file with an object in it",
            lambda _: read_hyperparameters(input_dict),
        ),
        *_input(input_dict, keys.BASE_MODEL, "a model that was trained and not cleaned up", _base_model),
        *_outputs(output_dict),
    ]


def _train_args(exec_properties: dict[str, Any]) -> TrainArgs:
    try:
        return args.parse(exec_properties.get(keys.TRAIN_ARGS), TrainArgs)
    except (TypeError, ValueError):  # which `check` reports
        return TrainArgs()


def _args_and_splits(input_dict: Artifacts, exec_properties: dict[str, Any]) -> list[Problem]:
    try:
        train_args = args.parse(exec_properties.get(keys.TRAIN_ARGS), TrainArgs)
        eval_args = args.parse(exec_properties.get(keys.EVAL_ARGS), EvalArgs)
    except (TypeError, ValueError) as error:
        return [Problem("train_args or eval_args", str(error), "a valid TrainArgs and EvalArgs")]
    if not input_dict.get(keys.EXAMPLES):
        return [Problem("examples", "no artifact", "at least one Examples artifact", _RUN_UPSTREAM)]
    wanted = {
        "train_args.splits": train_args.splits or ["train"],
        "eval_args.splits": eval_args.splits or ["eval"],
        "eval_args.test_splits": eval_args.test_splits,
    }
    problems = args.check(train_args, eval_args)
    looked_at: set[str] = set()
    for where, splits in wanted.items():
        for split in splits:
            if split and split not in looked_at:
                looked_at.add(split)
                problems += _split(input_dict[keys.EXAMPLES], where, split)
    return problems


def _export_args(exec_properties: dict[str, Any]) -> list[Problem]:
    try:
        return export_args.check(args.parse(exec_properties.get(keys.EXPORT_ARGS), ExportArgs))
    except (TypeError, ValueError) as error:
        return [Problem(keys.EXPORT_ARGS, str(error), "valid ExportArgs")]


def _split(examples: list[Artifact], where: str, split: str) -> list[Problem]:
    for artifact in examples:
        names = artifact_utils.decode_split_names(artifact.split_names)
        if split not in names:
            got = f"the split {split!r}, while the Examples at {artifact.uri} have {names}"
            return [Problem(where, got, "splits that every Examples artifact has")]
    uris = artifact_utils.get_split_uris(examples, split)
    files = [os.path.join(uri, name) for uri in uris for name in _names(uri)]
    if not files:
        return [Problem(where, f"no file for the split {split!r} in {uris}", "files of tf.Examples", _RUN_UPSTREAM)]
    if any(_payload(artifact) for artifact in examples):
        return []  # Parquet and the like: whoever reads them says what is wrong with them
    seen = records.inspect(sorted(files))
    if seen.num_records == 0 and seen.whole and not seen.problems:
        expected = "at least one example"
        return [
            Problem(where, f"no example in the split {split!r} ({uris})", expected, "Is the split configuration right?")
        ]
    return list(seen.problems)


def _names(uri: str) -> list[str]:
    return list(fileio.listdir(uri)) if fileio.isdir(uri) else []


def _payload(artifact: Artifact) -> str | None:
    """The payload format of Examples that are not TFRecords, else None."""
    payload = artifact.get_string_custom_property("payload_format")
    return payload if payload == "FORMAT_PARQUET" else None


def _custom_config(exec_properties: dict[str, Any]) -> list[Problem]:
    text = exec_properties.get(keys.CUSTOM_CONFIG) or "null"
    try:
        value = json_utils.loads(text)
    except ValueError as error:
        return [Problem("custom_config", f"{text!r} ({error})", "a dict, as JSON")]
    if value and not isinstance(value, dict):
        got = f"{type(value).__name__}: {value!r}"
        return [Problem("custom_config", got, "a dict", "custom_config in execution properties needs to be a dict.")]
    return []


def _input(input_dict: Artifacts, key: str, expected: str, look: Callable[[str], Any]) -> list[Problem]:
    """Problems of an optional input that holds at most one artifact."""
    artifacts = input_dict.get(key)
    if not artifacts:
        return []
    if len(artifacts) != 1:
        uris = [artifact.uri for artifact in artifacts]
        return [
            Problem(key, f"{len(artifacts)} artifacts, {uris}", "one", "Put a Resolver before it that chooses one.")
        ]
    import tensorflow as tf

    try:
        look(artifacts[0].uri)
    except (OSError, ValueError, fileio.NotFoundError, tf.errors.OpError) as error:
        return [Problem(key, str(error), expected, _RUN_UPSTREAM)]
    return []


def _transform_graph(uri: str) -> None:
    missing = [name for name in ("transform_fn", "transformed_metadata") if not fileio.isdir(os.path.join(uri, name))]
    if missing:
        raise ValueError(f"no {' and no '.join(missing)} in {uri}")


def _base_model(uri: str) -> None:
    path = path_utils.serving_model_path(uri)
    if not fileio.isdir(path):
        raise ValueError(f"no serving model at {path}")


def _outputs(output_dict: Artifacts) -> list[Problem]:
    needed = [keys.MODEL, keys.MODEL_RUN, *({keys.TEST_RESULTS} & set(output_dict))]  # TFX's Trainer lacks the last
    return [
        Problem("the node's outputs", f"{len(output_dict.get(key) or [])} artifacts for {key!r}", "one")
        for key in needed
        if len(output_dict.get(key) or []) != 1
    ]
