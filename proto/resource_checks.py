"""What is wrong with a TrainerResources, whatever the cluster."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from polytrainer.proto import quantities
from polytrainer.proto.problems import Problem

if TYPE_CHECKING:
    from polytrainer.proto.resources import TrainerResources

_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_OPERATORS = ("Equal", "Exists")
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_TOLERATION = {"key": str, "operator": str, "value": str, "effect": str, "tolerationSeconds": int}
_VARIABLE = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")  # Kubernetes' own rule for the name of a variable
_OBJECT = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")  # RFC 1123, as names of Secrets and PersistentVolumeClaims are


def check(resources: TrainerResources) -> list[Problem]:
    """What no cluster could be asked for."""
    return [*_forms(resources)] or [
        *_amounts(resources),
        *_placement(resources),
        *_environment(resources),
        *_mounts(resources),
    ]


def _forms(resources: TrainerResources) -> Iterator[Problem]:
    for name in ("node_selector", "env", "secrets", "volumes"):
        if not isinstance(getattr(resources, name), Mapping):
            yield Problem(f"resources.{name}", repr(getattr(resources, name)), "a mapping")
    for name in ("tolerations", "image_pull_secrets"):
        if not isinstance(getattr(resources, name), (list, tuple)):
            yield Problem(f"resources.{name}", repr(getattr(resources, name)), "a list")


def _amounts(resources: TrainerResources) -> Iterator[Problem]:
    if not isinstance(resources.gpu, int) or isinstance(resources.gpu, bool) or resources.gpu < 0:
        yield Problem(
            "resources.gpu", repr(resources.gpu), "a whole number from 0",
            "Kubernetes gives out whole devices; for a part of one name its resource as gpu_type, "
            'e.g. "nvidia.com/mig-1g.5gb".',
        )  # fmt: skip
    if not isinstance(resources.gpu_type, str) or not resources.gpu_type:
        yield Problem("resources.gpu_type", repr(resources.gpu_type), 'the name of a device, e.g. "nvidia.com/gpu"')
    for name, measure in (
        ("cpu", quantities.cores),
        ("cpu_request", quantities.cores),
        ("memory", quantities.gigabytes),
        ("memory_request", quantities.gigabytes),
        ("shared_memory", quantities.gigabytes),
    ):
        amount = getattr(resources, name)
        try:
            if amount is not None:
                measure(amount)
        except ValueError as error:
            yield Problem(f"resources.{name}", repr(amount), str(error).removeprefix("expected "))
            return  # the comparison below needs numbers
    for name, measure in (("cpu", quantities.cores), ("memory", quantities.gigabytes)):
        limit, request = getattr(resources, name), getattr(resources, f"{name}_request")
        if limit is not None and request is not None and measure(request) > measure(limit):
            yield Problem(f"resources.{name}_request", repr(request), f"no more than {name}, which is {limit!r}")


def _placement(resources: TrainerResources) -> Iterator[Problem]:
    yield from _texts("node_selector", resources.node_selector)
    for place, toleration in enumerate(resources.tolerations):
        where = f"resources.tolerations[{place}]"
        if not isinstance(toleration, Mapping) or not toleration:
            yield Problem(where, repr(toleration), f"a mapping with some of {', '.join(_TOLERATION)}")
            continue
        for name, value in toleration.items():
            kind = _TOLERATION.get(name)
            if kind is None:
                yield Problem(where, f"the field {name!r}", f"some of {', '.join(_TOLERATION)}")
            elif not isinstance(value, kind) or isinstance(value, bool):
                yield Problem(f"{where}[{name!r}]", repr(value), f"{kind.__name__}")
        yield from _one_of(f"{where}['operator']", toleration.get("operator", "Equal"), _OPERATORS)
        yield from _one_of(f"{where}['effect']", toleration.get("effect", "NoSchedule"), _EFFECTS)
        if not toleration.get("key") and toleration.get("operator") != "Exists":
            yield Problem(where, "no key", "a key, or the operator 'Exists', which without a key means every taint")
        if toleration.get("value") and toleration.get("operator") == "Exists":
            yield Problem(where, "a value beside the operator 'Exists'", "a key alone, or the operator 'Equal'")
    if resources.image_pull_policy is not None:
        yield from _one_of("resources.image_pull_policy", resources.image_pull_policy, _PULL_POLICIES)
    for name in resources.image_pull_secrets:
        yield from _object_name("image_pull_secrets", name)


def _environment(resources: TrainerResources) -> Iterator[Problem]:
    yield from _texts("env", resources.env)
    variables = list(resources.env)
    for secret, keys in resources.secrets.items():
        yield from _object_name("secrets", secret)
        if not isinstance(keys, Mapping) or not keys:
            yield Problem(f"resources.secrets[{secret!r}]", repr(keys), "a mapping of its keys to variables")
            continue
        yield from _texts(f"secrets[{secret!r}]", keys)
        variables += keys.values()
    for variable in variables:
        if not isinstance(variable, str) or not _VARIABLE.fullmatch(variable):
            yield Problem("resources", f"{variable!r} as an environment variable", "letters, digits, '_', '-' and '.'")
    for variable in sorted({str(each) for each in variables if variables.count(each) > 1}):
        yield Problem("resources", f"{variable!r} more than once in env and secrets", "one source for a variable")


def _mounts(resources: TrainerResources) -> Iterator[Problem]:
    yield from _texts("volumes", resources.volumes)
    for claim, path in resources.volumes.items():
        yield from _object_name("volumes", claim)
        if not str(path).startswith("/") or path == "/":
            yield Problem(f"resources.volumes[{claim!r}]", repr(path), "an absolute path below /")
    paths = [*resources.volumes.values(), *(["/dev/shm"] if resources.shared_memory is not None else [])]
    for path in sorted({str(each) for each in paths if paths.count(each) > 1}):
        yield Problem("resources", f"two mounts at {path}", "one volume at a path")


def _texts(name: str, mapping: Mapping[str, str]) -> Iterator[Problem]:
    for key, value in mapping.items():
        if not isinstance(key, str) or not isinstance(value, str):
            yield Problem(f"resources.{name}", repr({key: value}), "texts", f'Write {key!r}: "{value}".')


def _one_of(where: str, got: Any, known: Sequence[str]) -> Iterator[Problem]:
    if got not in known:
        yield Problem(where, repr(got), f"one of {', '.join(known)}")


def _object_name(where: str, name: Any) -> Iterator[Problem]:
    if not isinstance(name, str) or not _OBJECT.fullmatch(name):
        yield Problem(f"resources.{where}", repr(name), "a name of Kubernetes: lower case, digits, '-' and '.'")
