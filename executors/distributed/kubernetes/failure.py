"""Why a job failed, said so that a person can mend it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from polytrainer.executors.distributed.kubernetes.rank_error import RankError
from polytrainer.executors.distributed.kubernetes.status import PodFailure
from polytrainer.executors.errors import TrainingError
from polytrainer.proto.cluster import ClusterJob
from polytrainer.proto.problems import Problem

_LOG_LINES = 20
_AGAIN = "Start the same pipeline again, and it goes on from its last checkpoint"
_OUT_OF_MEMORY, _DEADLINE = "OOMKilled", "DeadlineExceeded"
_NO_WORD = frozenset(["Error", "Failed"])  # what Kubernetes says where it does not know


@dataclass(frozen=True)
class Reasons:
    """Everything that is known of a failure.

    Attributes:
        end: The job's condition `Failed`.
        failed: Its pods that failed, the first one first.
        errors: What ranks said, the first one first.
        log: Of the first pod that failed, each line behind its time.
        disrupted: Whether pods were taken away from the job, and it failed for that.
    """

    end: Mapping[str, Any]
    failed: Sequence[PodFailure]
    errors: Sequence[RankError]
    log: Sequence[str]
    disrupted: bool

    @property
    def disruption(self) -> str:
        """In words."""
        return next((f"{pod.pod}: {pod}" for pod in self.failed if pod.disrupted), "pods that were taken away")


def error(job: str, options: ClusterJob, why: Reasons) -> TrainingError:
    """What to raise for a job that ended badly.

    Args:
        job: Namespace and name.
        options: As the pipeline's author wrote them.
        why: Everything that is known.
    """
    where = f"the {options.kind} {job}"
    if why.disrupted:
        got = f"{why.disruption}, after {options.restarts} restarts"
        said = f" The first rank that failed said: {why.errors[0].error}" if why.errors else ""
        return _error(where, got, f"{_AGAIN}; {options.kind}(restarts=…) does so by itself.{said}")
    killed = next((pod for pod in why.failed if pod.reason not in _NO_WORD), None)
    if killed:  # by the machine; what other ranks said then is for the lack of this one
        return _error(f"the pod {killed.pod} of {where}", str(killed), _remedy(killed, why))
    if why.errors:
        first = why.errors[0]
        return _error(f"rank {first.rank} of {where}", first.error, f"Its traceback:\n{first.trace}")
    if why.failed and why.end.get("reason") != _DEADLINE:
        return _error(f"the pod {why.failed[0].pod} of {where}", str(why.failed[0]), _last(why.log))
    said = ": ".join(str(why.end[name]) for name in ("reason", "message") if why.end.get(name))
    return _error(where, said or "Failed", "")


def too_late(job: str, options: ClusterJob, state: str) -> TrainingError:
    """What to raise for a job that took too long, and is deleted."""
    got = f"no end within {options.timeout_seconds} s ({state}); it is deleted"
    return _error(f"the {options.kind} {job}", got, f"{_AGAIN}; {options.kind}(timeout_seconds=…) gives it more time.")


def _error(where: str, got: str, remedy: str) -> TrainingError:
    return TrainingError(Problem(where, got, "all ranks to train to the end", remedy))


def _remedy(killed: PodFailure, why: Reasons) -> str:
    if killed.reason == _OUT_OF_MEMORY:
        return "More memory: resources.memory; or a smaller batch."
    return _last(why.log) if killed is why.failed[0] else ""


def _last(log: Sequence[str]) -> str:
    lines = [line.partition(" ")[2] for line in log[-_LOG_LINES:]]
    return "The end of its log:\n" + "\n".join(lines) if lines else "It has left no log."
