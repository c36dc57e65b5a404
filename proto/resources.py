"""What a node asks of the cluster that it runs on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from polytrainer.proto import resource_checks
from polytrainer.proto.problems import describe


@dataclass(frozen=True)
class TrainerResources:
    """What a Trainer, or any other node, asks of the cluster that it runs on.

    Runners that have no cluster, such as LocalDagRunner, take no notice of it. `polytrainer.pipelines.kubeflow.compile`
    writes it into the pipeline; what a target cannot give is refused there.

    Example:
        ```python
        TrainerResources(
            gpu=1, cpu=4, memory="16G",
            node_selector={"cloud.google.com/gke-accelerator": "nvidia-l4"},
            tolerations=[{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
            secrets={"wandb": {"api-key": "WANDB_API_KEY"}},
        )
        ```

    Attributes:
        gpu: Number of accelerators, whole ones. 0: none.
        gpu_type: Which: a resource of Kubernetes, `nvidia.com/gpu`, `amd.com/gpu`, `google.com/tpu` …; on Vertex AI a
            type of its API, e.g. `NVIDIA_TESLA_T4`.
        cpu: Cores at most: 4, 0.5, or "500m". None: no limit.
        memory: Memory at most: "16G", "16Gi", or a number of bytes. None: no limit.
        cpu_request: Cores that must be free on a node for it to start there. None: as many as `cpu`.
        memory_request: The same for memory. None: as much as `memory`.
        node_selector: Labels that a node of the cluster must have.
        tolerations: Taints of nodes that it may run on, as Kubernetes writes them: mappings with `key`, `operator`
            ("Equal" or "Exists"), `value`, `effect` and `tolerationSeconds`.
        env: Environment variables.
        secrets: Of each Secret's name, which of its keys become which environment variables.
        volumes: Of each PersistentVolumeClaim's name, the path where it is mounted.
        shared_memory: Size of `/dev/shm`, e.g. "2Gi": data loaders with several workers need more than the 64 MB that
            containers have. It counts as memory of the node.
        image_pull_policy: "Always", "IfNotPresent" or "Never". None: what the cluster does by itself.
        image_pull_secrets: Names of Secrets to pull the image with.

    Raises:
        ValueError: Where it is made, with everything that no cluster could be asked for.
    """

    gpu: int = 0
    gpu_type: str = "nvidia.com/gpu"
    cpu: float | str | None = None
    memory: int | str | None = None
    cpu_request: float | str | None = None
    memory_request: int | str | None = None
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Mapping[str, Any]] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    volumes: Mapping[str, str] = field(default_factory=dict)
    shared_memory: int | str | None = None
    image_pull_policy: str | None = None
    image_pull_secrets: Sequence[str] = ()

    def __post_init__(self) -> None:
        problems = resource_checks.check(self)
        if problems:
            raise ValueError(describe(problems))
        for name in ("tolerations", "image_pull_secrets"):  # equal, however they were given
            object.__setattr__(self, name, tuple(getattr(self, name)))
