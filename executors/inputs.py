"""The files behind a Trainer's optional inputs."""

from __future__ import annotations

import json
from typing import Any

from tfx.dsl.io import fileio
from tfx.types import Artifact, artifact_utils
from tfx.utils import io_utils

from polytrainer.proto import keys


def only_file(artifact_uri: str) -> str:
    """Path of the one file that an artifact's folder holds.

    Raises:
        ValueError: If there is no folder, no file in it, or more than one; says which.
    """
    names = sorted(fileio.listdir(artifact_uri)) if fileio.isdir(artifact_uri) else None
    if names is None:
        raise ValueError(f"no folder at {artifact_uri}")
    if len(names) != 1:
        raise ValueError(
            f"{len(names)} files in {artifact_uri}: {names}" if names else f"an empty folder, {artifact_uri}"
        )
    return io_utils.get_only_uri_in_dir(artifact_uri)  # type: ignore[no-any-return]


def read_hyperparameters(input_dict: dict[str, list[Artifact]]) -> Any:
    """The Tuner's best hyperparameters, as `HyperParameters.get_config()` made them; None if the node has none.

    Raises:
        ValueError: If the artifact does not hold one file of JSON.
    """
    if not input_dict.get(keys.HYPERPARAMETERS):
        return None
    path = only_file(artifact_utils.get_single_uri(input_dict[keys.HYPERPARAMETERS]))
    with fileio.open(path, "rb") as file:
        content = file.read()
    try:
        return json.loads(content)
    except ValueError as error:
        raise ValueError(f"{path}, which is not JSON ({error})") from error


def read_num_examples(input_dict: dict[str, list[Artifact]]) -> dict[str, int] | None:
    """Number of examples by split, from the statistics; None if the node has none.

    Raises:
        OSError, ValueError, tf.errors.OpError: If there are no statistics where they should be.
    """
    if not input_dict.get(keys.STATISTICS):
        return None
    from tfx.components.statistics_gen import stats_artifact_utils

    artifact = artifact_utils.get_single_instance(input_dict[keys.STATISTICS])
    return {
        split: int(stats_artifact_utils.load_statistics(artifact, split).proto().datasets[0].num_examples)
        for split in artifact_utils.decode_split_names(artifact.split_names)
    }
