"""TensorFlow's distribution strategies by the names that `TrainArgs.strategy` has for them."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from polytrainer.executors.distributed.ranks import MULTI_WORKER
from polytrainer.executors.errors import PreflightError
from polytrainer.proto.problems import Problem
from polytrainer.proto.trainer_pb2 import TrainArgs


def prepare(train_args: TrainArgs) -> None:
    """Joins the cluster, if there is to be one: TensorFlow can do so only before it has done anything else.

    Raises:
        PreflightError: If there is no cluster in TF_CONFIG, or TensorFlow was used already.
    """
    if train_args.strategy == MULTI_WORKER:
        _multi_worker()


def strategy(train_args: TrainArgs) -> Any:
    """The strategy: "default", "mirrored" over all devices of this machine, or "multi_worker_mirrored"."""
    import tensorflow as tf

    if train_args.strategy == MULTI_WORKER:
        return _multi_worker()
    return tf.distribute.MirroredStrategy() if train_args.strategy == "mirrored" else tf.distribute.get_strategy()


@cache
def _multi_worker() -> Any:
    import tensorflow as tf

    if not os.environ.get("TF_CONFIG"):
        remedy = "A training job sets it in each worker: cluster and task."
        raise PreflightError(
            [Problem("train_args.strategy", f"{MULTI_WORKER!r} without TF_CONFIG", "a cluster", remedy)]
        )
    try:
        return _as_keras_3_calls_it(tf.distribute.MultiWorkerMirroredStrategy())
    except RuntimeError as error:
        remedy = "Run the Trainer in a process of its own (a container, a training job), not among other components."
        got = f"{MULTI_WORKER!r} in a process that has used TensorFlow before ({error})"
        raise PreflightError([Problem("train_args.strategy", got, "a fresh process", remedy)]) from error


def _as_keras_3_calls_it(strategy: Any) -> Any:
    """Makes `strategy.reduce` take what Keras 3 (seen with 3.12 and 3.15) gives it in a cluster.

    That is: the mean over axis 0 of a scalar, which is the loss; and a batch of features as a dict.
    """
    import tensorflow as tf

    reduce = strategy.reduce

    def reduced(reduce_op: Any, value: Any, axis: int | None = None) -> Any:
        if isinstance(value, (dict, list, tuple)):
            return tf.nest.map_structure(lambda each: reduced(reduce_op, each, axis), value)
        shape = getattr(value, "shape", None)
        return reduce(reduce_op, value, axis=None if shape is not None and shape.rank == 0 else axis)

    strategy.reduce = reduced
    return strategy
