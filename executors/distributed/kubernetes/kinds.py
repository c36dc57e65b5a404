"""How each kind of jobs calls its parts.

Labels are those of JobSets and of kubeflow/training-operator 1.9 (`pkg/apis/kubeflow.org/v1/common_types.go`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_INDEX = "batch.kubernetes.io/job-completion-index"
_V1 = "training.kubeflow.org"


@dataclass(frozen=True)
class Resource:
    """A kind of objects, as its address in the API has it."""

    group: str
    version: str
    plural: str

    def __str__(self) -> str:
        return f"{self.plural}.{self.group}/{self.version}"


@dataclass(frozen=True)
class Kind:
    """How a kind of jobs calls its parts.

    Attributes:
        resource: Its address in the API.
        container: The container that trains.
        job_label: The pods' label with the job's name.
        rank_0: Labels, or annotations, of the pod of rank 0.
        succeeded: The condition of a job that has ended well; `Failed` is that of one that has not.
    """

    resource: Resource
    container: str
    job_label: str
    rank_0: Mapping[str, str]
    succeeded: str


KINDS: Mapping[str, Kind] = {
    "TrainJob": Kind(
        Resource("trainer.kubeflow.org", "v1alpha1", "trainjobs"),
        "node",
        "jobset.sigs.k8s.io/jobset-name",
        {_INDEX: "0", "jobset.sigs.k8s.io/replicatedjob-name": "node"},
        "Complete",
    ),
    "PyTorchJob": Kind(
        Resource("kubeflow.org", "v1", "pytorchjobs"),
        "pytorch",
        f"{_V1}/job-name",
        {f"{_V1}/replica-type": "master", f"{_V1}/replica-index": "0"},
        "Succeeded",
    ),
    "TFJob": Kind(
        Resource("kubeflow.org", "v1", "tfjobs"),
        "tensorflow",
        f"{_V1}/job-name",
        {f"{_V1}/replica-type": "worker", f"{_V1}/replica-index": "0"},
        "Succeeded",
    ),
}
