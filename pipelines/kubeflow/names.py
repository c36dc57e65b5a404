"""Names of nodes that Argo Workflows, which runs Kubeflow Pipelines, takes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

LONGEST = 120  # Argo takes 128 characters, and KFP appends "-driver"


def safe(node_id: str) -> str:
    """A node's name in Argo: `Trainer.torch` → `Trainer-torch`.

    Argo's rule for names of tasks is `[a-zA-Z0-9][-a-zA-Z0-9]*`, up to 128 characters
    (`workflowFieldNameFmt` in argo-workflows' validate.go), and KFP's backend passes them on as they are.
    """
    return re.sub(r"[^a-zA-Z0-9]+", "-", node_id).strip("-")


def clashes(node_ids: Iterable[str]) -> dict[str, list[str]]:
    """Nodes that would have one name, by it."""
    by_name: dict[str, list[str]] = {}
    for node_id in node_ids:
        by_name.setdefault(safe(node_id), []).append(node_id)
    return {name: ids for name, ids in by_name.items() if len(ids) > 1}


def make_safe(spec: dict[str, Any]) -> None:
    """Gives every node of a compiled pipeline, in the form of JSON, its name in Argo.

    Changed in place: tasks, components, executors, and whatever names them.
    """
    dag = spec["root"]["dag"]
    dag["tasks"] = {safe(name): task for name, task in dag["tasks"].items()}
    for task in dag["tasks"].values():
        task["taskInfo"]["name"] = safe(task["taskInfo"]["name"])  # the backend finds producers by it
        task["componentRef"]["name"] = safe(task["componentRef"]["name"])
        if "dependentTasks" in task:
            task["dependentTasks"] = [safe(name) for name in task["dependentTasks"]]
        inputs = task.get("inputs", {})
        for source in (*inputs.get("artifacts", {}).values(), *inputs.get("parameters", {}).values()):
            for output in (source.get("taskOutputArtifact"), source.get("taskOutputParameter")):
                if output:
                    output["producerTask"] = safe(output["producerTask"])
    spec["components"] = {safe(name): component for name, component in spec["components"].items()}
    for component in spec["components"].values():
        component["executorLabel"] = executor_label(component["executorLabel"].removesuffix("_executor"))
    executors = spec["deploymentSpec"]["executors"]
    spec["deploymentSpec"]["executors"] = {
        executor_label(label.removesuffix("_executor")): executor for label, executor in executors.items()
    }


def executor_label(node_id: str) -> str:
    """The label of a node's executor, as TFX's compiler makes it."""
    return f"{safe(node_id)}_executor"
