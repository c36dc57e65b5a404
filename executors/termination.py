"""A process that is asked to end saves its training first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from polytrainer.executors.errors import TrainingError
from polytrainer.proto.problems import Problem


class Termination:
    """Whether SIGTERM has come while somebody listened.

    Attributes:
        wished: It has.
    """

    def __init__(self) -> None:
        self.wished = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Takes SIGTERM for a wish, within the context; outside of the main thread, where nobody can, does nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def wish(*_: object) -> None:
            self.wished = True

        before = signal.signal(signal.SIGTERM, wish)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    @staticmethod
    def error(step: int) -> TrainingError:
        """What to raise once the training is saved at a step."""
        return TrainingError(
            Problem(
                "the training",
                f"SIGTERM; it is saved at step {step}",
                "to go on to its end",
                "Start the same pipeline again, and it goes on from there.",
            )
        )
