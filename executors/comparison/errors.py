"""What cannot be compared."""

from __future__ import annotations

from polytrainer.proto.problems import Problem, describe


class ComparisonError(ValueError):
    """The test results cannot be compared; nothing is published.

    Attributes:
        problems: Everything that was found wrong, not only the first of it.
    """

    def __init__(self, *problems: Problem):
        self.problems = problems
        super().__init__(f"Nothing was compared: {describe(problems)}")
