"""Did a job fail, or was it made to?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from polytrainer.executors.distributed.kubernetes import status
from polytrainer.executors.distributed.kubernetes.rank_error import RankError
from polytrainer.executors.distributed.kubernetes.status import PodFailure


class Disruptions:
    """What was taken away from a job while it ran.

    When one rank fails, the others do, too, and controllers delete those that do not: so it is the first that counts.
    """

    def __init__(self) -> None:
        self._running: set[str] = set()
        self._happened = False

    def note(self, pods: Sequence[Mapping[str, Any]], ended: bool) -> None:
        """Looks at the pods there are now: one that is deleted is seen no more.

        Args:
            pods: Of the job.
            ended: Whether it has ended, and its controller may be clearing up.
        """
        here = {pod["metadata"].get("uid", pod["metadata"]["name"]) for pod in pods}
        gone = bool(self._running - here)
        self._happened |= any(status.is_disrupted(pod) for pod in pods) or (gone and not ended)
        self._running |= {pod["metadata"].get("uid", pod["metadata"]["name"]) for pod in pods if _runs(pod)}

    def explain(self, errors: Sequence[RankError], failed: Sequence[PodFailure]) -> bool:
        """Whether it is for them that the job failed.

        Args:
            errors: What ranks said, the first one first.
            failed: The pods that failed.
        """
        if self._happened or (errors and errors[0].stopped):
            return True
        return not errors and bool(failed) and all(each.exit_code == status.SIGTERM_EXIT for each in failed)

    def forget(self) -> None:
        """Before the job is submitted again."""
        self._running.clear()
        self._happened = False


def _runs(pod: Mapping[str, Any]) -> bool:
    return (pod.get("status") or {}).get("phase") == "Running"
