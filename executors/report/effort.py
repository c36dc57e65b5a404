"""What comes of a page where something is wrong with it: a line in the log, and no failure of the node."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec

from absl import logging

from polytrainer.executors.report.page import Block, Section, Text

_NEEDED = ("jinja2", "matplotlib", "sklearn")


def can_be_drawn(file: str) -> bool:
    """Whether the libraries of polytrainer[report] are installed; says which are not."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        _announce(f"{file} is left out for want of {', '.join(missing)}: pip install polytrainer[report]")
    return not missing


@cache
def _announce(message: str) -> None:
    """Says on the screen and in the log, once a process, what is missing: logs of a pipeline are seldom read."""
    print(message, flush=True)
    logging.warning("%s", message)


@contextmanager
def best_effort(file: str, done: str) -> Iterator[None]:
    """What goes wrong is logged.

    Args:
        file: That is written.
        done: What has succeeded before.
    """
    try:
        yield
    except Exception:
        logging.exception("%s could not be written; the %s is not concerned.", file, done)


def section(title: str, make: Callable[[], Sequence[Block]], file: str) -> Section:
    """A section of a file; one that cannot be made says so, and leaves the others as they are."""
    try:
        return Section(title, make())
    except Exception as error:
        logging.exception("The part %r of %s could not be made.", title, file)
        return Section(title, [Text(f"This part could not be made: {type(error).__name__}: {error}")])
