"""The errors of a training node. Each is also of the type that TFX's own executor raises in its place."""

from __future__ import annotations

from collections.abc import Sequence

from polytrainer.proto.problems import Problem, describe


class PreflightError(ValueError):
    """Something is wrong with what the node was given; nothing was trained.

    Attributes:
        problems: Everything that was found wrong, not only the first of it.
    """

    def __init__(self, problems: Sequence[Problem]):
        self.problems = tuple(problems)
        super().__init__(f"Nothing was trained: {describe(self.problems)}")


class UserCodeError(ImportError):
    """The user's code could not be loaded, or is not what a Trainer can call.

    Attributes:
        problem: What is wrong with it.
    """

    def __init__(self, problem: Problem):
        self.problem = problem
        super().__init__(str(problem))


class TrainingError(RuntimeError):
    """Training began and did not end with a usable model; nothing is published.

    Attributes:
        problems: What is wrong.
    """

    def __init__(self, *problems: Problem):
        self.problems = problems
        super().__init__(f"Nothing is published: {describe(problems)}")
