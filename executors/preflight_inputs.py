"""The inputs of a node beside its Examples, looked at before training."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

from tfx.dsl.io import fileio
from tfx.types import Artifact
from tfx.utils import path_utils

from polytrainer.executors.data.feature_specs import read_schema
from polytrainer.executors.inputs import only_file, read_hyperparameters, read_num_examples
from polytrainer.executors.preflight_examples import RUN_UPSTREAM, Artifacts, Finding
from polytrainer.proto import keys
from polytrainer.proto.problems import Problem


def check_inputs(input_dict: Artifacts) -> Iterator[Finding]:
    """Looks at each optional input: first at what TFX itself needs of it, then at what a reader of it needs."""
    checks: dict[str, tuple[str, Callable[[str], Any], Callable[[Any], Any] | None]] = {
        keys.SCHEMA: ("one schema.pbtxt", only_file, read_schema),
        keys.STATISTICS: ("the output of a StatisticsGen component", lambda _: read_num_examples(input_dict), None),
        keys.TRANSFORM_GRAPH: ("the output of a Transform component", str, _check_transform_graph),
        keys.HYPERPARAMETERS: (
            "one JSON file with an object in it",
            lambda _: read_hyperparameters(input_dict),
            _check_hyperparameters,
        ),
        keys.BASE_MODEL: (
            "a model that was trained and not cleaned up",
            lambda _: _serving_model_path(input_dict[keys.BASE_MODEL][0]),
            _check_serving_model,
        ),
    }
    for key, (expected, resolve, check) in checks.items():
        yield from _check_input(input_dict, key, expected, resolve, check)


def _check_input(
    input_dict: Artifacts,
    key: str,
    expected: str,
    resolve: Callable[[str], Any],
    check: Callable[[Any], Any] | None,
) -> Iterator[Finding]:
    """What is wrong with an input that holds at most one artifact.

    Args:
        input_dict: Artifacts of the node by key.
        key: Of the input.
        expected: For messages.
        resolve: Takes the artifact's URI; what it raises is raised under TFX, too.
        check: Takes what `resolve` returned; what it raises matters to those who read the input.
    """
    artifacts = input_dict.get(key)
    if not artifacts:
        return
    if len(artifacts) != 1:
        uris = [artifact.uri for artifact in artifacts]
        yield (
            None,
            Problem(key, f"{len(artifacts)} artifacts, {uris}", "one", "Put a Resolver before it that chooses one."),
        )
        return
    import tensorflow as tf

    failures = (OSError, ValueError, RuntimeError, fileio.NotFoundError, tf.errors.OpError)
    try:
        resolved = resolve(artifacts[0].uri)
    except failures as error:
        yield None, Problem(key, str(error), expected, RUN_UPSTREAM)
        return
    try:
        if check is not None:
            check(resolved)
    except failures as error:
        yield key, Problem(key, str(error), expected, RUN_UPSTREAM)


def _check_transform_graph(uri: str) -> None:
    missing = [name for name in ("transform_fn", "transformed_metadata") if not fileio.isdir(os.path.join(uri, name))]
    if missing:
        raise ValueError(f"no {' and no '.join(missing)} in {uri}")


def _check_hyperparameters(values: Any) -> None:
    if not isinstance(values, dict):
        raise ValueError(f"JSON which holds a {type(values).__name__}: {values!r:.200}")


def _serving_model_path(artifact: Artifact) -> str:
    """Where TFX says that the serving model is: elsewhere in models of TFX before 0.29."""
    return str(path_utils.serving_model_path(artifact.uri, path_utils.is_old_model_artifact(artifact)))


def _check_serving_model(path: str) -> None:
    if not fileio.isdir(path):
        raise ValueError(f"no serving model at {path}")
