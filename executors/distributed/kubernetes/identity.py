"""Which job is that of this training? Known by all that the training follows from, so that it is found again."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from tfx.dsl.components.base import base_executor
from tfx.types import Artifact

from polytrainer.executors.checkpoints import fingerprint
from polytrainer.executors.distributed.kubernetes.manifests import OPTIONS
from polytrainer.executors.names import names_of
from polytrainer.proto import cluster, keys

Artifacts = dict[str, list[Artifact]]
_RUN = "polytrainer/pipeline-run"
_LONGEST_NODE = 30  # of a name: Kubernetes makes those of pods and services of it, of 63 letters at most
_OF_THE_LAUNCHER = ("poll_seconds", "patience_seconds", "restarts", "timeout_seconds", "context")


def training(executor: base_executor.BaseExecutor, inputs: Artifacts, properties: Mapping[str, Any], code: str) -> str:
    """A name for what is trained, in whatever run and by whatever try: no two jobs may write its checkpoints."""
    code_itself = (keys.MODULE_PATH, keys.MODULE_FILE)
    parts = {
        "node": names(executor)["pipeline"] + "/" + names(executor)["node"],
        "executor": f"{type(executor).__module__}.{type(executor).__qualname__}",
        "inputs": {key: [artifact.uri for artifact in artifacts] for key, artifacts in inputs.items()},
        "properties": {name: value for name, value in properties.items() if name not in code_itself},
        "code": code,
    }
    return fingerprint(parts)


def name(executor: base_executor.BaseExecutor, training: str) -> str:
    """Of the job: the node's, as far as Kubernetes allows it, and what is trained."""
    said = re.sub(r"[^a-z0-9]+", "-", names(executor)["node"].lower()).strip("-")
    node = re.sub(r"^[^a-z]+", "", said)[:_LONGEST_NODE].strip("-")
    return f"{node or 'trainer'}-{training[:12]}"


def marks(executor: base_executor.BaseExecutor, options: cluster.ClusterJob) -> dict[str, str]:
    """What a launcher that finds the job knows it by: what was asked for, other than how it is followed."""
    told = {name: value for name, value in json.loads(cluster.dumps(options)).items() if name not in _OF_THE_LAUNCHER}
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]
    return {OPTIONS: digest, _RUN: names(executor)["run"]}


def names(executor: base_executor.BaseExecutor) -> dict[str, str]:
    """Of pipeline, run and node; empty where the runner has not told them."""
    return {"pipeline": "", "run": "", "node": "", **names_of(executor._context)}
