"""TrainerResources → KFP's PlatformSpec, the second document of a compiled pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from polytrainer.proto.resources import TrainerResources

KUBERNETES_ONLY = (
    "node_selector",
    "tolerations",
    "secrets",
    "volumes",
    "shared_memory",
    "image_pull_policy",
    "image_pull_secrets",
)


def document(by_executor: Mapping[str, TrainerResources]) -> dict[str, Any] | None:
    """The document.

    Args:
        by_executor: What is asked for, by the label of the executor, `<node>_executor`.

    Returns:
        A PlatformSpec in the form of JSON; None where nobody asks for what only Kubernetes can give.
    """
    executors = {label: config for label, asked in by_executor.items() if (config := executor_config(asked))}
    return {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}} if executors else None


def executor_config(resources: TrainerResources) -> dict[str, Any]:
    """A `kfp_kubernetes.KubernetesExecutorConfig` in the form of JSON.

    Names of Secrets and PersistentVolumeClaims go into the plain fields, not into those for names that are known at
    run time only (`secretNameParameter` …, KFP 2.5): every backend reads the plain ones. `/dev/shm` needs KFP 2.3.
    """
    config: dict[str, Any] = {}
    if resources.node_selector:
        config["nodeSelector"] = {"labels": dict(resources.node_selector)}
    if resources.tolerations:
        config["tolerations"] = [_toleration(each) for each in resources.tolerations]
    if resources.secrets:
        config["secretAsEnv"] = [
            {
                "secretName": secret,
                "keyToEnv": [{"secretKey": key, "envVar": variable} for key, variable in keys.items()],
            }
            for secret, keys in resources.secrets.items()
        ]
    if resources.volumes:
        config["pvcMount"] = [{"constant": claim, "mountPath": path} for claim, path in resources.volumes.items()]
    if resources.shared_memory is not None:
        # not `enabledSharedMemory`: the proto has it, the backend reads it nowhere (August 2026)
        config["emptyDirMounts"] = [
            {
                "volumeName": "shared-memory",
                "mountPath": "/dev/shm",
                "medium": "Memory",
                "sizeLimit": str(resources.shared_memory),
            }
        ]
    if resources.image_pull_policy:
        config["imagePullPolicy"] = resources.image_pull_policy
    if resources.image_pull_secrets:
        config["imagePullSecret"] = [{"secretName": name} for name in resources.image_pull_secrets]
    return config


def _toleration(toleration: Mapping[str, Any]) -> dict[str, Any]:
    """In the form of JSON, where an int64 is a text."""
    return {name: str(value) if isinstance(value, int) else value for name, value in toleration.items()}
