"""Runs a pickled Trainer node in a process that is killed at a phase of it: `node_process.py NODE PHASE`."""

from __future__ import annotations

import os
import pickle
import signal
import sys
from pathlib import Path

PHASES = {
    "verify": "polytrainer.executors.verify.verify",
    "report": "polytrainer.executors.report.node.write_node_report",
}


def dies_at(phase, how, patch):
    """Lets this process be sent a signal in place of a phase's function, and then call it.

    Args:
        phase: One of PHASES.
        how: The signal.
        patch: Sets an attribute: (module, name, value).
    """
    import importlib

    module_name, _, name = PHASES[phase].rpartition(".")
    module = importlib.import_module(module_name)
    function = getattr(module, name)

    def called(*arguments):
        os.kill(os.getpid(), how)
        return function(*arguments)

    patch(module, name, called)


if __name__ == "__main__":
    from polytrainer.executors.generic_executor import GenericExecutor

    dies_at(sys.argv[2], signal.SIGKILL, setattr)
    GenericExecutor().Do(*pickle.loads(Path(sys.argv[1]).read_bytes()))
