"""The errors of those who look at pipelines from outside."""

from __future__ import annotations

from polytrainer.proto.problems import Problem


class MetadataError(ValueError):
    """ML Metadata could not be read, or does not hold what was asked for.

    Attributes:
        problem: What is wrong.
    """

    def __init__(self, problem: Problem):
        self.problem = problem
        super().__init__(str(problem))
