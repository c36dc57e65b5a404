"""Where a compiled pipeline runs, and what is different there."""

from __future__ import annotations

import re
from dataclasses import dataclass

ENTRYPOINT = ("python", "-m", "polytrainer.pipelines.kubeflow.entrypoint")


@dataclass(frozen=True)
class Target:
    """A backend that runs compiled pipelines.

    Attributes:
        title: Its name for people.
        endings: Those of the files that it takes.
        command: What each container runs; None: TFX's own entrypoint.
        root_schemes: Where it keeps artifacts.
        accelerator: What names of accelerators look like.
        accelerator_example: One of them.
        is_kubernetes: Whether nodes are pods, which can be given what Kubernetes gives pods.
    """

    title: str
    endings: tuple[str, ...]
    command: tuple[str, ...] | None
    root_schemes: tuple[str, ...]
    accelerator: re.Pattern[str]
    accelerator_example: str
    is_kubernetes: bool


TARGETS = {
    "kfp": Target(
        title="Kubeflow Pipelines",
        endings=(".yaml", ".yml"),
        command=ENTRYPOINT,  # TFX's own gets no further than the first step there
        root_schemes=("gs", "minio", "s3"),  # those that KFP's launcher mirrors
        accelerator=re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[-._a-zA-Z0-9]+"),  # an extended resource's name
        accelerator_example="nvidia.com/gpu",
        is_kubernetes=True,
    ),
    "vertex": Target(
        title="Vertex AI",
        endings=(".json",),
        command=None,
        root_schemes=("gs",),
        accelerator=re.compile(r"[A-Z][A-Z0-9_]+"),  # an AcceleratorType of its API
        accelerator_example="NVIDIA_TESLA_T4",
        is_kubernetes=False,
    ),
}
