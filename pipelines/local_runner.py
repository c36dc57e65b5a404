"""LocalDagRunner, with progress a person can follow and the noise in a file."""

from __future__ import annotations

import logging
import os
import re
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TextIO

from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.pipeline import Pipeline

_NODE = re.compile(r"Component (?P<node>\S+) is (?P<state>running|finished)\.")
_WIDTH = 150
_SAID_ALWAYS = ("ArtifactQuery.property_predicate is not supported.",)  # by TFX, of each channel of a Resolver


def run(pipeline: Pipeline, log_file: Path, *, verbose: bool = False) -> None:
    """Runs a pipeline on this machine, node by node.

    Prints a line when a node starts and one when it ends, warnings once each, and what the user's code prints. All
    that TFX logs goes to `log_file`, and to the screen as well if `verbose`.

    Args:
        pipeline: The pipeline.
        log_file: Written anew.
        verbose: Show TFX's own log.
    """
    log_file.parent.mkdir(parents=True, exist_ok=True)
    with log_file.open("w") as log, _logging_to(log, len(pipeline.components), verbose):
        _Runner(log, verbose).run(pipeline)


class _Runner(LocalDagRunner):  # type: ignore[misc]
    """Sends what pip and setuptools print while TFX packages the user's modules into the log."""

    def __init__(self, log: TextIO, verbose: bool):
        super().__init__()
        self._packaging = ExitStack()
        self._log, self._verbose = log, verbose

    def run(self, pipeline: Pipeline, *args: Any, **kwargs: Any) -> None:
        print(f"packaging user modules of {pipeline.pipeline_info.pipeline_name}", flush=True)
        with self._packaging:
            if not self._verbose:
                self._packaging.enter_context(_redirected(self._log))
            super().run(pipeline, *args, **kwargs)

    def run_with_ir(self, *args: Any, **kwargs: Any) -> None:
        self._packaging.close()  # packaging is done; what is printed from here on is training
        super().run_with_ir(*args, **kwargs)


class _Progress(logging.Handler):
    """Shows the start and end of nodes, each warning once, and every error."""

    def __init__(self, num_nodes: int):
        super().__init__(logging.INFO)
        self._num_nodes, self._number, self._started = num_nodes, 0, 0.0
        self._seen: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if node := _NODE.fullmatch(message):
            self._show_node(node["node"], node["state"])
        elif message in _SAID_ALWAYS:
            pass
        elif record.levelno >= (logging.ERROR if record.name.startswith("tensorflow") else logging.WARNING):
            line = f"{record.levelname.lower()}: {textwrap.shorten(message, _WIDTH)}"
            if line not in self._seen:
                print(f"        {line}", file=sys.stderr, flush=True)
            self._seen.add(line)

    def _show_node(self, name: str, state: str) -> None:
        if state == "running":
            self._number, self._started = self._number + 1, time.monotonic()
            print(f"[{self._number:>2}/{self._num_nodes}] {name}", flush=True)
        else:
            print(f"        done in {time.monotonic() - self._started:.1f} s", flush=True)


@contextmanager
def _logging_to(log: TextIO, num_nodes: int, verbose: bool) -> Iterator[None]:
    """Routes absl's, TensorFlow's and Python's loggers into the log and onto the screen; restores them afterwards."""
    import tensorflow as tf
    from absl import logging as absl_logging

    to_file = logging.StreamHandler(log)
    to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    handlers: list[logging.Handler] = [to_file, _Progress(num_nodes)]
    if verbose:
        handlers.append(logging.StreamHandler())
    loggers = (logging.getLogger(), logging.getLogger("absl"), tf.get_logger())
    before = [(logger, logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    verbosity = absl_logging.get_verbosity()
    absl_logging.set_verbosity(absl_logging.INFO)  # Transform sets the logger's own level back to this one
    for logger in loggers:
        logger.handlers = handlers if logger is logging.getLogger() else []
        logger.setLevel(logging.INFO)
        logger.propagate = True
    try:
        yield
    finally:
        for logger, old_handlers, level, propagate in before:
            logger.handlers, logger.propagate = old_handlers, propagate
            logger.setLevel(level)
        absl_logging.set_verbosity(verbosity)


@contextmanager
def _redirected(log: TextIO) -> Iterator[None]:
    """Sends standard output and error, those of child processes too, into a file."""
    saved = {stream: os.dup(stream.fileno()) for stream in (sys.stdout, sys.stderr)}
    try:
        for stream in saved:
            stream.flush()
            os.dup2(log.fileno(), stream.fileno())
        yield
    finally:
        for stream, descriptor in saved.items():
            stream.flush()
            os.dup2(descriptor, stream.fileno())
            os.close(descriptor)
