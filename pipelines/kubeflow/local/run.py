"""A compiled pipeline, task by task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

from polytrainer.pipelines.errors import KubeflowError
from polytrainer.pipelines.kubeflow.local import environment, values
from polytrainer.pipelines.kubeflow.local.contract import OSS, Contract
from polytrainer.pipelines.kubeflow.local.importer import imported
from polytrainer.pipelines.kubeflow.local.inputs import Driver, run_root
from polytrainer.pipelines.kubeflow.local.launcher import Launcher, mirrors_in
from polytrainer.pipelines.kubeflow.local.pipeline_spec import CompiledPipeline
from polytrainer.pipelines.kubeflow.local.records import Published, Records
from polytrainer.pipelines.kubeflow.local.store import Store
from polytrainer.proto.problems import Problem


class LocalRun:
    """One run of a pipeline on this machine.

    Args:
        pipeline: The compiled pipeline.
        root: Folder for all that is written: `store/` has what the object store would hold, and
            `runs/<run>/<task>/log.txt` what the steps wrote. A step that failed leaves its file system there, too.
        contract: What the service does around a step.
        parameters: The pipeline's own parameters, as text.
        secrets: Secrets that steps get as variables, by (secret, key).
        pipeline_root: URI that artifacts have; the pipeline's own if it is not given.
        run_id: The run's name; the time, and what makes it unique, if it is not given.

    Raises:
        KubeflowError: A parameter is missing, unknown or of another type than the pipeline declares.
    """

    def __init__(
        self,
        pipeline: CompiledPipeline,
        root: Path,
        *,
        contract: Contract = OSS,
        parameters: Mapping[str, str] | None = None,
        secrets: Mapping[tuple[str, str], str] | None = None,
        pipeline_root: str | None = None,
        run_id: str | None = None,
    ):
        self.pipeline, self.contract = pipeline, contract
        self.root = root.resolve()
        self.run_id = run_id or f"{datetime.now():%Y%m%d-%H%M%S}-{uuid4().hex[:4]}"
        self.store = Store(self.root / "store")
        self._secrets = secrets or {}
        self._parameters = _parameters(pipeline, parameters or {})
        self._records = Records(contract)
        self._run_root = run_root(pipeline, contract, pipeline_root, self.store.folder, self.run_id)

    def step(self, task: str) -> Published:
        """Runs a task whose upstream tasks have run.

        Raises:
            StepError: It did not succeed.
            KubeflowError: What it is to get cannot be found, or does not fit.
        """
        if self.pipeline.executor(task).WhichOneof("spec") == "importer":
            published = imported(task, self._driver, self.contract)
        else:
            mirrors = mirrors_in(self.folder(task))
            published = self._launcher(task).run(self._driver.executor_input(task, mirrors))
        self._records.publish(task, published)
        return published

    def folder(self, task: str) -> Path:
        """Where a task's log is."""
        return self.root / "runs" / self.run_id / task

    def notices(self) -> Iterator[str]:
        """What of the pipeline has no effect on this machine, in words."""
        for task in self.pipeline.order:
            for notice in environment.notices(self.pipeline.kubernetes(task), self._secrets):
                yield f"{task}: {notice}"

    @cached_property
    def _driver(self) -> Driver:
        return Driver(self.pipeline, self.contract, self._records, self._parameters, self._run_root, self.run_id)

    def _launcher(self, task: str) -> Launcher:
        container = self.pipeline.executor(task).container
        folder = self.folder(task)
        variables = environment.of(container, self.pipeline.kubernetes(task), self._secrets, mirrors_in(folder))
        component = self.pipeline.component(task)
        return Launcher(task, component, container, self.contract, self.store, folder, variables)


def _parameters(pipeline: CompiledPipeline, given: Mapping[str, str]) -> dict[str, Any]:
    """The pipeline's parameters: those that were given, and the defaults of others."""
    declared = pipeline.spec.root.input_definitions.parameters
    if unknown := sorted(set(given) - set(declared)):
        known = f"one of {', '.join(sorted(declared))}" if declared else "none: the pipeline has no parameters"
        raise KubeflowError(Problem("parameter", ", ".join(unknown), known))
    found = {name: values.from_text(f"parameter {name!r}", text, declared[name]) for name, text in given.items()}
    for name, spec in declared.items():
        if name not in found and spec.HasField("default_value"):
            found[name] = spec.default_value
    if missing := sorted(set(declared) - set(found)):
        remedy = " ".join(f"--parameter {name}=VALUE" for name in missing)
        raise KubeflowError(Problem(f"parameter {', '.join(missing)}", "no value", "one", f"Give {remedy}."))
    return found
