"""What a rank of a job says at its end."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass

from polytrainer.executors.errors import PreflightError, TrainingError, UserCodeError


@dataclass(frozen=True)
class RankError:
    """What a rank failed with.

    Attributes:
        rank: Its number.
        time: When, in seconds since 1970.
        error: Type and message.
        trace: The traceback.
        stopped: Whether it was told to stop, and did.
        final: Whether it would fail again, however often it is tried: nothing was trained.
    """

    rank: int
    time: float
    error: str
    trace: str
    stopped: bool
    final: bool = False

    @classmethod
    def of(cls, rank: int, error: BaseException) -> RankError:
        """What is to be told of an error that is being handled."""
        stopped = isinstance(error, TrainingError) and any(each.got.startswith("SIGTERM") for each in error.problems)
        final = isinstance(error, (PreflightError, UserCodeError))
        return cls(rank, time.time(), f"{type(error).__name__}: {error}", traceback.format_exc(), stopped, final)
