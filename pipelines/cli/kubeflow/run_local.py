"""`polytrainer kubeflow run-local`: a compiled pipeline, on this machine, as Kubeflow Pipelines would run it."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polytrainer.pipelines.errors import KubeflowError

if TYPE_CHECKING:
    from polytrainer.pipelines.kubeflow.local.launcher import StepError
    from polytrainer.pipelines.kubeflow.local.run import LocalRun

_TAIL = 30  # lines of a log


def add_to(subcommands: Any) -> None:
    """Adds the command."""
    parser = subcommands.add_parser("run-local", help="run a compiled pipeline on this machine", description=__doc__)
    parser.add_argument("pipeline", type=Path, metavar="PIPELINE.yaml", help="a compiled pipeline")
    parser.add_argument(
        "--root",
        type=Path,
        default=Path("runs", "kubeflow"),
        metavar="DIR",
        help="folder for artifacts and logs (default: %(default)s)",
    )
    parser.add_argument(
        "--oss",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="treat steps as open-source Kubeflow Pipelines does; --no-oss: as Vertex does, on plain folders",
    )
    parser.add_argument(
        "--parameter",
        type=_pair,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a parameter of the pipeline; may be given again",
    )
    parser.add_argument(
        "--secret",
        type=_secret,
        action="append",
        default=[],
        metavar="NAME=KEY=VALUE",
        help="a key of a secret that steps get as a variable; may be given again",
    )
    parser.add_argument("--pipeline-root", metavar="URI", help="root of artifacts (default: the pipeline's own)")
    parser.set_defaults(call=run)


def run(options: argparse.Namespace) -> None:
    """Runs it, with a line for each step.

    Raises:
        KubeflowError: The pipeline, or what was given to it, does not fit.
        SystemExit: A step failed; the end of its log is shown.
    """
    from polytrainer.pipelines.kubeflow.local.contract import OSS, VERTEX
    from polytrainer.pipelines.kubeflow.local.pipeline_spec import CompiledPipeline
    from polytrainer.pipelines.kubeflow.local.run import LocalRun

    contract = OSS if options.oss else VERTEX
    local_run = LocalRun(
        CompiledPipeline.read(options.pipeline, contract),
        options.root,
        contract=contract,
        parameters=dict(options.parameter),
        secrets=dict(options.secret),
        pipeline_root=options.pipeline_root,
    )
    for notice in local_run.notices():
        print(notice)
    _run_all(local_run)
    print(f"\nartifacts are in {local_run.store.folder}, logs in {local_run.folder('')}")


def _run_all(local_run: LocalRun) -> None:
    from polytrainer.pipelines.kubeflow.local.launcher import StepError

    tasks = local_run.pipeline.order
    for number, task in enumerate(tasks, 1):
        print(f"[{number:>{len(str(len(tasks)))}}/{len(tasks)}] {task}", end="", flush=True)
        started = time.monotonic()
        try:
            local_run.step(task)
        except StepError as failure:
            print(f"  failed after {time.monotonic() - started:.1f} s")
            _show(failure)
            raise SystemExit(1) from failure
        except KubeflowError:
            print("  failed")
            raise
        print(f"  {time.monotonic() - started:.1f} s", flush=True)


def _show(failure: StepError) -> None:
    lines = failure.log.read_text(errors="replace").splitlines()[-_TAIL:]
    print("\n".join(lines), file=sys.stderr)
    print(f"\npolytrainer: {failure.task}: {failure.reason}; all of its log: {failure.log}", file=sys.stderr)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"got {text!r}; expected NAME=VALUE")
    return name, value


def _secret(text: str) -> tuple[tuple[str, str], str]:
    name, _, rest = text.partition("=")
    key, equals, value = rest.partition("=")
    if not name or not key or not equals:
        raise argparse.ArgumentTypeError(f"got {text!r}; expected NAME=KEY=VALUE")
    return (name, key), value
