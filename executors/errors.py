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


def loss_not_finite(loss: float, step: int, last_finite: tuple[int, float] | None) -> TrainingError:
    """What to raise when a loss is no longer a number.

    Args:
        loss: What it is.
        step: The step at which it is so.
        last_finite: The last step before at which it was a number, and that number; None if there was none.
    """
    before = (
        f"It was {last_finite[1]:.6g} at step {last_finite[0]}." if last_finite else "It was so from the first step on."
    )
    remedy = f"{before} Is there a NaN in the data, or is the learning rate too high?"
    return TrainingError(Problem("the loss", f"{loss} at step {step}", "a finite number", remedy))


class TrainingError(RuntimeError):
    """Training began and did not end with a usable model; nothing is published.

    Attributes:
        problems: What is wrong.
    """

    def __init__(self, *problems: Problem):
        self.problems = problems
        super().__init__(f"Nothing is published: {describe(problems)}")
