"""What a split's reader refuses, in the form of every other refusal."""

from __future__ import annotations

from polytrainer.proto.problems import Problem


class DataError(ValueError):
    """Data, or what was asked of them, does not fit.

    Attributes:
        problem: Where, what was got, what was expected, how to mend it.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem

    def __reduce__(self) -> tuple[type[DataError], tuple[Problem]]:
        return type(self), (self.problem,)  # a DataLoader's worker sends its errors to the parent


def refuse(where: str, got: object, expected: str, remedy: str = "") -> DataError:
    """A DataError to be raised."""
    return DataError(Problem(where, str(got), expected, remedy))
