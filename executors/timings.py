"""Where the time of a run goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

TRAINING, EVALUATION, CHECKPOINTS, TEST, EXPORT = "training", "evaluation", "checkpoints", "test", "export"


class Timings:
    """Seconds by phase. What a phase spends in another one counts for that one only, so that they add up.

    Attributes:
        seconds: By name of the phase, in the order in which they first began.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._phases: list[str] = []
        self._since = 0.0

    @property
    def phase(self) -> str:
        """The phase that began last and has not ended; empty outside of them all."""
        phases = self._phases[-1:]  # another thread may ask while one ends
        return phases[0] if phases else ""

    @contextmanager
    def of(self, phase: str) -> Iterator[None]:
        """Measures a phase: once a run, an epoch or an evaluation, not once a step."""
        self.begin(phase)
        try:
            yield
        finally:
            self.end()

    def begin(self, phase: str) -> None:
        """As `of`, for those who are told of a beginning and of an end."""
        self._count()
        self._phases.append(phase)
        self.seconds.setdefault(phase, 0.0)

    def end(self) -> None:
        """Ends the phase that began last."""
        self._count()
        self._phases.pop()

    def _count(self) -> None:
        """Adds what has passed to the phase that it has passed in."""
        now = time.monotonic()
        if self._phases:
            self.seconds[self._phases[-1]] += now - self._since
        self._since = now
