"""The log of rank 0, as it grows."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from polytrainer.executors.distributed.kubernetes.api import Cluster
from polytrainer.executors.distributed.kubernetes.kinds import Kind

_OVERLAP_SECONDS = 30  # asked for again each time: the clocks here and there differ


class RankZeroLog:
    """Prints what the pod of rank 0 has said since it was asked last.

    Args:
        cluster: Where it runs.
        kind: Of the job.
    """

    def __init__(self, cluster: Cluster, kind: Kind):
        self._cluster, self._kind = cluster, kind
        self._pod: str | None = None
        self._last: str | None = None
        self._asked = 0.0

    def show(self, pods: Sequence[Mapping[str, Any]]) -> None:
        """Prints what is new; nothing where there is no such pod yet, or its log cannot be had now."""
        pod = self._newest(pods)
        if pod is None:
            return
        if pod["metadata"].get("uid") != self._pod:
            self._pod, self._last = pod["metadata"].get("uid"), None
        now = time.monotonic()
        since = None if self._last is None else math.ceil(now - self._asked) + _OVERLAP_SECONDS
        lines = self._cluster.log(pod["metadata"]["name"], self._kind.container, since)
        if lines is None:
            return
        self._asked = now
        for line in self._new(lines):
            print(line.partition(" ")[2], flush=True)

    def _newest(self, pods: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
        """A pod that failed may have a successor."""
        mine = [pod for pod in pods if self._kind.rank_0.items() <= _marks(pod).items()]
        return mine[-1] if mine else None

    def _new(self, lines: list[str]) -> list[str]:
        """Those after the last that was shown. A container that was started again has a log of its own."""
        if not lines:
            return []
        shown = len(lines) - lines[::-1].index(self._last) if self._last in lines else 0
        self._last = lines[-1]
        return lines[shown:]


def _marks(pod: Mapping[str, Any]) -> dict[str, str]:
    """Labels and annotations: up to Kubernetes 1.27 a pod's index is only among the latter."""
    metadata = pod["metadata"]
    return {**(metadata.get("annotations") or {}), **(metadata.get("labels") or {})}
