"""Where the time of a run goes."""

from __future__ import annotations

from contextlib import suppress

import pytest

from polytrainer.executors import timings
from polytrainer.executors.timings import Timings

pytestmark = pytest.mark.unit


@pytest.fixture
def clock(monkeypatch):
    """A clock that is moved by hand."""
    now = [100.0]
    monkeypatch.setattr(timings.time, "monotonic", lambda: now[0])

    def tick(seconds):
        now[0] += seconds

    return tick


def test_a_phase_inside_another_counts_for_itself_only(clock):
    measured = Timings()
    with measured.of("training"):
        clock(5)
        with measured.of("evaluation"):
            clock(2)
        clock(1)
        measured.begin("evaluation")
        clock(3)
        measured.end()
    clock(50)  # between phases
    with measured.of("export"):
        clock(4)
    assert measured.seconds == {"training": 6, "evaluation": 5, "export": 4}


def test_a_phase_ends_when_it_fails(clock):
    measured = Timings()
    with measured.of("training"):
        with suppress(ZeroDivisionError), measured.of("evaluation"):
            clock(2)
            raise ZeroDivisionError
        clock(1)
    assert measured.seconds == {"training": 1, "evaluation": 2}
