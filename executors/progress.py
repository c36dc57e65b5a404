"""A line of progress that a person can follow: on a terminal one that changes, elsewhere one now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping

_ELSEWHERE_SECONDS, _TERMINAL_SECONDS = 10.0, 0.1


class ProgressLine:
    """Prints step, metrics, examples a second and the time to go.

    Args:
        total_steps: The last step.
        batch_size: Examples in a step.
        first_step: Steps that an earlier process took.
        every_n_steps: Steps between two lines; 0 for a line every 10 seconds, on a terminal every tenth of one.
    """

    def __init__(self, total_steps: int, batch_size: int, first_step: int = 0, every_n_steps: int = 0):
        self._total, self._batch_size, self._first, self._every = total_steps, batch_size, first_step, every_n_steps
        self._terminal = sys.stdout.isatty()
        self._started = self._shown = time.monotonic()

    def after_step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Shows a line if it is time for one."""
        if self.due(step):
            self.show(step, metrics, stays=False)

    def due(self, step: int) -> bool:
        """Whether it is time for a line."""
        if self._every:
            return step % self._every == 0
        return time.monotonic() - self._shown > (_TERMINAL_SECONDS if self._terminal else _ELSEWHERE_SECONDS)

    def show(self, step: int, metrics: Mapping[str, float], *, stays: bool = True) -> None:
        """Shows a line.

        Args:
            step: Steps taken, over all processes.
            metrics: By name.
            stays: Whether the next line comes below it, not in its place; where there is no terminal, it always does.
        """
        self._shown = now = time.monotonic()
        speed = (step - self._first) / max(now - self._started, 1e-9)
        shown = "  ".join(f"{name} {float(value):.4g}" for name, value in metrics.items())
        left = (self._total - step) / max(speed, 1e-9)
        line = f"step {step}/{self._total}  {shown}  {speed * self._batch_size:,.0f} examples/s  {left:.0f} s to go"
        print(
            f"\r{line}\033[K" if self._terminal else line, end="\n" if stays or not self._terminal else "", flush=True
        )
