"""One step, as the launcher of Kubeflow Pipelines runs it: inputs down, the command, outputs up."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polytrainer.pipelines.errors import KubeflowError
from polytrainer.pipelines.kubeflow.local import command, values
from polytrainer.pipelines.kubeflow.local.contract import Contract
from polytrainer.pipelines.kubeflow.local.records import Published
from polytrainer.pipelines.kubeflow.local.store import Store, is_in_a_store
from polytrainer.pipelines.kubeflow.mirrors import Mirrors

_LOGS = "executor-logs"


class StepError(Exception):
    """A step did not succeed.

    Attributes:
        task: Its task.
        reason: Why, in a few words.
        log: What its command wrote.
    """

    def __init__(self, task: str, reason: str, log: Path):
        self.task, self.reason, self.log = task, reason, log
        super().__init__(f"{task}: {reason}; its log is {log}")


@dataclass(frozen=True)
class Launcher:
    """Runs the container of a task.

    Attributes:
        task: The task.
        component: Its ComponentSpec.
        container: Its PipelineContainerSpec.
        contract: What the service does around it.
        store: Where artifacts are.
        folder: The step's own: `log.txt`, and `files`, the file system that it sees.
        variables: The step's environment.
    """

    task: str
    component: Any
    container: Any
    contract: Contract
    store: Store
    folder: Path
    variables: Mapping[str, str]

    @property
    def log(self) -> Path:
        """What the command writes goes there."""
        return self.folder / "log.txt"

    @property
    def mirrors(self) -> Mirrors:
        """Where the step sees objects."""
        return mirrors_in(self.folder)

    def run(self, executor_input: Any) -> Published:
        """Runs the step.

        Args:
            executor_input: What it gets.

        Returns:
            Its outputs, uploaded.

        Raises:
            StepError: Its command failed, or told something that is no ExecutorOutput.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log.write_bytes(b"")
        self._download(executor_input)
        self._make_folders(executor_input)
        if self.contract.runs_drivers and self.container.lifecycle.HasField("pre_cache_check"):
            driver = self.container.lifecycle.pre_cache_check
            self._execute([*driver.command, *driver.args], executor_input)
            self._merge(self._output(executor_input), executor_input)
        self._execute([*self.container.command, *self.container.args], executor_input)
        output = self._output(executor_input)
        self._merge(output, executor_input)
        parameters = self._parameters(output, executor_input)
        self._upload(executor_input)
        shutil.rmtree(self.mirrors.root, ignore_errors=True)  # as the pod's goes
        return Published(
            {name: each.artifacts[0] for name, each in executor_input.outputs.artifacts.items()}, parameters
        )

    def _download(self, executor_input: Any) -> None:
        for name, artifacts in executor_input.inputs.artifacts.items():
            for artifact in artifacts.artifacts:
                if is_in_a_store(artifact.uri) and not self.store.download(artifact.uri, self.mirrors):
                    self._note(f"input {name!r}: nothing is in {self.store.path(artifact.uri)}")

    def _make_folders(self, executor_input: Any) -> None:
        """Makes the folders around outputs, not those of the outputs themselves (prepareOutputFolders)."""
        outputs = executor_input.outputs
        files = [parameter.output_file for parameter in outputs.parameters.values()]
        files += [self.mirrors.path(each.artifacts[0].uri) for each in outputs.artifacts.values()]
        for file in files:
            Path(file).parent.mkdir(parents=True, exist_ok=True)

    def _execute(self, template: Sequence[str], executor_input: Any) -> None:
        words = command.fill_in(self.task, template, executor_input, self.component, self.mirrors)
        with self.log.open("ab") as log:
            try:
                status = execute(words, self.variables, log)
            except OSError as error:
                raise StepError(self.task, f"its command cannot be started: {error}", self.log) from error
        if status:
            raise StepError(self.task, f"exit status {status}", self.log)

    def _output(self, executor_input: Any) -> Any:
        """What the command told: an ExecutorOutput without any field too many (getExecutorOutputFile)."""
        from google.protobuf import json_format
        from kfp.pipeline_spec import pipeline_spec_pb2

        output = pipeline_spec_pb2.ExecutorOutput()
        path = Path(executor_input.outputs.output_file)
        if not path.exists():
            return output
        try:
            return json_format.Parse(path.read_text(), output)
        except (json_format.ParseError, UnicodeDecodeError) as error:
            raise StepError(self.task, f"{path} is no ExecutorOutput: {error}", self.log) from error

    def _merge(self, output: Any, executor_input: Any) -> None:
        """Adds what the command told of its artifacts (mergeRuntimeArtifacts)."""
        for name, artifacts in executor_input.outputs.artifacts.items():
            if name == _LOGS or not output.artifacts[name].artifacts:
                continue
            told, [artifact] = output.artifacts[name].artifacts[0], artifacts.artifacts
            artifact.uri = told.uri or artifact.uri
            artifact.metadata.MergeFrom(told.metadata)

    def _upload(self, executor_input: Any) -> None:
        if not self.contract.mirrors_stores:
            return
        for name, artifacts in executor_input.outputs.artifacts.items():
            uri = artifacts.artifacts[0].uri
            if name == _LOGS:
                shutil.copyfile(self.log, self.mirrors.path(uri))
            if not is_in_a_store(uri):
                self._note(f"output {name!r} is not uploaded: {uri} is in no store that the launcher knows")
            elif not self.store.upload(uri, self.mirrors):
                self._note(f"output {name!r} is empty: nothing is in {self.mirrors.path(uri)}")

    def _parameters(self, output: Any, executor_input: Any) -> dict[str, Any]:
        """Output parameters, told or written into their files (collectOutputParameters)."""
        found = dict(output.parameter_values)
        for name, parameter in executor_input.outputs.parameters.items():
            if name not in found:
                where = f"output parameter {name!r} of task {self.task!r}"
                found[name] = self._parameter(where, Path(parameter.output_file), name)
        return found

    def _parameter(self, where: str, path: Path, name: str) -> Any:
        try:
            return values.from_text(where, path.read_text(), self.component.output_definitions.parameters[name])
        except (OSError, KubeflowError) as error:
            raise StepError(self.task, f"{where}: {error}", self.log) from error

    def _note(self, message: str) -> None:
        with self.log.open("a") as log:
            log.write(f"launcher: {message}\n")


def mirrors_in(folder: Path) -> Mirrors:
    """Where a step sees objects whose folder this is."""
    return Mirrors(str(folder / "files"))


def execute(words: Sequence[str], variables: Mapping[str, str], log: Any) -> int:
    """Runs a command and returns its exit status; all that it writes goes to the log."""
    return subprocess.run(
        words, env=dict(variables), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, check=False
    ).returncode
