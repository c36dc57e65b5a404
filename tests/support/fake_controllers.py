"""What Kubeflow's controllers make of a job: pods with what each is told, and conditions.

After `pkg/runtime/framework/plugins/torch/torch.go` of kubeflow/trainer 2.3, and `pkg/controller.v1/pytorch/envvar.go`
and `pkg/controller.v1/tensorflow/tensorflow.go` of kubeflow/training-operator 1.9; with 127.0.0.1 for each pod.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fake_pods import FakePod, now


@dataclass(frozen=True)
class Planned:
    """A pod to be made."""

    name: str
    labels: dict[str, str]
    annotations: dict[str, str]
    container: dict[str, Any]
    env: dict[str, str]


def plan(job: dict[str, Any]) -> list[Planned]:
    """The pods of a job."""
    return {"TrainJob": _train_job, "PyTorchJob": _pytorch_job, "TFJob": _tf_job}[job["kind"]](job)


def conditions(job: dict[str, Any], pods: Sequence[FakePod]) -> list[dict[str, Any]]:
    """What the controller says of a job whose pods are these."""
    name, phases = job["metadata"]["name"], [pod.phase for pod in pods]
    if job["kind"] == "TrainJob":
        # a runtime whose Jobs have backoffLimit 0
        if "Failed" in phases:
            return [_condition("Failed", "FailedJobs", "jobset failed due to one or more job failures")]
        if all(phase == "Succeeded" for phase in phases):
            return [_condition("Complete", "AllJobsCompleted", "jobset completed successfully")]
        return []
    kind = job["kind"]
    running = [_condition("Created", f"{kind}Created", ""), _condition("Running", f"{kind}Running", "")]
    if phases[0] == "Succeeded":
        return [*running, _condition("Succeeded", f"{kind}Succeeded", f"{kind} {name} is successfully completed.")]
    if "Failed" in phases:
        said = f"{kind} {name} is failed because {phases.count('Failed')} replica(s) failed."
        return [*running, _condition("Failed", f"{kind}Failed", said)]
    return running


def _train_job(job: dict[str, Any]) -> list[Planned]:
    name, trainer, port = job["metadata"]["name"], job["spec"]["trainer"], _free_port()
    container = {"name": "node", **trainer}
    return [
        Planned(
            f"{name}-node-0-{index}-x{index}",
            {"jobset.sigs.k8s.io/jobset-name": name, "jobset.sigs.k8s.io/replicatedjob-name": "node"},
            {"batch.kubernetes.io/job-completion-index": str(index)},
            container,
            {
                "PET_NNODES": str(trainer["numNodes"]),
                "PET_NPROC_PER_NODE": str(trainer["numProcPerNode"]),
                "PET_NODE_RANK": str(index),
                "PET_MASTER_ADDR": "127.0.0.1",
                "PET_MASTER_PORT": str(port),
            },
        )
        for index in range(trainer["numNodes"])
    ]


def _pytorch_job(job: dict[str, Any]) -> list[Planned]:
    spec, port = job["spec"], _free_port()
    replicas = [
        (kind, index, replica)
        for kind, replica in spec["pytorchReplicaSpecs"].items()
        for index in range(replica["replicas"])
    ]
    ranks = int(spec["nprocPerNode"]) * len(replicas)
    return [
        _v1(job, kind, index, replica)(
            MASTER_ADDR="127.0.0.1",
            MASTER_PORT=str(port),
            PET_MASTER_ADDR="127.0.0.1",
            PET_MASTER_PORT=str(port),
            WORLD_SIZE=str(ranks),
            RANK=str(number),
            PET_NODE_RANK=str(number),
            PET_NPROC_PER_NODE=spec["nprocPerNode"],
            PET_NNODES=str(len(replicas)),
        )
        for number, (kind, index, replica) in enumerate(replicas)
    ]


def _tf_job(job: dict[str, Any]) -> list[Planned]:
    replica = job["spec"]["tfReplicaSpecs"]["Worker"]
    workers = [f"127.0.0.1:{_free_port()}" for _ in range(replica["replicas"])]
    told = [
        {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}, "environment": "cloud"}
        for index in range(len(workers))
    ]
    return [_v1(job, "Worker", i, replica)(TF_CONFIG=json.dumps(each)) for i, each in enumerate(told)]


def _v1(job: dict[str, Any], kind: str, index: int, replica: dict[str, Any]) -> Any:
    name = job["metadata"]["name"]
    labels = {
        "training.kubeflow.org/job-name": name,
        "training.kubeflow.org/replica-type": kind.lower(),
        "training.kubeflow.org/replica-index": str(index),
    }
    [container] = replica["template"]["spec"]["containers"]
    return lambda **env: Planned(f"{name}-{kind.lower()}-{index}", labels, {}, container, env)


def _condition(kind: str, reason: str, message: str) -> dict[str, Any]:
    return {"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now()}


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
