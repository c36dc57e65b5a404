"""The errors of those who look at pipelines from outside."""

from __future__ import annotations

from polytrainer.proto.problems import Problem, describe


class PipelineError(ValueError):
    """What the command line says in a few lines, without a traceback."""


class MetadataError(PipelineError):
    """ML Metadata could not be read, or does not hold what was asked for.

    Attributes:
        problem: What is wrong.
    """

    def __init__(self, problem: Problem):
        self.problem = problem
        super().__init__(str(problem))


class KubeflowError(PipelineError):
    """A pipeline cannot be compiled for Kubeflow, or not run as Kubeflow would.

    Attributes:
        problems: Everything that is wrong.
    """

    def __init__(self, *problems: Problem):
        self.problems = problems
        super().__init__(describe(problems))
