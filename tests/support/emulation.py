"""An emulated launcher whose steps run in this process, which has TFX already: seconds instead of tens of them.

What is run is what the container would run: the same module, with the same arguments.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import yaml

STOCK = "tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor"
STOCK_DRIVER = "tfx.orchestration.kubeflow.v2.file_based_example_gen.driver"
OURS = "polytrainer.pipelines.kubeflow.entrypoint"


def execute(words: Sequence[str], variables: Mapping[str, str], log: Any) -> int:
    """`python -m MODULE ARGUMENTS…`, with what is raised written into the log as Python would."""
    [_, dash_m, name, *arguments] = words
    assert dash_m == "-m"
    module = importlib.import_module(name)
    run = module.run if name == OURS else module.main
    printed = io.StringIO()
    with mock.patch.dict(os.environ, variables, clear=True), contextlib.redirect_stdout(printed):
        try:
            run(module._parse([name, *arguments]) if name == OURS else module._parse_flags([name, *arguments]))
            status = 0
        except SystemExit as exit:
            printed.write(str(exit.code))
            status = 1
        except Exception:
            printed.write(traceback.format_exc())
            status = 1
    log.write(printed.getvalue().encode())
    return status


@contextlib.contextmanager
def in_this_process() -> Iterator[None]:
    """Steps run in this process."""
    with mock.patch("polytrainer.pipelines.kubeflow.local.launcher.execute", execute):
        yield


def with_command(path: Path, module: str) -> Path:
    """The same compiled pipeline with another command in all its containers."""
    documents = list(yaml.safe_load_all(path.read_text()))
    for executor in documents[0]["deploymentSpec"]["executors"].values():
        executor["container"]["command"] = ["python", "-m", module]
    changed = path.with_name(f"{module.rpartition('.')[2]}.yaml")
    changed.write_text(yaml.safe_dump_all(documents))
    return changed
