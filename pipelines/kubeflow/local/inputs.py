"""The ExecutorInput of a step, as the driver of Kubeflow Pipelines builds it."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from polytrainer.pipelines.errors import KubeflowError
from polytrainer.pipelines.kubeflow.local import values
from polytrainer.pipelines.kubeflow.local.contract import Contract
from polytrainer.pipelines.kubeflow.local.pipeline_spec import CompiledPipeline
from polytrainer.pipelines.kubeflow.local.records import Records
from polytrainer.pipelines.kubeflow.local.store import is_in_a_store
from polytrainer.pipelines.kubeflow.mirrors import SCHEMES, Mirrors
from polytrainer.proto.problems import Problem

_LOGS = "executor-logs"


@dataclass(frozen=True)
class Driver:
    """Says what each step gets.

    Attributes:
        pipeline: The pipeline.
        contract: What the service does around a step.
        records: What earlier steps left.
        parameters: Values of the pipeline's own parameters.
        run_root: URI or folder below which this run's artifacts are.
        run_id: The run's name.
    """

    pipeline: CompiledPipeline
    contract: Contract
    records: Records
    parameters: Mapping[str, Any]
    run_root: str
    run_id: str

    def executor_input(self, task: str, mirrors: Mirrors) -> Any:
        """Builds an ExecutorInput (resolveInputs and provisionOutputs in the driver).

        Args:
            task: The task.
            mirrors: Where objects will be when the step runs.

        Raises:
            KubeflowError: A value is missing, or is of another type than the component declares.
        """
        from kfp.pipeline_spec import pipeline_spec_pb2

        executor_input = pipeline_spec_pb2.ExecutorInput()
        self._add_inputs(executor_input.inputs, task)
        self._add_outputs(executor_input.outputs, task, mirrors)
        return executor_input

    def parameter(self, task: str, name: str, spec: Any) -> Any:
        """The value of an input parameter."""
        kind = spec.WhichOneof("kind")
        where = f"parameter {name!r} of task {task!r}"
        if kind == "component_input_parameter":
            if spec.component_input_parameter not in self.parameters:
                expected = f"a value of the pipeline's parameter {spec.component_input_parameter!r}"
                raise KubeflowError(Problem(where, "none", expected))
            return self.parameters[spec.component_input_parameter]
        if kind == "task_output_parameter":
            source = spec.task_output_parameter
            return self.records.parameter(source.producer_task, source.output_parameter_key)
        if kind == "runtime_value" and spec.runtime_value.WhichOneof("value") == "constant":
            return self._constant(task, spec.runtime_value.constant)
        raise KubeflowError(Problem(where, f"a value by {kind}", "a constant, a parameter or an output of a task"))

    def _add_inputs(self, inputs: Any, task: str) -> None:
        declared = self.pipeline.component(task).input_definitions
        given = self.pipeline.tasks[task].inputs
        for name, spec in given.parameters.items():
            inputs.parameter_values[name].CopyFrom(self.parameter(task, name, spec))
        for name, spec in declared.parameters.items():
            values.conform(f"parameter {name!r} of task {task!r}", inputs.parameter_values, name, spec)
        for name, spec in given.artifacts.items():
            if spec.WhichOneof("kind") != "task_output_artifact":
                raise KubeflowError(Problem(f"input {name!r} of task {task!r}", "no task", "a task that it comes from"))
            source = spec.task_output_artifact
            artifact = self.records.artifact(source.producer_task, source.output_artifact_key)
            inputs.artifacts[name].artifacts.add().CopyFrom(artifact)

    def _add_outputs(self, outputs: Any, task: str, mirrors: Mirrors) -> None:
        declared = self.pipeline.component(task).output_definitions
        task_root = posixpath.join(self.run_root, task, str(uuid4()))
        for name, spec in declared.artifacts.items():
            artifact = outputs.artifacts[name].artifacts.add(name=name, uri=posixpath.join(task_root, name))
            artifact.type.CopyFrom(spec.artifact_type)
            artifact.metadata.CopyFrom(spec.metadata)
        if self.contract.publishes_logs:
            uri = posixpath.join(task_root, f"{_LOGS}-0")  # the first attempt
            logs = outputs.artifacts[_LOGS].artifacts.add(name=_LOGS, uri=uri)
            logs.type.schema_title = "system.Artifact"
        for name in declared.parameters:
            outputs.parameters[name].output_file = os.path.join(mirrors.root, "tmp", "kfp", "outputs", name)
        outputs.output_file = posixpath.join(mirrors.path(task_root), "output_metadata.json")

    def _constant(self, task: str, value: Any) -> Any:
        known = {
            "{{$.pipeline_job_name}}": self.pipeline.name,
            "{{$.pipeline_job_resource_name}}": self.run_id,
            "{{$.pipeline_job_uuid}}": self.run_id,
            "{{$.pipeline_task_name}}": task,
        }
        return values.text(known[value.string_value]) if value.string_value in known else value


def run_root(pipeline: CompiledPipeline, contract: Contract, given: str | None, folder: Path, run_id: str) -> str:
    """Below which URI, or folder, a run's artifacts are.

    Args:
        pipeline: The pipeline, which may say its root.
        contract: Whether the root is in an object store.
        given: What a person said instead; else the pipeline's own; else the service's default.
        folder: Where a service without object stores keeps artifacts.
        run_id: The run's name.

    Raises:
        KubeflowError: The root is in no store that the launcher knows.
    """
    if not contract.mirrors_stores:
        return str(folder / pipeline.name / run_id)
    root = given or pipeline.spec.default_pipeline_root or "minio://mlpipeline/v2/artifacts"
    if not is_in_a_store(root):
        raise KubeflowError(Problem("the pipeline's root", root, f"a URI that begins with {', '.join(SCHEMES)}"))
    return posixpath.join(root.partition("?")[0].rstrip("/"), pipeline.name, run_id)
