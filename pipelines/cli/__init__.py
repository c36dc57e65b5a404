"""The command line `polytrainer`.

Each subcommand is a module with `add_to(subcommands)`, which says its options, and imports what it needs when it is
called: what a person waits for is only that.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from polytrainer.pipelines.cli import compare, kubeflow, runs
from polytrainer.pipelines.errors import PipelineError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command.

    Returns:
        The exit status: 0, or 1 after a message on standard error.
    """
    options = _parser().parse_args(argv)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a terminal that has no character for what is in a name
    try:
        options.call(options)
        sys.stdout.flush()
    except BrokenPipeError:  # `polytrainer runs | head`; Python flushes once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except PipelineError as error:
        print(f"polytrainer: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="polytrainer", description="What Trainers have done, and Kubeflow.")
    subcommands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for module in (runs, compare, kubeflow):
        module.add_to(subcommands)
    return parser
