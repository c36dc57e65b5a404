"""Values that one node writes and another takes as an argument (`node.outputs["x"].future()[0].value`)."""

from __future__ import annotations

import json
from typing import Any

_SUFFIX = "_task"
_INPUTS_SPEC = "--json_serialized_inputs_spec_args"


def producers(node: Any) -> dict[str, set[str]]:
    """The nodes whose values a node takes, by the argument."""
    from tfx.dsl.placeholder.placeholder import Placeholder
    from tfx.types.channel_utils import get_dependent_channels

    arguments = {name: value for name, value in node.exec_properties.items() if isinstance(value, Placeholder)}
    return {
        name: {channel.producer_component_id for channel in get_dependent_channels(value)}
        for name, value in arguments.items()
    }


def name_producers(spec: dict[str, Any]) -> None:
    """Names the nodes that write such values as their tasks are named.

    TFX's compiler appends "_task" to their names, and to those of no task, so that no backend finds them.

    Args:
        spec: A PipelineSpec in the form of JSON, changed in place.
    """
    for task in spec["root"]["dag"]["tasks"].values():
        for source in task.get("inputs", {}).get("parameters", {}).values():
            if output := source.get("taskOutputParameter"):
                output["producerTask"] = output["producerTask"].removesuffix(_SUFFIX)


def type_consumers(spec: dict[str, Any]) -> None:
    """Declares arguments that are such values with the type in which they are written.

    TFX's compiler declares all of them as texts, and a number would arrive as one: in what the backend reads, and in
    what the container's arguments tell the executor of it.

    Args:
        spec: A PipelineSpec of schema 2.1.0 in the form of JSON, changed in place.
    """
    tasks, components = spec["root"]["dag"]["tasks"], spec["components"]
    for task in tasks.values():
        component = components[task["componentRef"]["name"]]
        for name, source in task.get("inputs", {}).get("parameters", {}).items():
            if output := source.get("taskOutputParameter"):
                producer = components[tasks[output["producerTask"]]["componentRef"]["name"]]
                written = producer["outputDefinitions"]["parameters"][output["outputParameterKey"]]
                component["inputDefinitions"]["parameters"][name]["parameterType"] = written["parameterType"]
                args = spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"].get("args", [])
                if _INPUTS_SPEC in args:
                    args[args.index(_INPUTS_SPEC) + 1] = json.dumps(component["inputDefinitions"], sort_keys=True)
