"""Which of several ranks is the one that the others wait for."""

from __future__ import annotations

import time

import pytest

from polytrainer.executors.distributed.heartbeat import Heartbeat, beating, heartbeats, stack_path
from polytrainer.executors.distributed.stalls import _stalled, watched

pytestmark = pytest.mark.unit


def beats(*ranks):
    """Heartbeats of ranks: seconds since the last one, step, seconds since phase and step are what they are."""
    now = time.time()
    return [Heartbeat(i, 1, now - age, "training", step, now - still) for i, (age, step, still) in enumerate(ranks)]


@pytest.mark.parametrize(
    ("ranks", "stalled"),
    [
        ([], []),
        ([(0, 5, 1), (0, 5, 2)], []),
        ([(0, 5, 99), (0, 5, 1)], []),  # one advances: the other may be in a long evaluation
        ([(0, 5, 99), (50, 5, 99)], [1]),  # stopped
        ([(0, 5, 99), (0, 4, 99)], [1]),  # behind
        ([(0, 5, 99), (0, 5, 98)], [0, 1]),
    ],
)
def test_who_stalls(ranks, stalled):
    assert [each.rank for each in _stalled(beats(*ranks), 10)] == stalled


def test_a_rank_says_where_it_is_and_since_when_until_it_ends(tmp_path):
    position = ["training", 3]
    with beating(tmp_path, 2, lambda: tuple(position)):
        deadline = time.monotonic() + 10
        while not heartbeats(tmp_path):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        [first] = heartbeats(tmp_path)
        assert (first.rank, first.phase, first.step) == (2, "training", 3)
        position[1] = 4
        while heartbeats(tmp_path)[0].step == first.step:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert heartbeats(tmp_path)[0].since > first.since
        assert stack_path(tmp_path, 2).exists()
    assert heartbeats(tmp_path) == []


def test_nothing_is_found_where_nothing_stalls(tmp_path):
    with watched(tmp_path, 10) as stall:
        time.sleep(0.1)
    assert stall.problem is None
