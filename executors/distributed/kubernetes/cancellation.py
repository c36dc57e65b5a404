"""The wish that a job should not go on."""

from __future__ import annotations

import time

from polytrainer.executors.termination import Termination

_REACTION_SECONDS = 0.2


class CancelledError(Exception):
    """Somebody does not want the job any more."""


class Cancellation(Termination):
    """SIGTERM, while somebody listens."""

    def sleep(self, seconds: float) -> None:
        """Waits, unless the wish has come.

        Raises:
            CancelledError: As soon as it has.
        """
        until = time.monotonic() + seconds
        while not self.wished and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _REACTION_SECONDS))
        if self.wished:
            raise CancelledError
