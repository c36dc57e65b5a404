"""Which of the processes of a job is this one?

What an environment variable says counts only where several processes were asked for: by `TrainArgs.strategy`, by the
training job that this package has started, or by torchrun. Images for training and notebooks often have RANK, TF_CONFIG
or PET_NODE_RANK set, and a process that is alone has to write its model all the same.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from absl import logging

from polytrainer.executors.errors import PreflightError
from polytrainer.proto.problems import Problem

MULTI_WORKER = "multi_worker_mirrored"
RANKED = ("ddp", "fsdp")
_TF_CONFIG, _RANK, _WORLD_SIZE = "TF_CONFIG", "RANK", "WORLD_SIZE"
_ADDRESS = ("MASTER_ADDR", "MASTER_PORT")
_NODES, _NODE = "PET_NNODES", "PET_NODE_RANK"  # torchrun's own, which Kubeflow sets in each pod
_OF_TORCHRUN = "TORCHELASTIC_RUN_ID"  # in each process that torchrun has started
_of_a_job = threading.Event()  # a flag of the whole process, of all its threads


@contextmanager
def job() -> Iterator[None]:
    """Marks this process, within the context, as one of a training job: the job has set its variables."""
    _of_a_job.set()
    try:
        yield
    finally:
        _of_a_job.clear()


def in_job() -> bool:
    """Whether this process is one of a training job (`job`)."""
    return _of_a_job.is_set()


def is_ranked(strategy: str) -> bool:
    """Whether this process is one of several ranks of torch.distributed: it was asked for, and somebody started them.

    Args:
        strategy: Of `TrainArgs`.

    Raises:
        PreflightError: If RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT do not fit together.
    """
    asked = strategy in RANKED or in_job() or os.environ.get(_OF_TORCHRUN)
    if not asked or _RANK not in os.environ or os.environ.get(_WORLD_SIZE) in (None, "", "1"):
        return False
    count = _number(_WORLD_SIZE, "a number of ranks")
    if _number(_RANK, f"a number from 0 to {count - 1}") >= count:
        raise _wrong(_RANK, f"a number from 0 to {count - 1}, as {_WORLD_SIZE} is {count}")
    for name in _ADDRESS:
        if not os.environ.get(name):
            raise _wrong(name, f"where rank 0 listens, as {_RANK} and {_WORLD_SIZE} say that there are {count} ranks")
    return count > 1


def is_chief(strategy: str) -> bool:
    """Whether this process is the one that writes the model of a training.

    Of the workers of "multi_worker_mirrored" the one that TF_CONFIG names; of several ranks the first; of several nodes
    that start their ranks themselves ("ddp" or "fsdp" with PET_NNODES) the first. In a training job the one that its
    variables name. Any other process is alone, and the chief.

    Args:
        strategy: Of `TrainArgs`.

    Raises:
        PreflightError: If a variable that counts cannot be read.
    """
    if strategy == MULTI_WORKER:
        return is_chief_of_cluster()
    if is_ranked(strategy):
        return _number(_RANK, "a number from 0") == 0
    if strategy in RANKED and os.environ.get(_NODES, "1") not in ("", "1"):
        return _number(_NODE, "a number from 0") == 0
    return is_chief_by_environment() if in_job() else True


def is_chief_by_environment() -> bool:
    """What the variables say, whoever has set them: TF_CONFIG of a cluster, else RANK, else PET_NODE_RANK.

    Raises:
        PreflightError: If one of them cannot be read.
    """
    if os.environ.get(_TF_CONFIG) and _cluster(os.environ):
        return is_chief_of_cluster()
    name = _RANK if _RANK in os.environ else _NODE
    return os.environ.get(name) is None or _number(name, "a number from 0") == 0


def is_chief_of_cluster() -> bool:
    """Whether TF_CONFIG gives this process the task `chief`, or the first `master`.

    In a cluster that has neither it is the first `worker`, as `tf.distribute.MultiWorkerMirroredStrategy` has it;
    without a cluster, the process is alone.

    Raises:
        PreflightError: If it cannot be read.
    """
    try:
        if not (cluster := _cluster(os.environ)):
            return True
        task = json.loads(os.environ[_TF_CONFIG])["task"]
        writer = next((name for name in ("chief", "master") if cluster.get(name)), "worker")
        return bool(task["type"] == writer and int(task["index"]) == 0)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _wrong(_TF_CONFIG, "JSON with cluster and task: {type, index}") from error


@contextmanager
def cluster_of_the_job() -> Iterator[None]:
    """Takes TF_CONFIG away within the context, unless it is a training job's: an Estimator obeys it in any case."""
    told = None if in_job() else os.environ.pop(_TF_CONFIG, None)
    if told:
        logging.warning("TF_CONFIG=%s is ignored: this is one process, and not one of a training job.", told)
    try:
        yield
    finally:
        if told is not None:
            os.environ[_TF_CONFIG] = told


def warn_of_ignored(strategy: str) -> None:
    """Logs which variables say that this process is one of several, although nobody asked for several."""
    if in_job() or strategy in (MULTI_WORKER, *RANKED) or os.environ.get(_OF_TORCHRUN):
        return
    told = {name: os.environ.get(name) for name in (_RANK, _NODE, _TF_CONFIG)}
    if ignored := ", ".join(f"{name}={value}" for name, value in told.items() if value not in (None, "", "0")):
        of_several = ", ".join(map(repr, (*RANKED, MULTI_WORKER)))
        logging.warning(
            "%s is ignored: train_args.strategy %r is that of one process; of several are %s.",
            ignored,
            strategy or "default",
            of_several,
        )


def _cluster(environ: Mapping[str, str]) -> Mapping[str, object]:
    try:
        return json.loads(environ.get(_TF_CONFIG) or "{}").get("cluster") or {}
    except (AttributeError, ValueError) as error:
        raise _wrong(_TF_CONFIG, "JSON with cluster and task: {type, index}") from error


def _number(name: str, expected: str) -> int:
    text = os.environ.get(name, "")
    if not text.isdecimal():
        raise _wrong(name, expected)
    return int(text)


def _wrong(name: str, expected: str) -> PreflightError:
    got = repr(os.environ[name]) if name in os.environ else "nothing"
    remedy = f"Unset it if this process is alone (env -u {name} …); {_RANK} and {_WORLD_SIZE}, too."
    if name == _TF_CONFIG:
        remedy = f"Unset it if this process is alone (env -u {name} …)."
    return PreflightError([Problem(f"the environment variable {name}", got, expected, remedy)])
