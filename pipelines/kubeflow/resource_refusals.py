"""What nodes ask for and a target cannot give."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from polytrainer.pipelines.kubeflow.platform_spec import KUBERNETES_ONLY
from polytrainer.pipelines.kubeflow.targets import Target
from polytrainer.proto.problems import Problem
from polytrainer.proto.resources import TrainerResources

_NOTHING: tuple[Any, ...] = (None, (), [], {})


def of(pipeline: Any, by_node: Mapping[str, Any], target: Target) -> Iterator[Problem]:
    """What is wrong with them.

    Args:
        pipeline: The pipeline.
        by_node: What nodes ask for, by node id.
        target: Where it is to run.
    """
    nodes = {node.id: node for node in pipeline.components}
    for node_id, asked in by_node.items():
        where = f"resources[{node_id!r}]"
        if node_id not in nodes:
            yield Problem("resources", f"a node {node_id!r}", f"some of {', '.join(sorted(nodes))}")
        elif not isinstance(asked, TrainerResources):
            yield Problem(where, repr(asked), "a polytrainer.TrainerResources")
        else:
            yield from _of_node(where, nodes[node_id])
            yield from _of_accelerator(where, asked, target)
            if not target.is_kubernetes:
                yield from _of_kubernetes_only(where, asked, target)


def _of_node(where: str, node: Any) -> Iterator[Problem]:
    from tfx.dsl.components.base.base_component import BaseComponent

    if not isinstance(node, BaseComponent):
        yield Problem(where, f"resources of a node of type {type(node).__name__}", "a node that runs a container")
    elif node.platform_config is not None:
        yield Problem(where, "resources beside with_platform_config()", "one of the two")


def _of_accelerator(where: str, asked: TrainerResources, target: Target) -> Iterator[Problem]:
    if not asked.gpu or target.accelerator.fullmatch(asked.gpu_type):
        return
    expected = f"what {target.title} calls a device, e.g. {target.accelerator_example!r}"
    remedy = "Which kind of it is a matter of node_selector." if target.is_kubernetes else ""
    yield Problem(f"{where}.gpu_type", repr(asked.gpu_type), expected, remedy)


def _of_kubernetes_only(where: str, asked: TrainerResources, target: Target) -> Iterator[Problem]:
    for name in (*KUBERNETES_ONLY, "cpu_request", "memory_request"):
        if (value := getattr(asked, name)) not in _NOTHING:
            remedy = f"{target.title} has no such thing: give compile() other resources for this node."
            yield Problem(f"{where}.{name}", repr(value), "nothing", remedy)
