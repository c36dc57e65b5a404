"""Trains the Estimator of a `trainer_fn(fn_args, schema)`, the contract of TFX's Trainer up to 1.15."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from typing import Any

from absl import logging
from tfx.dsl.io import fileio
from tfx.utils import io_utils, path_utils

from polytrainer.executors.data.feature_specs import read_schema
from polytrainer.executors.distributed.ranks import cluster_of_the_job, is_chief_of_cluster
from polytrainer.executors.errors import TrainingError
from polytrainer.executors.fn_args import FnArgs
from polytrainer.executors.result import TrainResult
from polytrainer.proto.problems import Problem

_REQUIRED = ("estimator", "train_spec", "eval_spec")


def train(trainer_fn: Callable[..., Any], fn_args: FnArgs) -> TrainResult:
    """Trains and evaluates, then exports: the serving model of the exporter in `eval_spec`, and an EvalSavedModel.

    Checkpoints and logs stay in the ModelRun; only the exported models go into the Model, as TFX's Estimator executor
    had it. Unlike there, a schema is not required. The EvalSavedModel is written where the user's code gives an
    `eval_input_receiver_fn` and TFMA still has one, which is on TFX 1.15; from 1.16 on, TFMA evaluates the serving
    model.

    Args:
        trainer_fn: The user's function; returns a dict with `estimator`, `train_spec`, `eval_spec` and, optionally,
            `eval_input_receiver_fn`.
        fn_args: Of the node. `trainer_fn` sees `serving_model_dir` and `eval_model_dir` inside the ModelRun.

    Returns:
        Metrics of the last evaluation and the number of steps.

    Raises:
        TrainingError: If `trainer_fn` returns something else, or no model was exported.
    """
    with cluster_of_the_job():
        return _train(trainer_fn, fn_args)


def _train(trainer_fn: Callable[..., Any], fn_args: FnArgs) -> TrainResult:
    import tensorflow as tf

    working_args = copy.copy(fn_args)
    working_args.serving_model_dir = path_utils.serving_model_dir(fn_args.model_run_dir)
    working_args.eval_model_dir = path_utils.eval_model_dir(fn_args.model_run_dir)
    schema = read_schema(fn_args.schema_path) if fn_args.schema_path else None
    spec = _checked(trainer_fn(working_args, schema))

    outcome = tf.estimator.train_and_evaluate(*(spec[name] for name in _REQUIRED))
    if is_chief_of_cluster():
        _export_eval_model(spec, working_args.eval_model_dir)
        _copy_models(fn_args)
    metrics = dict(outcome[0] or {}) if outcome else {}
    steps = metrics.pop("global_step", None)
    return TrainResult(
        metrics={name: float(value) for name, value in metrics.items()},
        steps=None if steps is None else int(steps),
        framework="estimator",
    )


def _checked(spec: Any) -> dict[str, Any]:
    missing = [name for name in _REQUIRED if not isinstance(spec, dict) or spec.get(name) is None]
    if missing:
        got = f"a dict without {missing}" if isinstance(spec, dict) else f"{type(spec).__name__}: {spec!r}"
        raise TrainingError(Problem("what trainer_fn returned", got, f"a dict with {list(_REQUIRED)}"))
    return spec  # type: ignore[no-any-return]


def _export_eval_model(spec: dict[str, Any], eval_model_dir: str) -> None:
    receiver = spec.get("eval_input_receiver_fn")
    if receiver is None:
        return
    import tensorflow_model_analysis as tfma

    if not hasattr(getattr(tfma, "export", None), "export_eval_savedmodel"):
        logging.info("This TFMA has no EvalSavedModel; the Evaluator uses the serving model.")
        return
    tfma.export.export_eval_savedmodel(
        estimator=spec["estimator"], export_dir_base=eval_model_dir, eval_input_receiver_fn=receiver
    )


def _copy_models(fn_args: FnArgs) -> None:
    working_dir = fn_args.model_run_dir
    serving = _newest_export(os.path.join(path_utils.serving_model_dir(working_dir), "export"))
    io_utils.copy_dir(serving, fn_args.serving_model_dir)
    if fileio.exists(path_utils.eval_model_dir(working_dir)):
        io_utils.copy_dir(_newest_child(path_utils.eval_model_dir(working_dir)), fn_args.eval_model_dir)


def _newest_export(folder: str) -> str:
    """`<folder>/<exporter>/<timestamp>`. A BestExporter keeps several; the newest is the best."""
    exporters = _children(folder) if fileio.exists(folder) else []
    exports = [os.path.join(folder, name) for name in exporters if _children(os.path.join(folder, name))]
    if len(exports) != 1:
        raise TrainingError(
            Problem(
                "trainer_fn",
                f"exports of {len(exports)} exporters in {folder}" + (f": {exporters}" if exporters else ""),
                "one exporter in the eval_spec, and an estimator whose model_dir is fn_args.serving_model_dir",
                "tf.estimator.EvalSpec(…, exporters=[tf.estimator.FinalExporter('name', serving_input_receiver_fn)]); "
                "a FinalExporter exports only if the train_spec has max_steps.",
            )
        )
    return _newest_child(exports[0])


def _newest_child(folder: str) -> str:
    return os.path.join(folder, max(_children(folder), key=int))


def _children(folder: str) -> list[str]:
    """Names of the folders inside, without the temporary ones of an export that was not finished."""
    return [name.strip("/") for name in fileio.listdir(folder) if not name.startswith("temp-")]
