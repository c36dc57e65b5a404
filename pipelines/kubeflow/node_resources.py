"""TrainerResources → the `resources` and `env` of a container in a compiled pipeline."""

from __future__ import annotations

from typing import Any

from polytrainer.proto import quantities
from polytrainer.proto.resources import TrainerResources


def add(resources: TrainerResources, container: dict[str, Any]) -> None:
    """Writes them into a PipelineContainerSpec, in the form of JSON.

    Numbers go into the fields of type double (`cpuLimit`, in cores, `memoryLimit`, in 10⁹ bytes) and the accelerator
    into `type` and `count`. KFP's newer fields, which are texts (`resourceCpuLimit` …), are for values that are known
    at run time only; its backend reads the doubles where those are empty, and before KFP 2.4 nothing else.

    Args:
        resources: What the node asks for.
        container: `deploymentSpec.executors.<label>.container`, changed in place.
    """
    asked: dict[str, Any] = {}
    for field, amount, measure in (
        ("cpuLimit", resources.cpu, quantities.cores),
        ("cpuRequest", resources.cpu_request, quantities.cores),
        ("memoryLimit", resources.memory, quantities.gigabytes),
        ("memoryRequest", resources.memory_request, quantities.gigabytes),
    ):
        if amount is not None:
            asked[field] = measure(amount)
    if resources.gpu:
        asked["accelerator"] = {"type": resources.gpu_type, "count": str(resources.gpu)}  # int64 is a text in JSON
    if asked:
        container["resources"] = asked
    if resources.env:
        container["env"] = [{"name": name, "value": value} for name, value in resources.env.items()]
