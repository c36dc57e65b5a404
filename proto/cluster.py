"""A training job on Kubernetes: what a pipeline's author asks for, checked where it is asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar

from polytrainer.proto.problems import Problem, describe
from polytrainer.proto.resources import TrainerResources

_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_DNS_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
# what the controllers and torchrun tell each process; Kubeflow's webhook refuses jobs that say it themselves
_RESERVED_ENV = frozenset(["TF_CONFIG", "MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "RANK"])


@dataclass(frozen=True, kw_only=True)
class ClusterJob:
    """What the three kinds of jobs have in common; each is one of `TrainJob`, `PyTorchJob` and `TFJob`.

    Attributes:
        image: Container image with polytrainer, of the same version as the pipeline's, and with what the user's code
            imports.
        nodes: Number of pods.
        resources: What each pod gets: `polytrainer.TrainerResources`, or a dict with the same names.
        volumes: What all pods see: of each PersistentVolumeClaim's name, the path where it is mounted, which is that at
            which the pipeline sees it. A pipeline root without a scheme, such as /data/runs, must lie in one of them.
            Several nodes need the access mode ReadWriteMany.
        namespace: Where the job is made; empty: where this process is, or as the kubeconfig's context has it.
        context: The kubeconfig's context; empty: the current one. Without meaning inside of a cluster.
        service_account: Of the pods; empty: the namespace's default.
        labels: Of the job, e.g. `{"kueue.x-k8s.io/queue-name": "research"}`.
        annotations: Of the pods, e.g. `{"sidecar.istio.io/inject": "false"}`.
        timeout_seconds: How long the job may take from its submission on, waiting for machines included; 0: for ever.
            The cluster is told, too, should the node not live to see it.
        restarts: How many times a job that was preempted or evicted is submitted again, to go on from its checkpoint.
        poll_seconds: How often the cluster is asked.
        patience_seconds: How long the cluster's API may be out of reach before the node gives up; the job runs on.

    Raises:
        ValueError: If a value cannot be meant.
    """

    image: str
    nodes: int = 1
    resources: TrainerResources = field(default_factory=TrainerResources)
    volumes: Mapping[str, str] = field(default_factory=dict)
    namespace: str = ""
    context: str = ""
    service_account: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    timeout_seconds: int = 0
    restarts: int = 0
    poll_seconds: float = 10.0
    patience_seconds: float = 900.0

    kind: ClassVar[str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "resources", _resources(self.resources))
        _refuse(self._problems())

    @property
    def mounts(self) -> Mapping[str, str]:
        """All volumes, those among the resources included: path by claim."""
        return {**self.resources.volumes, **self.volumes}

    def _problems(self) -> list[Problem]:
        where = type(self).__name__
        whole = {"nodes": 1, "timeout_seconds": 0, "restarts": 0}
        problems = [
            Problem(f"{where}.{name}", repr(value), f"a whole number, {least} or more")
            for name, least in whole.items()
            if type(value := getattr(self, name)) is not int or value < least
        ]
        problems += [
            Problem(f"{where}.{name}", repr(value), "seconds, more than 0")
            for name in ("poll_seconds", "patience_seconds")
            if isinstance(value := getattr(self, name), bool) or not isinstance(value, (int, float)) or not value > 0
        ]
        if not self.image or self.image != self.image.strip():
            remedy = "The pods need polytrainer, and what your code imports."
            problems.append(Problem(f"{where}.image", repr(self.image), "the name of a container image", remedy))
        if self.namespace and not _DNS_LABEL.fullmatch(self.namespace):
            problems.append(Problem(f"{where}.namespace", repr(self.namespace), "the name of a namespace"))
        return [*problems, *_volume_problems(f"{where}.volumes", self.volumes), *_variable_problems(self.resources)]


@dataclass(frozen=True, kw_only=True)
class _TorchrunJob(ClusterJob):
    """A job whose pods are torchrun's nodes.

    Attributes:
        procs_per_node: Ranks in each pod, one for each of its GPUs.
    """

    procs_per_node: int = 1

    def _problems(self) -> list[Problem]:
        problems = super()._problems()
        if type(self.procs_per_node) is not int or self.procs_per_node < 1:
            got, expected = repr(self.procs_per_node), "a whole number, 1 or more"
            return [*problems, Problem(f"{type(self).__name__}.procs_per_node", got, expected)]
        gpus = self.resources.gpu
        if gpus and self.procs_per_node > gpus:
            got = f"{self.procs_per_node} ranks for {gpus} GPUs"
            problems.append(Problem(f"{type(self).__name__}.procs_per_node", got, "at most one for each GPU of a pod"))
        return problems


@dataclass(frozen=True, kw_only=True)
class TrainJob(_TorchrunJob):
    """A TrainJob of Kubeflow Trainer v2 (trainer.kubeflow.org/v1alpha1).

    All of 2.x, without volumes, node selectors, tolerations, service account and annotations; with one of these 2.2 or
    later.

    Attributes:
        runtime: Name of the training runtime; it must be one of torch's, with a job and a container named `node`.
        runtime_kind: "ClusterTrainingRuntime" or "TrainingRuntime".
    """

    runtime: str = "torch-distributed"
    runtime_kind: str = "ClusterTrainingRuntime"

    kind: ClassVar[str] = "TrainJob"

    def _problems(self) -> list[Problem]:
        kinds = ("ClusterTrainingRuntime", "TrainingRuntime")
        problems = super()._problems()
        if self.resources.image_pull_policy:
            remedy = "Its training runtime says it."
            problems.append(Problem("resources.image_pull_policy", "one of a TrainJob", "none", remedy))
        if self.runtime_kind not in kinds:
            expected = f"one of {', '.join(kinds)}"
            problems.append(Problem("TrainJob.runtime_kind", repr(self.runtime_kind), expected))
        return problems


@dataclass(frozen=True, kw_only=True)
class PyTorchJob(_TorchrunJob):
    """A PyTorchJob of Kubeflow's Training Operator (kubeflow.org/v1), for clusters without Trainer v2."""

    kind: ClassVar[str] = "PyTorchJob"


