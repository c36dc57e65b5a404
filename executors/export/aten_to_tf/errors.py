"""Why a program does not become a TensorFlow model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from polytrainer.proto.problems import Problem, describe

if TYPE_CHECKING:
    from polytrainer.executors.export.aten_to_tf.targets import Unsupported


class ConversionError(ValueError):
    """A program could not be converted.

    Attributes:
        problems: What is wrong.
    """

    def __init__(self, *problems: Problem):
        self.problems = problems
        super().__init__(f"Not converted to TensorFlow: {describe(problems)}")


class UnsupportedOperators(ConversionError):  # noqa: N818 - it is what they are
    """A program uses what has no counterpart here.

    Attributes:
        unsupported: All of it, not only the first.
    """

    def __init__(self, found: Sequence[Unsupported]):
        self.unsupported = tuple(found)
        super().__init__(
            *(Problem(each.where, each.target, "an operator that converts", each.hint) for each in self.unsupported)
        )
