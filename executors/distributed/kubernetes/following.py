"""A job from its submission to its end, whatever happens to it, to the cluster or to this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

from absl import logging

from polytrainer.executors.distributed.kubernetes import failure, status
from polytrainer.executors.distributed.kubernetes.api import Cluster
from polytrainer.executors.distributed.kubernetes.cancellation import Cancellation, CancelledError
from polytrainer.executors.distributed.kubernetes.disruptions import Disruptions
from polytrainer.executors.distributed.kubernetes.handover import Handover
from polytrainer.executors.distributed.kubernetes.kinds import KINDS, Kind
from polytrainer.executors.distributed.kubernetes.log import RankZeroLog
from polytrainer.executors.distributed.kubernetes.manifests import (
    FOLDER,
    MANAGED_BY,
    OPTIONS,
    RESTARTS,
    Submission,
    dropped,
    manifest,
)
from polytrainer.executors.errors import TrainingError
from polytrainer.proto.problems import Problem

# of a job that is gone, before another of its name can be made
_GONE_SECONDS = 600.0
_UNTIMED = ("spec.activeDeadlineSeconds",)  # which Trainer 2.0 and 2.1 do not know, and the launcher minds itself


class Follower:
    """Submits a job, or finds it, and stays with it.

    Args:
        job: What is to run.
        cluster: Where.
        cancellation: Listens, while the job is followed.
        prepare: Called before a job is submitted, and not where one is found.
    """

    def __init__(self, job: Submission, cluster: Cluster, cancellation: Cancellation, prepare: Callable[[], None]):
        self._job, self._cluster, self._cancellation, self._prepare = job, cluster, cancellation, prepare
        self._kind: Kind = KINDS[job.options.kind]
        self._disruptions = Disruptions()
        self._said, self._restarts = "", 0

    def follow(self) -> str:
        """Stays until the job has ended well.

        Returns:
            The folder where its ranks left what came of it: another than was asked for where an earlier launcher
            started it.

        Raises:
            TrainingError: If it failed, took too long, was not wanted any more (then it is deleted), or if the
                cluster is out of reach (then it goes on).
        """
        try:
            with self._cancellation.listening():
                return self._to_the_end(self._found() or self._submitted())
        except (CancelledError, KeyboardInterrupt) as error:
            self._cancellation.wished = False
            self.delete()
            if isinstance(error, KeyboardInterrupt):
                raise
            remedy = "Start the same pipeline again, and it goes on from its last checkpoint."
            got = f"SIGTERM; the {self._job.options.kind} {self._shown} is deleted"
            raise TrainingError(Problem("the training", got, "to go on to its end", remedy)) from error

    def delete(self) -> None:
        """Deletes the job with its pods."""
        self._cluster.delete(self._kind.resource, self._job.name)

    @property
    def _shown(self) -> str:
        return f"{self._cluster.namespace}/{self._job.name}"

    def _get(self) -> dict[str, Any] | None:
        return self._cluster.get(self._kind.resource, self._job.name)

    def _found(self) -> dict[str, Any] | None:
        """The job of an earlier launcher, where it is still of use."""
        stored = self._get()
        if stored is None:
            return None
        metadata = stored["metadata"]
        if not MANAGED_BY.items() <= (metadata.get("labels") or {}).items():
            expected = "no such job, or one of polytrainer's"
            got = f"a {self._job.options.kind} {self._shown} of somebody else's"
            raise TrainingError(Problem("the cluster", got, expected, "Delete or rename it."))
        end = status.ended(self._kind, stored)
        same = (metadata.get("annotations") or {}).get(OPTIONS) == self._job.annotations.get(OPTIONS)
        if metadata.get("deletionTimestamp") or not same or (end and end["type"] == status.FAILED):
            logging.info("The %s %s of an earlier try is deleted first.", self._job.options.kind, self._shown)
            self.delete()
            self._wait_until_gone()
            return None
        logging.info("Following on the %s %s, which is there already.", self._job.options.kind, self._shown)
        return stored

    def _submitted(self) -> dict[str, Any]:
        Handover(self._job.folder).again() if self._restarts else self._prepare()
        annotations = {**self._job.annotations, FOLDER: self._job.folder, RESTARTS: str(self._restarts)}
        wanted = manifest(replace(self._job, annotations=annotations))
        stored = self._cluster.create(self._kind.resource, wanted)
        if stored is None:  # made by a request whose answer was lost, or by another launcher just now
            stored = self._get()
            if stored is None:
                return self._submitted()
        lost = [path for path in dropped(wanted["spec"], stored["spec"]) if path not in _UNTIMED]
        if lost:
            self.delete()
            remedy = "Is Kubeflow Trainer older than 2.2? Update it, or say this in a training runtime of your own."
            raise TrainingError(
                Problem("cluster", f"{', '.join(lost)}, which the cluster does not know", "what it knows", remedy)
            )
        logging.info("Submitted the %s %s.", self._job.options.kind, self._shown)
        return stored

    def _to_the_end(self, stored: dict[str, Any]) -> str:
        log, deadline = RankZeroLog(self._cluster, self._kind), self._deadline(stored)
        folder, self._restarts = _annotation(stored, FOLDER, self._job.folder), int(_annotation(stored, RESTARTS, "0"))
        while True:
            latest = self._get()
            if latest is None:
                return self._vanished(folder)
            end = status.ended(self._kind, latest)  # before the log, so that this is whole when the job has ended
            pods = self._cluster.pods({self._kind.job_label: self._job.name})
            self._disruptions.note(pods, end is not None)
            self._say(status.summary(pods, self._job.options.nodes))
            log.show(pods)
            if end is None:
                self._end_what_is_in_vain(pods, folder, deadline)
            elif end["type"] == self._kind.succeeded:
                return folder
            else:
                self._submit_again_or_raise(self._why(end, pods, folder))
            self._cancellation.sleep(min(self._job.options.poll_seconds, max(deadline - time.monotonic(), 0.01)))

    def _end_what_is_in_vain(self, pods: Sequence[Mapping[str, Any]], folder: str, deadline: float) -> None:
        """A job that is too late, or whose rank fails as often as the cluster starts its pod again."""
        if time.monotonic() > deadline:
            self.delete()
            raise failure.too_late(self._shown, self._job.options, self._said)
        if status.failures(pods) and any(error.final for error in Handover(folder).errors()):
            why = self._why({}, pods, folder)
            self.delete()
            raise failure.error(self._shown, self._job.options, why)

    def _submit_again_or_raise(self, why: failure.Reasons) -> None:
        if not why.disrupted or self._restarts >= self._job.options.restarts:
            raise failure.error(self._shown, self._job.options, why)
        self._restarts += 1
        logging.warning("%s: %s. Submitting it again (%d).", self._shown, why.disruption, self._restarts)
        self.delete()
        self._wait_until_gone()
        self._disruptions.forget()
        self._submitted()

    def _deadline(self, stored: Mapping[str, Any]) -> float:
        """By this process's clock, from the job's first submission on."""
        seconds = self._job.options.timeout_seconds
        if not seconds:
            return float("inf")
        made = datetime.fromisoformat(stored["metadata"]["creationTimestamp"].replace("Z", "+00:00"))
        age = (datetime.now(timezone.utc) - made).total_seconds()
        return time.monotonic() + seconds - max(age, 0.0)

    def _vanished(self, folder: str) -> str:
        """Deleted by somebody: by another launcher of the same training, once it was done, or too early."""
        if Handover(folder).result() is not None:
            return folder
        got = f"no {self._job.options.kind} {self._shown} any more; somebody has deleted it"
        remedy = "Start the same pipeline again, and it goes on from its last checkpoint."
        raise TrainingError(Problem("the cluster", got, "the job to stay until it has ended", remedy))

    def _why(self, end: Mapping[str, Any], pods: Sequence[Mapping[str, Any]], folder: str) -> failure.Reasons:
        """Everything that is known of a failure."""
        errors, failed = Handover(folder).errors(), status.failures(pods)
        log = (self._cluster.log(failed[0].pod, self._kind.container, None) or []) if failed else []
        return failure.Reasons(end, failed, errors, log, self._disruptions.explain(errors, failed))

    def _wait_until_gone(self) -> None:
        until = time.monotonic() + _GONE_SECONDS
        while self._get() is not None:
            if time.monotonic() > until:
                got = f"a {self._job.options.kind} {self._shown} that is deleted and does not go"
                raise TrainingError(Problem("the cluster", got, "its pods to end", "Look at its finalizers."))
            self._cancellation.sleep(min(self._job.options.poll_seconds, 1.0))

    def _say(self, summary: str) -> None:
        if summary != self._said:
            self._said = summary
            logging.info("%s: %s", self._shown, summary)


def _annotation(stored: Mapping[str, Any], name: str, default: str) -> str:
    return str((stored["metadata"].get("annotations") or {}).get(name, default))
