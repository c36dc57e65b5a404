"""A step's command, its placeholders filled in."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from polytrainer.pipelines.errors import KubeflowError
from polytrainer.pipelines.kubeflow.local import values
from polytrainer.pipelines.kubeflow.mirrors import Mirrors
from polytrainer.proto.problems import Problem

_PYTHONS = ("python", "python3")


def fill_in(task: str, template: Sequence[str], executor_input: Any, component: Any, mirrors: Mirrors) -> list[str]:
    """What is executed (executeV2 and compileCmdAndArgs in launcher_v2.go).

    Args:
        task: What an error is to call the step.
        template: The container's command and arguments. A Python in the first place becomes this one.
        executor_input: The step's ExecutorInput.
        component: Its ComponentSpec, for the defaults of parameters.
        mirrors: Where objects are on this machine.

    Raises:
        KubeflowError: There is no command.
    """
    from google.protobuf import json_format

    if not template:
        remedy = "The launcher does not know an image's own entrypoint."
        raise KubeflowError(Problem(f"task {task!r}", "a container without a command", "one", remedy))
    complete = _with_defaults(executor_input, component)
    whole = json_format.MessageToJson(complete, indent=None)
    placeholders = _placeholders(complete, mirrors)
    first = sys.executable if template[0] in _PYTHONS else template[0]
    return [first, *(_filled(word.replace("{{$}}", whole), placeholders) for word in template[1:])]


def _with_defaults(executor_input: Any, component: Any) -> Any:
    complete = type(executor_input)()
    complete.CopyFrom(executor_input)
    for name, spec in component.input_definitions.parameters.items():
        if name not in complete.inputs.parameter_values and spec.HasField("default_value"):
            complete.inputs.parameter_values[name].CopyFrom(spec.default_value)
    return complete


def _placeholders(executor_input: Any, mirrors: Mirrors) -> Mapping[str, str]:
    found = {}
    for side in ("inputs", "outputs"):
        for name, artifacts in getattr(executor_input, side).artifacts.items():
            uri = artifacts.artifacts[0].uri
            found[f"{{{{$.{side}.artifacts['{name}'].uri}}}}"] = uri
            found[f"{{{{$.{side}.artifacts['{name}'].path}}}}"] = mirrors.path(uri)
    for name, value in executor_input.inputs.parameter_values.items():
        found[f"{{{{$.inputs.parameters['{name}']}}}}"] = values.as_text(value)
    for name, parameter in executor_input.outputs.parameters.items():
        found[f"{{{{$.outputs.parameters['{name}'].output_file}}}}"] = parameter.output_file
    return found


def _filled(word: str, placeholders: Mapping[str, str]) -> str:
    for placeholder, text in placeholders.items():
        word = word.replace(placeholder, text)
    return word
