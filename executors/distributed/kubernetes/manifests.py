"""What a cluster is told of a job: manifests of the three kinds.

Fields are those of kubeflow/trainer 2.3 (`pkg/apis/trainer/v1alpha1`) and of kubeflow/training-operator 1.9
(`pkg/apis/kubeflow.org/v1`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from polytrainer.executors.distributed.kubernetes.kinds import KINDS, Kind
from polytrainer.proto.cluster import ClusterJob, PyTorchJob, TrainJob

WORKER = "polytrainer.executors.distributed.kubernetes.worker"
MANAGED_BY = {"app.kubernetes.io/managed-by": "polytrainer"}
FOLDER, OPTIONS, RESTARTS = "polytrainer/folder", "polytrainer/options", "polytrainer/restarts"  # annotations
_TORCHRUN = ["python", "-m", "torch.distributed.run", "--max-restarts=0", "-m"]  # the rest is in its environment
_SHM = "shared-memory"
_LAUNCHER_FIRST_SECONDS = 120
_PATCHES_MANAGER = "polytrainer/launcher"


@dataclass(frozen=True)
class Submission:
    """A job that is to run.

    Attributes:
        name: Of the job; the same for the same training.
        folder: Where the pods find what to do, and leave what came of it.
        options: As the pipeline's author wrote them.
        annotations: Of the job.
    """

    name: str
    folder: str
    options: ClusterJob
    annotations: Mapping[str, str] = field(default_factory=dict)


def manifest(job: Submission) -> dict[str, Any]:
    """The job as the cluster is told of it."""
    kind, options = KINDS[job.options.kind], job.options
    makers = {"TrainJob": _train_job, "PyTorchJob": _pytorch_job, "TFJob": _tf_job}
    return {
        "apiVersion": f"{kind.resource.group}/{kind.resource.version}",
        "kind": options.kind,
        "metadata": {
            "name": job.name,
            "labels": {**options.labels, **MANAGED_BY},
            "annotations": dict(job.annotations),
        },
        "spec": makers[options.kind](job, kind),
    }


def dropped(said: Any, stored: Any, where: str = "spec") -> list[str]:
    """Paths of what a cluster was told and did not keep: fields that its version of the kind does not know."""
    if isinstance(said, Mapping):
        kept = stored if isinstance(stored, Mapping) else {}
        return [
            path
            for name, value in said.items()
            for path in (dropped(value, kept[name], f"{where}.{name}") if name in kept else [f"{where}.{name}"])
        ]
    if isinstance(said, list):
        mine, theirs = _by_name(said), _by_name(stored if isinstance(stored, list) else [])
        return dropped(mine, theirs, where)
    return []


def _by_name(items: list[Any]) -> dict[Any, Any]:
    """By what identifies them, as webhooks may put others before them; else by their places."""
    return {each.get("name", i) if isinstance(each, Mapping) else i: each for i, each in enumerate(items)}


def _train_job(job: Submission, kind: Kind) -> dict[str, Any]:
    options = cast(TrainJob, job.options)
    trainer = {
        "image": options.image,
        "command": [*_TORCHRUN, WORKER],
        "args": [job.folder],
        "numNodes": options.nodes,
        "numProcPerNode": options.procs_per_node,
        **_given(env=_env(options), resourcesPerNode=_resources(options)),
    }
    return {
        "runtimeRef": {
            "apiGroup": kind.resource.group,
            "kind": options.runtime_kind,
            "name": options.runtime,
        },
        "trainer": trainer,
        **_given(activeDeadlineSeconds=_deadline(options), runtimePatches=_patches(options, kind)),
    }


def _patches(options: ClusterJob, kind: Kind) -> list[dict[str, Any]]:
    """What a runtime's pods get beyond it; nothing where nothing is asked for, so that Trainer 2.0 and 2.1 do, too."""
    mounts = _mounts(options)
    containers = [{"name": kind.container, "volumeMounts": mounts}] if mounts else []
    pod = _given(
        metadata=_given(annotations=dict(options.annotations)),
        spec={**_pod(options), **_given(containers=containers)},
    )
    if not pod:
        return []
    node = {"name": "node", "template": {"spec": {"template": pod}}}
    spec = {"template": {"spec": {"replicatedJobs": [node]}}}
    return [{"manager": _PATCHES_MANAGER, "trainingRuntimeSpec": spec}]


