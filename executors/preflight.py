"""Everything that can be seen to be wrong before training, seen before training, and all of it at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from absl import logging
from tfx.types import Artifact
from tfx.utils import json_utils

from polytrainer.executors import user_code
from polytrainer.executors.backends.environment import environment_for
from polytrainer.executors.distributed import strategies
from polytrainer.executors.errors import PreflightError, UserCodeError
from polytrainer.executors.frameworks import framework_of
from polytrainer.executors.inputs_read import inputs_read
from polytrainer.executors.preflight_examples import Finding, check_args_and_splits
from polytrainer.executors.preflight_inputs import check_inputs
from polytrainer.proto import args, export_args, keys
from polytrainer.proto.problems import Problem
from polytrainer.proto.trainer_pb2 import ExportArgs, TrainArgs

Artifacts = dict[str, list[Artifact]]


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
        code, wrong_code, cause = None, [], None
        try:
            location = user_code.locate(exec_properties)
            stack.enter_context(environment_for(framework_of(location)))
            code = stack.enter_context(user_code.imported(location))
        except UserCodeError as error:
            wrong_code, cause = [error.problem], error.__cause__
        problems = check(input_dict, output_dict, exec_properties, inputs_read(code, input_dict)) + wrong_code
        if problems:
            raise PreflightError(problems) from cause
        assert code is not None
        yield code


def check(
    input_dict: Artifacts,
    output_dict: Artifacts,
    exec_properties: dict[str, Any],
    read: frozenset[str] = frozenset(),
) -> list[Problem]:
    """Looks at each input and property of the node.

    What is certain to fail is a problem, as it is under TFX. Of the rest the user's code may make something (CSV files
    that it reads itself, a split that it does not use): it is a problem where polytrainer reads the input, and else a
    warning in the log.

    Args:
        input_dict: Artifacts of the node by key.
        output_dict: Likewise, those to write.
        exec_properties: Of the node.
        read: Keys of what polytrainer reads itself, see `inputs_read`.

    Returns:
        Every problem found; empty if training may begin.
    """
    problems = []
    for key, problem in _findings(input_dict, output_dict, exec_properties, read):
        if key is None or key in read:
            problems.append(problem)
        else:
            logging.warning("Training goes on, as the user's code may not need it: %s", problem)
    return problems


def _findings(
    input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any], read: frozenset[str]
) -> Iterator[Finding]:
    yield from check_args_and_splits(input_dict, exec_properties, all_files=keys.EXAMPLES in read)
    yield from ((None, problem) for problem in (*_export_args(exec_properties), *_custom_config(exec_properties)))
    yield from check_inputs(input_dict)
    yield from ((None, problem) for problem in _outputs(output_dict))


def _train_args(exec_properties: dict[str, Any]) -> TrainArgs:
    try:
        return args.parse(exec_properties.get(keys.TRAIN_ARGS), TrainArgs)
    except (TypeError, ValueError):  # which `check` reports
        return TrainArgs()


def _export_args(exec_properties: dict[str, Any]) -> list[Problem]:
    try:
        return export_args.check(args.parse(exec_properties.get(keys.EXPORT_ARGS), ExportArgs))
    except (TypeError, ValueError) as error:
        return [Problem(keys.EXPORT_ARGS, str(error), "valid ExportArgs")]


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


def _outputs(output_dict: Artifacts) -> list[Problem]:
    needed = [keys.MODEL, keys.MODEL_RUN, *({keys.TEST_RESULTS} & set(output_dict))]  # TFX's Trainer lacks the last
    return [
        Problem("the node's outputs", f"{len(output_dict.get(key) or [])} artifacts for {key!r}", "one")
        for key in needed
        if len(output_dict.get(key) or []) != 1
    ]
