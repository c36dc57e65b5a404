"""Forks a process for each run of a node that it is told of, so that these need not import anything: see `keras_runs`.

Reads a line of JSON for each: the folder of the node, the number of the try, execution properties, a log, and where the
process is to get a signal; waits for its end and answers with its exit status.
"""

import json
import os
import signal
import sys
import traceback
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import tensorflow as tf  # noqa: F401
import tensorflow_transform.tf_metadata.schema_utils  # noqa: F401
from tfx.types import standard_artifacts

from polytrainer import KerasTrainer, TestResults
from polytrainer.executors import fn_args, preflight, publish, training, verify  # noqa: F401
from polytrainer.executors.backends import testing
from polytrainer.executors.backends.keras import callbacks
from polytrainer.executors.export import saved_model
from polytrainer.executors.generic_executor import GenericExecutor
from polytrainer.executors.report import node as report

# what is called in each phase of a run
PHASES = {
    "step": (callbacks.CountSteps, "on_train_batch_end"),
    "epoch end": (callbacks.KeepHistory, "on_epoch_end"),
    "evaluation": (callbacks.TimeEvaluations, "on_test_begin"),
    "last evaluation": (KerasTrainer, "evaluate"),
    "test": (testing, "test"),
    "export": (saved_model, "check"),
    "verify": (verify, "verify"),
    "report": (report, "write_node_report"),
}


def interrupt(phase, number, name):
    """Sends this process a signal when a phase is begun for the given time, from 1, after which it goes on."""
    place, attribute = PHASES[phase]
    original, calls = getattr(place, attribute), []

    def interrupted(*args, **kwargs):
        calls.append(1)
        if len(calls) == number:
            print(f"{name} in phase {phase}", flush=True)
            if name == "failure":
                raise ArithmeticError("this phase fails")
            os.kill(os.getpid(), getattr(signal, name))
        return original(*args, **kwargs)

    setattr(place, attribute, interrupted)


def run(node, number, properties, die, env):
    os.environ.update(env)
    if die:
        interrupt(*die)
    folder = Path(node)
    inputs = {"examples": standard_artifacts.Examples(), "schema": standard_artifacts.Schema()}
    for key, artifact in inputs.items():
        artifact.uri = str(folder.parent / key)
    inputs["examples"].split_names = '["train", "eval", "test"]'
    outputs = {
        "model": standard_artifacts.Model(),
        "model_run": standard_artifacts.ModelRun(),
        "test_results": TestResults(),
    }
    for key, artifact in outputs.items():
        artifact.uri = str(folder / key / str(number))
        Path(artifact.uri).mkdir(parents=True)
    artifacts = [{key: [artifact] for key, artifact in each.items()} for each in (inputs, outputs)]
    GenericExecutor().Do(*artifacts, properties)


def logged(log, **told):
    with open(log, "w") as file:  # noqa: PTH123
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        run(**told)
        return 0
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


if __name__ == "__main__":
    print("ready", flush=True)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os._exit(logged(**json.loads(line)))
        print(os.waitpid(child, 0)[1], flush=True)