def _pytorch_job(job: Submission, kind: Kind) -> dict[str, Any]:
    options = cast(PyTorchJob, job.options)
    replica = _replica(job, kind, [*_TORCHRUN, WORKER])
    workers = {"Worker": {"replicas": options.nodes - 1, **replica}} if options.nodes > 1 else {}
    return {
        "runPolicy": _run_policy(options),
        "nprocPerNode": str(options.procs_per_node),
        "pytorchReplicaSpecs": {"Master": {"replicas": 1, **replica}, **workers},
    }


def _tf_job(job: Submission, kind: Kind) -> dict[str, Any]:
    replica = _replica(job, kind, ["python", "-m", WORKER])
    return {
        "runPolicy": _run_policy(job.options),
        "tfReplicaSpecs": {"Worker": {"replicas": job.options.nodes, **replica}},
    }


def _deadline(options: ClusterJob) -> int:
    """The launcher's is first, which says what it was that took too long; this one is for when it has died."""
    return options.timeout_seconds + _LAUNCHER_FIRST_SECONDS if options.timeout_seconds else 0


def _run_policy(options: ClusterJob) -> dict[str, Any]:
    # pods that failed stay, so that they can be asked why; those that still wait for them do not
    return {"cleanPodPolicy": "Running", **_given(activeDeadlineSeconds=_deadline(options))}


def _replica(job: Submission, kind: Kind, command: list[str]) -> dict[str, Any]:
    options = job.options
    container = {
        "name": kind.container,
        "image": options.image,
        "command": command,
        "args": [job.folder],
        **_given(
            imagePullPolicy=options.resources.image_pull_policy,
            env=_env(options),
            resources=_resources(options),
            volumeMounts=_mounts(options),
        ),
    }
    # a rank that is started again alone finds a group that has ended: all of the job is, by the launcher
    return {
        "restartPolicy": "Never",
        "template": {
            **_given(metadata=_given(annotations=dict(options.annotations))),
            "spec": {"containers": [container], **_pod(options)},
        },
    }


def _pod(options: ClusterJob) -> dict[str, Any]:
    resources = options.resources
    memory = {"name": _SHM, "emptyDir": {"medium": "Memory", "sizeLimit": str(resources.shared_memory)}}
    claims = [{"name": name, "persistentVolumeClaim": {"claimName": claim}} for name, claim, _ in _claims(options)]
    return _given(
        serviceAccountName=options.service_account,
        nodeSelector=dict(resources.node_selector),
        tolerations=[dict(each) for each in resources.tolerations],
        imagePullSecrets=[{"name": name} for name in resources.image_pull_secrets],
        volumes=[*claims, *([memory] if resources.shared_memory else [])],
    )


def _mounts(options: ClusterJob) -> list[dict[str, Any]]:
    memory = {"name": _SHM, "mountPath": "/dev/shm"}
    mounts = [{"name": name, "mountPath": path} for name, _, path in _claims(options)]
    return [*mounts, *([memory] if options.resources.shared_memory else [])]


def _claims(options: ClusterJob) -> list[tuple[str, str, str]]:
    """Name of a volume, the claim that it is, and where it is mounted."""
    return [(f"volume-{number}", claim, path) for number, (claim, path) in enumerate(options.mounts.items())]


def _env(options: ClusterJob) -> list[dict[str, Any]]:
    told = [{"name": name, "value": str(value)} for name, value in options.resources.env.items()]
    secret = [
        {"name": variable, "valueFrom": {"secretKeyRef": {"name": name, "key": key}}}
        for name, keys in options.resources.secrets.items()
        for key, variable in keys.items()
    ]
    return [*told, *secret]


def _resources(options: ClusterJob) -> dict[str, Any]:
    said = options.resources
    devices = {said.gpu_type: str(said.gpu)} if said.gpu else {}
    limits = _amounts(cpu=said.cpu, memory=said.memory)
    requests = {**limits, **_amounts(cpu=said.cpu_request, memory=said.memory_request)}
    return _given(requests={**requests, **devices}, limits={**limits, **devices})


def _amounts(**amounts: float | str | None) -> dict[str, str]:
    return {name: str(amount) for name, amount in amounts.items() if amount is not None}


def _given(**values: Any) -> dict[str, Any]:
    """Those that say something: a manifest names nothing that is left as the cluster has it."""
    return {name: value for name, value in values.items() if value}
