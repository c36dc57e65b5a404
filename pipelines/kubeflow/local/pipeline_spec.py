"""A compiled pipeline, as it lies in a YAML file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from polytrainer.pipelines.errors import KubeflowError
from polytrainer.pipelines.kubeflow.local.contract import Contract
from polytrainer.proto.problems import Problem

_COMPILE = "Compile the pipeline with polytrainer.pipelines.kubeflow.compile."


@dataclass(frozen=True)
class CompiledPipeline:
    """What a service is given to run.

    Attributes:
        spec: The PipelineSpec.
        executors: The ExecutorSpec of each executor label.
        platform: What the second document says for Kubernetes, by executor label.
    """

    spec: Any
    executors: Mapping[str, Any]
    platform: Mapping[str, Mapping[str, Any]]

    @classmethod
    def read(cls, path: Path, contract: Contract) -> CompiledPipeline:
        """Reads a pipeline and looks at whether it can be run here.

        Args:
            path: A YAML file of one PipelineSpec, and a PlatformSpec behind it if there is one.
            contract: What the service takes.

        Raises:
            KubeflowError: The file holds no such pipeline, or one with parts that cannot be run here.
        """
        _require_kfp()
        spec, platform = _documents(path)
        pipeline = _parsed(path, spec, platform)
        _check(path, pipeline, contract)
        return pipeline

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return str(self.spec.pipeline_info.name)

    @property
    def tasks(self) -> Mapping[str, Any]:
        """The PipelineTaskSpec of each task."""
        tasks: Mapping[str, Any] = self.spec.root.dag.tasks
        return tasks

    @property
    def order(self) -> Sequence[str]:
        """All tasks, each after those that it depends on."""
        return tuple(
            TopologicalSorter({name: _upstream(self.tasks[name]) for name in sorted(self.tasks)}).static_order()
        )

    def component(self, task: str) -> Any:
        """The ComponentSpec of a task."""
        return self.spec.components[self.tasks[task].component_ref.name]

    def executor(self, task: str) -> Any:
        """The ExecutorSpec of a task."""
        return self.executors[self.component(task).executor_label]

    def kubernetes(self, task: str) -> Mapping[str, Any]:
        """What the platform document asks of Kubernetes for a task."""
        return self.platform.get(self.component(task).executor_label, {})


def _require_kfp() -> None:
    if find_spec("kfp") is None:
        remedy = 'pip install "polytrainer[kfp]"'
        raise KubeflowError(Problem("kfp", "no such package in this environment", "the one with PipelineSpec", remedy))


def _documents(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    import yaml

    expected = "a YAML file of a PipelineSpec"
    try:
        documents = [each for each in yaml.safe_load_all(path.read_text()) if each is not None]
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise KubeflowError(Problem(str(path), str(error), expected, _COMPILE)) from error
    if not documents or not isinstance(documents[0], dict) or "root" not in documents[0]:
        job = documents and isinstance(documents[0], dict) and "pipelineSpec" in documents[0]
        got = "a PipelineJob, which is Vertex's" if job else "something else"
        raise KubeflowError(Problem(str(path), got, expected, _COMPILE))
    platform = documents[1] if len(documents) > 1 else {}
    return documents[0], platform


def _parsed(path: Path, document: dict[str, Any], platform: dict[str, Any]) -> CompiledPipeline:
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2

    deployment = pipeline_spec_pb2.PipelineDeploymentConfig()
    try:
        spec = json_format.ParseDict(document, pipeline_spec_pb2.PipelineSpec())
        json_format.ParseDict(json_format.MessageToDict(spec.deployment_spec), deployment)
    except json_format.ParseError as error:
        remedy = "Run it with the kfp-pipeline-spec that it was compiled with, or a newer one."
        got = str(error).partition("\n")[0]  # the rest lists all fields that are known
        raise KubeflowError(Problem(str(path), got, "a PipelineSpec", remedy)) from error
    kubernetes = platform.get("platforms", {}).get("kubernetes", {}).get("deploymentSpec", {}).get("executors", {})
    return CompiledPipeline(spec, deployment.executors, kubernetes)


def _check(path: Path, pipeline: CompiledPipeline, contract: Contract) -> None:
    version = pipeline.spec.schema_version
    if contract.schema_version not in (None, version):
        expected = f"schema {contract.schema_version}, the only one that Kubeflow Pipelines takes"
        raise KubeflowError(Problem(str(path), f"a PipelineSpec of schema {version or 'unknown'}", expected, _COMPILE))
    try:
        order = pipeline.order
    except CycleError as error:
        raise KubeflowError(Problem(str(path), f"tasks in a circle: {error.args[1]}", "none", _COMPILE)) from error
    for name in order:
        if name not in pipeline.tasks:
            needing = [other for other in pipeline.tasks if name in _upstream(pipeline.tasks[other])]
            raise KubeflowError(Problem(str(path), f"no task {name!r}", f"one, as {needing[0]!r} depends on it"))
        _check_task(name, pipeline)


def _check_task(name: str, pipeline: CompiledPipeline) -> None:
    task, component = pipeline.tasks[name], pipeline.component(name)
    found = None
    if component.WhichOneof("implementation") == "dag":
        found = "a pipeline within the pipeline, such as one with an exit handler"
    elif task.WhichOneof("iterator"):
        found = "a loop"
    elif task.trigger_policy.condition:
        found = f"the condition {task.trigger_policy.condition}"
    elif (kind := pipeline.executor(name).WhichOneof("spec")) not in ("container", "importer"):
        found = f"a {kind}, which open-source Kubeflow Pipelines does not run either"
    if found:
        expected = "a task that runs a container or imports an artifact"
        raise KubeflowError(Problem(f"task {name!r}", found, expected, "Nothing else is run on this machine."))


def _upstream(task: Any) -> set[str]:
    return {*task.dependent_tasks, *_producers(task)}


def _producers(task: Any) -> Iterator[str]:
    for artifact in task.inputs.artifacts.values():
        if artifact.WhichOneof("kind") == "task_output_artifact":
            yield artifact.task_output_artifact.producer_task
    for parameter in task.inputs.parameters.values():
        if parameter.WhichOneof("kind") == "task_output_parameter":
            yield parameter.task_output_parameter.producer_task
