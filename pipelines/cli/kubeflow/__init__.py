"""`polytrainer kubeflow`: pipelines for Kubeflow Pipelines."""

from __future__ import annotations

from typing import Any

from polytrainer.pipelines.cli.kubeflow import compile as compile_
from polytrainer.pipelines.cli.kubeflow import run_local


def add_to(subcommands: Any) -> None:
    """Adds the command, which has subcommands of its own."""
    parser = subcommands.add_parser("kubeflow", help="pipelines for Kubeflow Pipelines", description=__doc__)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for module in (compile_, run_local):
        module.add_to(commands)
