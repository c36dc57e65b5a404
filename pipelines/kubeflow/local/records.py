"""What ML Metadata keeps of an artifact, and what a later step is told of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from polytrainer.pipelines.errors import KubeflowError
from polytrainer.pipelines.kubeflow.local.contract import Contract
from polytrainer.proto.problems import Problem


@dataclass
class Published:
    """What a task left for others.

    Attributes:
        artifacts: RuntimeArtifacts by output.
        parameters: Values by output.
    """

    artifacts: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)


class Records:
    """ML Metadata of one run."""

    def __init__(self, contract: Contract):
        self._contract = contract
        self._ids: Iterator[int] = count(1)
        self._published: dict[str, Published] = {}

    def publish(self, task: str, published: Published) -> None:
        """Keeps what a task left, each artifact under an id of its own."""
        for name, artifact in published.artifacts.items():
            if self._contract.wraps_metadata:
                _through_ml_metadata(name, artifact)
            artifact.name = str(next(self._ids))
        self._published[task] = published

    def artifact(self, task: str, output: str) -> Any:
        """An artifact, as a later step is told of it."""
        artifact = self._found(self._published[task].artifacts, task, output)
        told = type(artifact)()
        told.CopyFrom(artifact)
        if not self._contract.types_inputs:
            told.type.instance_schema = ""  # "TODO(Bobgy): figure out how to get schema", metadata/client.go
        return told

    def parameter(self, task: str, output: str) -> Any:
        """The value of an output parameter."""
        return self._found(self._published[task].parameters, task, output)

    @staticmethod
    def _found(outputs: dict[str, Any], task: str, output: str) -> Any:
        if output not in outputs:
            raise KubeflowError(Problem(f"task {task!r}", f"no output {output!r}", f"one of {', '.join(outputs)}"))
        return outputs[output]


def _through_ml_metadata(name: str, artifact: Any) -> None:
    """Changes metadata as it is changed on its way through ML Metadata: metadata/converter.go and RecordArtifact."""
    fields = artifact.metadata.fields
    for key, value in fields.items():
        kind = value.WhichOneof("kind")
        if kind == "bool_value":
            value.number_value = float(value.bool_value)
        elif kind in ("list_value", "struct_value"):
            inner = type(value)()
            inner.CopyFrom(value)
            value.struct_value.Clear()
            value.struct_value.fields["list" if kind == "list_value" else "struct"].CopyFrom(inner)
        elif kind in (None, "null_value"):
            expected = "a value: the launcher fails on one that is null"
            raise KubeflowError(Problem(f"output {name!r}", f"metadata {key!r} of null", expected))
    artifact.metadata.fields["display_name"].string_value = name
    artifact.metadata.fields["store_session_info"].string_value = json.dumps({"Provider": "minio", "Params": {}})
