"""How a service treats a step: what open-source Kubeflow Pipelines does, and what Vertex Pipelines does."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Contract:
    """What happens around a step's command.

    Attributes:
        mirrors_stores: URIs are of an object store; inputs are downloaded to the step's mirror folders, outputs are
            uploaded from there. Without it they are plain folders.
        types_inputs: Input artifacts say their type. Without it they say `{"instanceSchema": ""}`.
        publishes_logs: There is an output `executor-logs` of type system.Artifact.
        runs_drivers: `lifecycle.preCacheCheck` is run before the step.
        wraps_metadata: Metadata of artifacts goes through ML Metadata, which changes some of it.
        schema_version: The one of pipelines that are taken; None for any.
    """

    mirrors_stores: bool
    types_inputs: bool
    publishes_logs: bool
    runs_drivers: bool
    wraps_metadata: bool
    schema_version: str | None


# backend/src/v2/{driver,component,metadata} of github.com/kubeflow/pipelines, as of August 2026
OSS = Contract(
    mirrors_stores=True,
    types_inputs=False,
    publishes_logs=True,
    runs_drivers=False,
    wraps_metadata=True,
    schema_version="2.1.0",
)
# what TFX's own container entrypoint expects
VERTEX = Contract(
    mirrors_stores=False,
    types_inputs=True,
    publishes_logs=False,
    runs_drivers=True,
    wraps_metadata=False,
    schema_version=None,
)
