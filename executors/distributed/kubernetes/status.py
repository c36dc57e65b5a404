"""What a job's status and its pods say: how far it is, how it ended, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from polytrainer.executors.distributed.kubernetes.kinds import Kind

FAILED = "Failed"
SIGTERM_EXIT = 143  # 128 + SIGTERM
# what a kubelet, a scheduler or a garbage collector calls a pod that it took away, in `status.reason`
_DISRUPTIONS = frozenset(["Evicted", "Preempting", "Preempted", "NodeShutdown", "Shutdown", "Terminated", "NodeLost"])


@dataclass(frozen=True)
class PodFailure:
    """A pod that ended badly, or whose container did before it was started again.

    Attributes:
        pod: Its name.
        reason: In Kubernetes' word, e.g. "OOMKilled", "Evicted" or "Error".
        message: What it left at its end, if anything.
        exit_code: Of its container; None where that has none.
        finished: When, as Kubernetes says it.
        disrupted: Whether it was taken away, through no fault of its own.
    """

    pod: str
    reason: str
    message: str
    exit_code: int | None
    finished: str
    disrupted: bool

    def __str__(self) -> str:
        code = "" if self.exit_code is None else f" (exit code {self.exit_code})"
        return f"{self.reason}{code}" + (f": {self.message}" if self.message else "")


def ended(kind: Kind, job: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The condition that a job ended with; None while it has not."""
    ends = (kind.succeeded, FAILED)
    return next((each for each in _conditions(job) if each["type"] in ends and each.get("status") == "True"), None)


def failures(pods: Iterable[Mapping[str, Any]]) -> list[PodFailure]:
    """The pods that failed, the one that did so first before the others.

    Kubernetes tells the time in seconds: of those of the same second, those come last that were asked to end.
    """
    found = [failure for pod in pods if (failure := _failure(pod))]
    return sorted(found, key=lambda each: (each.exit_code == SIGTERM_EXIT, each.finished or "~", each.pod))


def is_disrupted(pod: Mapping[str, Any]) -> bool:
    """Whether a pod was taken away: preempted, evicted, or gone with its machine."""
    status = pod.get("status") or {}
    target = any(each["type"] == "DisruptionTarget" and each.get("status") == "True" for each in _conditions(pod))
    return target or status.get("reason") in _DISRUPTIONS


def summary(pods: Sequence[Mapping[str, Any]], wanted: int) -> str:
    """How many pods run, and what the others wait for."""
    running = sum((pod.get("status") or {}).get("phase") == "Running" for pod in pods)
    waits = [f"{pod['metadata']['name']} waits: {why}" for pod in pods if (why := _waits_for(pod))]
    return "; ".join([f"{running} of {wanted} pods running", *waits])


def _failure(pod: Mapping[str, Any]) -> PodFailure | None:
    status = pod.get("status") or {}
    name, disrupted = pod["metadata"]["name"], is_disrupted(pod)
    for container in status.get("containerStatuses") or []:
        ended = _terminated(container.get("state")) or _terminated(container.get("lastState"))
        if ended and ended.get("exitCode") != 0:
            code, reason = ended.get("exitCode"), ended.get("reason") or "Error"
            message = (ended.get("message") or status.get("message") or "").strip()
            if disrupted:
                reason = status.get("reason") or reason
            return PodFailure(name, reason, message, code, ended.get("finishedAt") or "", disrupted)
    if status.get("phase") == FAILED:
        reason, message = status.get("reason") or FAILED, (status.get("message") or "").strip()
        return PodFailure(name, reason, message, None, "", disrupted)
    return None


def _waits_for(pod: Mapping[str, Any]) -> str:
    status = pod.get("status") or {}
    if status.get("phase") != "Pending":
        return ""
    for container in status.get("containerStatuses") or []:
        if waiting := (container.get("state") or {}).get("waiting"):
            return _said(waiting)
    for condition in _conditions(pod):
        if condition["type"] == "PodScheduled" and condition.get("status") == "False":
            return _said(condition)
    return "Pending"


def _said(state: Mapping[str, Any]) -> str:
    return ": ".join(str(state[name]) for name in ("reason", "message") if state.get(name))


def _terminated(state: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    return (state or {}).get("terminated")


def _conditions(thing: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return (thing.get("status") or {}).get("conditions") or []
