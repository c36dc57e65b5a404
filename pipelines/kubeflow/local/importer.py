"""A task that names an artifact which is there already."""

from __future__ import annotations

from typing import Any

from polytrainer.pipelines.errors import KubeflowError
from polytrainer.pipelines.kubeflow.local.contract import Contract
from polytrainer.pipelines.kubeflow.local.inputs import Driver
from polytrainer.pipelines.kubeflow.local.records import Published
from polytrainer.proto.problems import Problem


def imported(task: str, driver: Driver, contract: Contract) -> Published:
    """The artifact that a task names (importer_launcher.go).

    Raises:
        KubeflowError: It names none, or one that the service cannot import.
    """
    from kfp.pipeline_spec import pipeline_spec_pb2

    importer = driver.pipeline.executor(task).importer
    [output] = driver.pipeline.component(task).output_definitions.artifacts
    artifact = pipeline_spec_pb2.RuntimeArtifact(uri=_uri(task, importer.artifact_uri, driver))
    if contract.mirrors_stores and "://" not in artifact.uri:
        expected = "a URI with a scheme, such as s3://bucket/key"
        raise KubeflowError(Problem(f"artifact that task {task!r} imports", artifact.uri or "no URI", expected))
    artifact.type.CopyFrom(importer.type_schema)
    artifact.metadata.CopyFrom(importer.metadata)
    return Published({output: artifact})


def _uri(task: str, said: Any, driver: Driver) -> str:
    if said.WhichOneof("value") == "constant":
        return str(said.constant.string_value)
    name = said.runtime_parameter
    given = driver.pipeline.tasks[task].inputs.parameters
    return str(driver.parameter(task, name, given[name]).string_value)
