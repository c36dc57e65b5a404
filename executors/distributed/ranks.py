"""Which of the processes of a job is this one?"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping


def is_chief(environ: Mapping[str, str] | None = None) -> bool:
    """Whether this process is the one that writes the model.

    Read from TF_CONFIG where it names a cluster: the task `chief`, or the first `master`, or, in a cluster that has
    neither, the first `worker` (as `tf.distribute.MultiWorkerMirroredStrategy` has it). Else from RANK, which torchrun
    and Kubeflow's PyTorchJob set, or PET_NODE_RANK, which the latter sets for a node that starts its ranks itself. A
    process that is told nothing is alone, and the chief.

    Args:
        environ: The environment to read; `os.environ` by default.

    Raises:
        ValueError: If TF_CONFIG or RANK cannot be read.
    """
    environ = os.environ if environ is None else environ
    try:
        tf_config = json.loads(environ.get("TF_CONFIG") or "{}")
        if cluster := tf_config.get("cluster"):
            task, index = tf_config["task"]["type"], int(tf_config["task"]["index"])
            writer = next((name for name in ("chief", "master") if cluster.get(name)), "worker")
            return bool(task == writer and index == 0)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"TF_CONFIG: got {environ['TF_CONFIG']!r}; expected JSON with cluster and task: {{type, index}}."
        ) from error
    variable = "RANK" if "RANK" in environ else "PET_NODE_RANK"
    rank = environ.get(variable, "0")
    if not rank.isdigit():
        raise ValueError(f"{variable}: got {rank!r}; expected a number from 0.")
    return int(rank) == 0