@dataclass(frozen=True, kw_only=True)
class TFJob(ClusterJob):
    """A TFJob of Kubeflow's Training Operator (kubeflow.org/v1): workers with TF_CONFIG, the first is the chief."""

    kind: ClassVar[str] = "TFJob"


KINDS: Mapping[str, type[ClusterJob]] = {each.kind: each for each in (TrainJob, PyTorchJob, TFJob)}


def dumps(job: ClusterJob) -> str:
    """The job as JSON, as a node's execution properties hold it.

    Raises:
        TypeError: If it is no job, or holds what JSON cannot.
    """
    if type(job) not in KINDS.values():
        got, expected = type(job).__name__, f"one of {', '.join(KINDS)}"
        raise TypeError(str(Problem("cluster", got, expected, "E.g. cluster=polytrainer.TrainJob(image=…, nodes=2).")))
    return json.dumps({"kind": job.kind, **asdict(job)}, sort_keys=True)


def loads(text: str) -> ClusterJob:
    """What `dumps` made JSON of.

    Raises:
        ValueError: If it is something else.
    """
    try:
        said = json.loads(text)
        kind = KINDS[said.pop("kind")]
        return kind(**said)
    except (AttributeError, KeyError, TypeError, json.JSONDecodeError) as error:
        expected = f"JSON of one of {', '.join(KINDS)}"
        raise ValueError(str(Problem("cluster", f"{text!r} ({type(error).__name__}: {error})", expected))) from error


def _resources(said: Any) -> TrainerResources:
    """What is said as a TrainerResources, or as a dict, which is what JSON makes of one."""
    if isinstance(said, TrainerResources):
        return said
    if not isinstance(said, Mapping):
        raise ValueError(str(Problem("resources", f"a {type(said).__name__}", "polytrainer.TrainerResources")))
    names = [each.name for each in fields(TrainerResources)]
    unknown = sorted(set(said) - set(names))
    if unknown:
        raise ValueError(str(Problem("resources", ", ".join(unknown), f"some of {', '.join(names)}")))
    return TrainerResources(**said)


def _variable_problems(resources: TrainerResources) -> list[Problem]:
    variables = [*resources.env, *(variable for keys in resources.secrets.values() for variable in keys.values())]
    return [
        Problem("resources.env", repr(name), "variables that the job's controller does not set itself")
        for name in variables
        if name in _RESERVED_ENV or name.startswith("PET_")
    ]


def _volume_problems(where: str, volumes: Mapping[str, str]) -> list[Problem]:
    expected = "{name of a PersistentVolumeClaim: absolute path}, e.g. {'datasets': '/data'}"
    if not isinstance(volumes, Mapping):
        return [Problem(where, repr(volumes), expected)]
    return [
        Problem(where, f"{claim!r}: {path!r}", expected)
        for claim, path in volumes.items()
        if not _DNS_SUBDOMAIN.fullmatch(str(claim)) or not str(path).startswith("/") or path == "/"
    ]


def _refuse(problems: Sequence[Problem]) -> None:
    if problems:
        raise ValueError(describe(problems))
