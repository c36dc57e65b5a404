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
    @contextmanager
    def exits_at_once(step: int | None) -> Iterator[None]:
        """Raises the error of a training that is saved at a step as soon as SIGTERM comes, within the context.

        For all that comes after the last step: a checkpoint is there, and nothing is lost by stopping anywhere.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def raise_error(*_: object) -> None:
            raise Termination.error(step)

        before = signal.signal(signal.SIGTERM, raise_error)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    @staticmethod
    def error(step: int | None) -> TrainingError:
        """What to raise once the training is saved at a step; None: the user's code knows what of it is saved."""
        return TrainingError(
            Problem(
                "the training",
                "SIGTERM" if step is None else f"SIGTERM; it is saved at step {step}",
                "to go on to its end",
                "Start the same pipeline again, and it goes on from there.",
            )
        )
