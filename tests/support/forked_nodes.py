"""Forks a process for each Trainer node that it is told of, so that these need not import TFX: run by tests.

Reads a line of JSON for each: `folder` (of the node, beside its `examples` and `schema`), `number` (of the try, which
has output folders of its own, as a runner gives each), `properties`, `env` and `log`. Answers with its exit status,
which is the negative number of the signal if it was killed. `env` may have DIE, e.g. "verify:SIGTERM": the signal that
the process gets once it has verified the models, or written the report; the user's module does the rest.
"""

import json
import os
import signal
import sys
import traceback
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import tensorflow  # noqa: F401
import tensorflow_model_analysis  # noqa: F401
from tfx.types import standard_artifacts

from polytrainer import TestResults
from polytrainer.executors import verify
from polytrainer.executors.generic_executor import GenericExecutor
from polytrainer.executors.report import node as report


def die(phase):
    """Sends this process the signal of DIE, if it is to die in a phase."""
    place, _, name = os.environ.get("DIE", "").partition(":")
    if place == phase:
        os.kill(os.getpid(), getattr(signal, name))


def dying(function, phase):
    """The same function, in the middle of which the process may die."""

    def call(*arguments):
        result = function(*arguments)
        die(phase)
        return result

    return call


def run(told):
    """Runs a node to its end."""
    os.environ.update(told["env"])
    verify.verify = dying(verify.verify, "verify")
    report.write_node_report = dying(report.write_node_report, "report")
    folder = Path(told["folder"])
    examples, schema = standard_artifacts.Examples(), standard_artifacts.Schema()
    examples.uri, schema.uri = str(folder.parent / "examples"), str(folder.parent / "schema")
    examples.split_names = '["train", "eval", "test"]'
    outputs = {
        "model": [standard_artifacts.Model()],
        "model_run": [standard_artifacts.ModelRun()],
        "test_results": [TestResults()],
    }
    for key, [artifact] in outputs.items():
        artifact.uri = str(folder / key / told["number"])
        Path(artifact.uri).mkdir(parents=True)
    GenericExecutor().Do({"examples": [examples], "schema": [schema]}, outputs, told["properties"])


print("ready", flush=True)
for line in sys.stdin:
    told = json.loads(line)
    if pid := os.fork():
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
        continue
    log = os.open(told["log"], os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    status = 1
    try:
        run(told)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
