"""Whether a job failed, or was made to: what comes first counts."""

from __future__ import annotations

import pytest

from polytrainer.executors.distributed.kubernetes.disruptions import Disruptions
from polytrainer.executors.distributed.kubernetes.rank_error import RankError
from polytrainer.executors.distributed.kubernetes.status import PodFailure

pytestmark = pytest.mark.unit


def pod(uid, phase="Running", **status):
    return {"metadata": {"name": uid, "uid": uid}, "status": {"phase": phase, **status}}


def rank_error(time, stopped):
    return RankError(0, time, "an error", "", stopped)


def failed(exit_code):
    return PodFailure("pod", "Error", "", exit_code, "2026-11-20T12:00:00Z", False)


TARGET = {"conditions": [{"type": "DisruptionTarget", "status": "True"}]}


@pytest.mark.parametrize("status", [TARGET, {"reason": "Evicted"}, {"reason": "Preempting"}])
def test_a_pod_that_was_marked_explains_what_the_others_say(status):
    disruptions = Disruptions()
    disruptions.note([pod("a"), pod("b", **status)], ended=False)
    disruptions.note([pod("a", "Failed")], ended=True)
    assert disruptions.explain([rank_error(1, stopped=False)], [failed(1)])
    disruptions.forget()
    assert not disruptions.explain([rank_error(1, stopped=False)], [failed(1)])


def test_a_pod_that_is_gone_was_taken_away_unless_the_job_had_ended():
    disruptions = Disruptions()
    disruptions.note([pod("a"), pod("b")], ended=False)
    disruptions.note([pod("a")], ended=False)
    assert disruptions.explain([], [])
    clearing_up = Disruptions()
    clearing_up.note([pod("a"), pod("b")], ended=False)
    clearing_up.note([pod("a", "Failed")], ended=True)
    assert not clearing_up.explain([], [failed(1)])


def test_of_ranks_the_first_one_says_it():
    asked, fails = rank_error(1, stopped=True), rank_error(2, stopped=False)
    assert Disruptions().explain([asked, fails], [failed(1)])
    assert not Disruptions().explain([fails, asked], [failed(1), failed(143)])


def test_pods_that_were_all_asked_to_end_and_said_nothing_were_taken_away():
    assert Disruptions().explain([], [failed(143), failed(143)])
    assert not Disruptions().explain([], [failed(143), failed(1)])
    assert not Disruptions().explain([], [])
