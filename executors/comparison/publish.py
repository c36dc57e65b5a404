"""A comparison's outputs: the blessing that Pusher obeys, the best model, comparison.json."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from tfx.components.evaluator import constants
from tfx.types import Artifact
from tfx.utils import io_utils

from polytrainer.executors.comparison.participants import Participant
from polytrainer.executors.comparison.table import FILE

CANDIDATE = "candidate"
SOURCE_URI = "source_model"
SOURCE_ID = "source_model_id"


def write_comparison(artifact: Artifact, document: Mapping[str, Any]) -> None:
    """Writes comparison.json, and says the most important of it in properties."""
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    io_utils.write_string_file(os.path.join(artifact.uri, FILE), text)
    artifact.set_string_custom_property("best", document["best"])
    artifact.set_int_custom_property("blessed", int(document["blessed"]))
    artifact.set_int_custom_property("rows", document["rows"])


def write_blessing(
    artifact: Artifact, best: Participant, baseline: Participant | None, is_blessed: bool, component_id: str | None
) -> None:
    """Says whether the best candidate is blessed, as TFX's Evaluator does.

    Args:
        artifact: The blessing.
        best: The best candidate; its own model is named, which `LatestBlessedModelStrategy` looks for by its id.
        baseline: What it was compared with.
        is_blessed: Whether it is.
        component_id: Of the comparing node.
    """
    artifact.set_string_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY, best.model.uri)
    artifact.set_int_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY, best.model.id)
    if baseline is not None:
        artifact.set_string_custom_property(constants.ARTIFACT_PROPERTY_BASELINE_MODEL_URI_KEY, baseline.model.uri)
        artifact.set_int_custom_property(constants.ARTIFACT_PROPERTY_BASELINE_MODEL_ID_KEY, baseline.model.id)
    if component_id is not None:
        artifact.set_string_custom_property("component_id", component_id)
    name = constants.BLESSED_FILE_NAME if is_blessed else constants.NOT_BLESSED_FILE_NAME
    io_utils.write_string_file(os.path.join(artifact.uri, name), "")
    value = constants.BLESSED_VALUE if is_blessed else constants.NOT_BLESSED_VALUE
    artifact.set_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY, value)


def copy_model(artifact: Artifact, best: Participant) -> None:
    """Copies the best candidate's model with all its formats and properties, and says where it came from.

    Copies, because Pusher reads below the uri of what it is given, and TFX wants an output to stay at the uri it was
    given.
    """
    io_utils.copy_dir(best.model.uri, artifact.uri)
    for name, value in best.model.mlmd_artifact.custom_properties.items():
        if name not in _SYSTEM_PROPERTIES:
            artifact.mlmd_artifact.custom_properties[name].CopyFrom(value)
    artifact.set_string_custom_property(CANDIDATE, best.name)
    artifact.set_string_custom_property(SOURCE_URI, best.model.uri)
    artifact.set_int_custom_property(SOURCE_ID, best.model.id)


_SYSTEM_PROPERTIES = ("name", "producer_component", "pipeline_name", "state", "is_external", "tfx_version")
