"""The form of every refusal: what was looked at, what it was, what was expected, how to mend it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, said so that a person can mend it.

    Attributes:
        where: The argument, file or artifact that is wrong, e.g. `train_args.num_steps`.
        got: What was found there.
        expected: What would have been right.
        remedy: What to do about it; empty where `expected` says it already.
    """

    where: str
    got: str
    expected: str
    remedy: str = ""

    def __str__(self) -> str:
        remedy = f" {self.remedy}" if self.remedy else ""
        return f"{self.where}: got {self.got}; expected {self.expected}.{remedy}"


def describe(problems: Iterable[Problem]) -> str:
    """All problems as one message: a single line for one, a numbered list for several."""
    lines = [str(problem) for problem in problems]
    if len(lines) == 1:
        return lines[0]
    return f"{len(lines)} problems:\n" + "\n".join(f"  {number}. {line}" for number, line in enumerate(lines, 1))
