"""What pods and conditions say, in the words that people read."""

from __future__ import annotations

import pytest

from polytrainer.executors.distributed.kubernetes import failure, status
from polytrainer.executors.distributed.kubernetes.kinds import KINDS
from polytrainer.executors.distributed.kubernetes.rank_error import RankError
from polytrainer.executors.errors import PreflightError, TrainingError
from polytrainer.proto.cluster import TrainJob
from polytrainer.proto.problems import Problem

pytestmark = pytest.mark.unit


def pod(name, phase, **more):
    return {"metadata": {"name": name}, "status": {"phase": phase, **more}}


def terminated(name, code, reason="Error", at="2026-11-20T12:00:00Z", **more):
    ended = {"exitCode": code, "reason": reason, "finishedAt": at, **more}
    return pod(name, "Failed" if code else "Succeeded", containerStatuses=[{"state": {"terminated": ended}}])


def test_what_pods_wait_for_is_said():
    unschedulable = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
    }
    no_image = {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}}
    pods = [
        pod("a", "Running"),
        pod("b", "Pending", conditions=[unschedulable]),
        pod("c", "Pending", containerStatuses=[no_image]),
        pod("d", "Pending"),
    ]
    assert status.summary(pods, 5).split("; ") == [
        "1 of 5 pods running",
        "b waits: Unschedulable: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
        "c waits: ImagePullBackOff: not found",
        "d waits: Pending",
    ]


def test_the_condition_that_ends_a_job_is_that_of_its_kind():
    for kind, succeeded in (("TrainJob", "Complete"), ("PyTorchJob", "Succeeded"), ("TFJob", "Succeeded")):
        for name, expected in ((succeeded, succeeded), ("Failed", "Failed"), ("Running", None), ("Suspended", None)):
            job = {"status": {"conditions": [{"type": name, "status": "True"}]}}
            end = status.ended(KINDS[kind], job)
            assert (end and end["type"]) == expected
        assert status.ended(KINDS[kind], {"status": {"conditions": [{"type": succeeded, "status": "False"}]}}) is None
        assert status.ended(KINDS[kind], {}) is None


def test_the_pod_that_failed_first_comes_first_and_those_that_were_asked_to_end_last():
    pods = [
        terminated("asked", 143),
        terminated("late", 1, at="2026-11-20T12:00:05Z"),
        terminated("first", 1),
        terminated("well", 0),
    ]
    assert [each.pod for each in status.failures(pods)] == ["first", "late", "asked"]


def test_a_container_that_was_started_again_is_remembered():
    last = {"state": {"running": {}}, "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}
    [found] = status.failures([pod("a", "Running", containerStatuses=[last])])
    assert str(found) == "OOMKilled (exit code 137)"


def reasons(**more):
    said = {"end": {"type": "Failed"}, "failed": [], "errors": [], "log": [], "disrupted": False, **more}
    return str(failure.error("team-a/job", TrainJob(image="trainer:1"), failure.Reasons(**said)))


def test_a_machine_that_kills_has_the_last_word_over_ranks():
    failed = status.failures([terminated("a", 1), terminated("b", 137, "OOMKilled", at="2026-11-20T12:00:09Z")])
    said = reasons(failed=failed, errors=[RankError(0, 1.0, "RuntimeError: Connection closed by peer", "", False)])
    assert "the pod b of the TrainJob team-a/job: got OOMKilled (exit code 137)" in said


def test_a_job_without_pods_says_what_its_controller_says():
    end = {"type": "Failed", "reason": "TrainingRuntimeNotSupported", "message": "unsupported runtime: x"}
    assert "the TrainJob team-a/job: got TrainingRuntimeNotSupported: unsupported runtime: x" in reasons(end=end)


def test_a_preempted_job_says_what_its_ranks_said_too():
    said = reasons(disrupted=True, errors=[RankError(1, 1.0, "TrainingError: saved at step 12", "", True)])
    assert "got pods that were taken away, after 0 restarts" in said
    assert "saved at step 12" in said


def test_of_an_error_it_is_known_whether_it_was_asked_for_and_whether_it_would_come_again():
    def told(error):
        try:
            raise error
        except Exception as raised:
            return RankError.of(3, raised)

    asked = told(TrainingError(Problem("the training", "SIGTERM; it is saved at step 12", "to go on")))
    refused = told(PreflightError([Problem("examples", "none", "some")]))
    other = told(ValueError("labels"))
    assert [(each.stopped, each.final) for each in (asked, refused, other)] == [
        (True, False),
        (False, True),
        (False, False),
    ]
    assert (other.rank, other.error) == (3, "ValueError: labels")
    assert "in told" in other.trace
