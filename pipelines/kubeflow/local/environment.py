"""The environment variables of a step."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from polytrainer.pipelines.kubeflow.mirrors import ROOT_VARIABLE, Mirrors

_APPLIED = "secretAsEnv"


def of(
    container: Any, kubernetes: Mapping[str, Any], secrets: Mapping[tuple[str, str], str], mirrors: Mirrors
) -> dict[str, str]:
    """This process's variables, the container's and its secrets', and where objects are mirrored.

    Args:
        container: The PipelineContainerSpec.
        kubernetes: What the platform document says of it.
        secrets: Values by (secret, key).
        mirrors: Named to polytrainer's entrypoint by POLYTRAINER_MIRROR_ROOT.
    """
    own = {each.name: each.value for each in container.env}
    secret = {
        variable: secrets[name, key] for name, key, variable in _secret_variables(kubernetes) if (name, key) in secrets
    }
    return {**os.environ, **own, **secret, ROOT_VARIABLE: mirrors.root}


def notices(kubernetes: Mapping[str, Any], secrets: Mapping[tuple[str, str], str]) -> Iterator[str]:
    """What of the platform document has no effect here, in words."""
    for name, key, variable in _secret_variables(kubernetes):
        if (name, key) not in secrets:
            yield f"{variable} is not set; --secret {name}={key}=VALUE sets it"
    if others := sorted(set(kubernetes) - {_APPLIED}):
        yield f"without effect on this machine: {', '.join(others)}"


def _secret_variables(kubernetes: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(secret, key, variable) of each that the platform document names."""
    for secret in kubernetes.get(_APPLIED, ()):
        by_parameter = secret.get("secretNameParameter", {}).get("runtimeValue", {}).get("constant")
        for each in secret.get("keyToEnv", ()):
            yield by_parameter or secret.get("secretName", ""), each["secretKey"], each["envVar"]
