"""What a converter's error says, in one line."""

from __future__ import annotations

import re
from collections.abc import Iterable

from polytrainer.executors.errors import TrainingError
from polytrainer.proto.problems import Problem

_LONGEST = 400
_OPERATOR = re.compile(r"'(tf\.\w+)' op is neither")
_UNSUPPORTED = re.compile(r"Unsupported Ops in the model \w+ optimization\n(.+)")  # of tensorflowjs
_WITHOUT_FLEX = re.compile(r"Select TensorFlow op\(s\).*\((Flex\w+)\)", re.DOTALL)
_COMPILER = re.compile(
    r"^.*?: error: (?:loc\(.*\): )?(.+)$", re.MULTILINE
)  # and where in the model, in a form for compilers


def of(error: BaseException) -> str:
    """The operators that a converter does not know, where it names them; else the first line that says something."""
    text = str(error)
    if operators := sorted(set(_OPERATOR.findall(text))):
        return no_form_for(operators)
    if unsupported := _UNSUPPORTED.search(text):
        return no_form_for(sorted(unsupported[1].split(", ")))
    if without := _WITHOUT_FLEX.search(text):
        return f"operators of TensorFlow itself, such as {without[1]}, which this TensorFlow's interpreter cannot run"
    said = _COMPILER.search(text)
    first = said[1] if said else next((line.strip() for line in text.splitlines() if line.strip()), "")
    first = first if len(first) <= _LONGEST else first[:_LONGEST] + "…"
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def no_form_for(operators: Iterable[str]) -> str:
    """The same for operators that were found otherwise."""
    return f"there is nothing for {', '.join(operators)}"


def inconvertible(name: str, got: str) -> TrainingError:
    """What to raise where a model cannot be written in a format.

    Args:
        name: Of the format.
        got: Why not.
    """
    remedy = f"Leave {name} out of ExportArgs.formats, or make the model of what {name} has a form for."
    return TrainingError(
        Problem(
            "export_args.formats",
            f"{name}, which this model cannot be written as ({got})",
            "one that it can be",
            remedy,
        )
    )
