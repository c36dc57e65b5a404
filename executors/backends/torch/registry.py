"""What can be named by a string, and how a name or an option that does not exist is refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from polytrainer.proto.problems import Problem

T = TypeVar("T")


def look_up(what: str, name: str, known: Mapping[str, T]) -> T:
    """The entry of that name.

    Args:
        what: What is looked up, for the message, e.g. `optimizer`.
        name: Its name.
        known: All there are.

    Raises:
        ValueError: If there is none; lists those that there are.
    """
    if name not in known:
        raise ValueError(str(Problem(what, repr(name), f"one of {', '.join(sorted(known))}")))
    return known[name]


def check_options(what: str, options: Iterable[str], accepted: Iterable[str]) -> None:
    """Refuses options that are not accepted.

    Raises:
        ValueError: Names them, and lists those that are accepted.
    """
    unknown = sorted(set(options) - set(accepted))
    if unknown:
        expected = f"options among {', '.join(sorted(accepted))}" if accepted else "no options"
        raise ValueError(str(Problem(what, f"the option {', '.join(unknown)}", expected)))
