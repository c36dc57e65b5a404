"""Can the pods of a job open what the node has? Looked at before any of them is started."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from polytrainer.proto import keys
from polytrainer.proto.cluster import ClusterJob
from polytrainer.proto.problems import Problem

# where open-source Kubeflow Pipelines keeps a step's copies of objects; it uploads what it finds there, and pods of a
# job write to the bucket itself
_MIRRORS = {"/gcs/": "gs://", "/s3/": "s3://"}


def for_pods(uri: str, mounts: Collection[str]) -> str:
    """Where pods find what is here at a path: a step's copy of an object of a bucket is theirs in the bucket.

    Args:
        uri: Path or URI, as the node has it.
        mounts: Where the pods' volumes are; what lies there stays as it is.
    """
    if _is_mounted(uri, mounts):
        return uri
    found = [scheme + uri.removeprefix(folder) for folder, scheme in _MIRRORS.items() if uri.startswith(folder)]
    return found[0] if found else uri


def problems(
    options: ClusterJob,
    inputs: Mapping[str, Sequence[Any]],
    outputs: Mapping[str, Sequence[Any]],
    exec_properties: Mapping[str, Any],
) -> list[Problem]:
    """What only this machine, or this pod, can see.

    Args:
        options: The job; its volumes are what pods see, too.
        inputs: The node's artifacts, by key.
        outputs: Likewise.
        exec_properties: The node's; the user's code is among them.
    """
    places = {
        key: [artifact.uri for artifact in artifacts]
        for artifacts_by_key in (inputs, outputs)
        for key, artifacts in artifacts_by_key.items()
    }
    module_path = exec_properties.get(keys.MODULE_PATH) or ""
    if "@" in module_path:
        places[keys.MODULE_PATH] = [module_path.split("@", maxsplit=1)[1]]
    elif not module_path and exec_properties.get(keys.MODULE_FILE):
        places[keys.MODULE_FILE] = [exec_properties[keys.MODULE_FILE]]
    return [
        problem
        for key, uris in places.items()
        for uri in uris
        if (problem := _problem(key, uri, options.mounts.values()))
    ]


def _problem(key: str, uri: str, mounts: Collection[str]) -> Problem | None:
    if "://" in uri and not uri.startswith("file://"):
        return None  # a bucket; whether the pods may read it, only they can tell
    if _is_mounted(uri, mounts):
        return None
    remedy = (
        "Use a pipeline root in a bucket (gs://), or name a volume that the pods see at the same path: "
        "volumes={claim: path}."
    )
    got = f"{uri}, a path of this machine"
    return Problem(key, got, "what the pods of a training job can open, too", remedy)


def _is_mounted(uri: str, mounts: Collection[str]) -> bool:
    path = os.path.normpath(uri.removeprefix("file://"))
    return any(path == mount or path.startswith(f"{mount}/") for mount in map(os.path.normpath, mounts))
