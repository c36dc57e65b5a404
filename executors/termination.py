"""A process that is asked to end saves its training first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from polytrainer.executors.errors import TrainingError
from polytrainer.proto.problems import Problem


class _Terminated(BaseException):
    """SIGTERM; no `Exception`, which a library that is called might take for a failure that it can go on after."""


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

        wished = False

        def leave(*_: object) -> None:
            nonlocal wished
            wished = True
            raise _Terminated

        before = signal.signal(signal.SIGTERM, leave)
        try:
            yield
        except _Terminated:
            raise Termination.error(step) from None
        finally:
            signal.signal(signal.SIGTERM, before)
        if wished:  # where it came, no exception could be raised, e.g. in a finalizer
            raise Termination.error(step)

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
