"""What a step tells of its outputs, made into what the launcher of Kubeflow Pipelines takes."""

from __future__ import annotations

import os
from typing import Any

from polytrainer.pipelines.kubeflow.mirrors import Mirrors


def rewrite(source: str, target: str, mirrors: Mirrors) -> None:
    """Rewrites the ExecutorOutput that TFX wrote into `source`, which may be `target`, where the launcher expects it.

    Paths below mirrors become URIs again, or the launcher would upload nothing: those of artifacts, and those in their
    metadata, such as the model that an Evaluator blessed. Properties without a value are left out, because the launcher
    cannot keep them (StructValueToMLMDValue in converter.go) and would fail the step.
    """
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2
    from tfx.dsl.io import fileio

    with fileio.open(source) as file:
        output = json_format.Parse(file.read(), pipeline_spec_pb2.ExecutorOutput())
    adapt(output, mirrors)
    fileio.makedirs(os.path.dirname(target))
    with fileio.open(target, "w") as file:
        file.write(json_format.MessageToJson(output))


def adapt(output: Any, mirrors: Mirrors) -> None:
    """Changes an ExecutorOutput of TFX, in place."""
    for artifacts in output.artifacts.values():
        for artifact in artifacts.artifacts:
            artifact.uri = mirrors.uri(artifact.uri)
            _adapt_metadata(artifact.metadata.fields, mirrors)


def _adapt_metadata(fields: Any, mirrors: Mirrors) -> None:
    for name, value in list(fields.items()):
        kind = value.WhichOneof("kind")
        if kind == "string_value":
            value.string_value = mirrors.uri(value.string_value)
        elif kind in (None, "null_value"):
            del fields[name]
