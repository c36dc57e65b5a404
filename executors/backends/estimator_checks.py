"""What can be seen of an Estimator before it trains: the graphs that it will build, built once and looked at."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from tensorflow.io import gfile

from polytrainer.executors.backends import data_checks, estimator_formats
from polytrainer.executors.backends.data_errors import text_label
from polytrainer.executors.errors import PreflightError, TrainingError
from polytrainer.executors.run_record import write
from polytrainer.proto.problems import Problem

if TYPE_CHECKING:
    from polytrainer.executors.backends.estimator_trainer import EstimatorTrainer

v1 = tf.compat.v1
_VARIABLES = "variables.json"
_LOSS = "loss"
_SPARSE = "SparseTensor is not supported"  # of a numeric_column
_SHOWN = 5  # of the variables that differ


def check(trainer: EstimatorTrainer, estimator: Any, resumed_from: int) -> None:
    """Looks at the graphs of training and, where its metrics or weights matter, of evaluation.

    Args:
        trainer: With `input_batches`.
        estimator: As the trainer has configured it.
        resumed_from: The step of the checkpoint in the Estimator's folder; 0 without one.

    Raises:
        PreflightError: If weights are given that the Estimator does not use, a metric to monitor is none of its own,
            or the checkpoint is of another model.
    """
    with _graph(trainer, estimator, tf.estimator.ModeKeys.TRAIN) as (spec, weight):
        problems = _check_weight(trainer, spec.loss, weight, "while training")
        variables = _variables()
    if trainer.weight_key is not None or trainer.selection.stopping is not None:
        with _graph(trainer, estimator, tf.estimator.ModeKeys.EVAL) as (spec, weight):
            if trainer.weight_key is not None:
                problems = problems or _check_weight(trainer, spec.loss, weight, "in evaluations")
            problems += trainer.selection.problems(trainer.metric_names(spec), evaluates=True)
    problems += _check_variables(estimator.model_dir, variables, resumed_from)
    if problems:
        raise PreflightError(problems)


def check_serving(trainer: EstimatorTrainer, estimator: Any) -> None:
    """Builds the graph of predictions, and finds out which raw features it needs.

    Raises:
        PreflightError: If the model's features cannot be made without the raw label.
    """
    try:
        estimator_formats.narrowed(trainer, estimator)
    except TrainingError as error:  # what `interface` says after a training
        raise PreflightError(error.problems) from error


@contextmanager
def _graph(trainer: EstimatorTrainer, estimator: Any, mode: str) -> Iterator[tuple[Any, Any]]:
    """The graph of a mode, as the default one.

    Yields:
        The EstimatorSpec, and the tensor that is the feature of the example weights; None without any.
    """
    training = mode == tf.estimator.ModeKeys.TRAIN
    files = trainer.files(trainer.fn_args.train_files if training else trainer.fn_args.eval_files)
    with tf.Graph().as_default():
        v1.set_random_seed(trainer.seed)
        v1.train.create_global_step()
        batches = trainer.input_batches(files, training=training)
        if isinstance(batches, tf.data.Dataset):
            batches = v1.data.make_initializable_iterator(batches).get_next()
        features, label = batches if isinstance(batches, tuple) else (batches, None)
        weight = None
        if trainer.is_weighted:
            weight = tf.identity(features[trainer.weight_column])  # an operation of its own, to be found by
            features = {**features, trainer.weight_column: weight}
        yield _spec(trainer, estimator, features, label, mode), weight


def _spec(trainer: EstimatorTrainer, estimator: Any, features: Any, label: Any, mode: str) -> Any:
    """The EstimatorSpec of a mode.

    Raises:
        PreflightError: If the Estimator takes a feature as a number in each example that may be missing, or a label of
            words for numbers.
    """
    try:
        return estimator.model_fn(features, label, mode, estimator.config)
    except ValueError as error:
        if getattr(label, "dtype", None) == tf.string and trainer.label_key is not None:
            raise PreflightError([text_label(trainer.label_key, "estimator")]) from error
        if _SPARSE not in str(error):
            raise
        got = str(error).strip().splitlines()[-1].strip()
        problem = Problem(
            "the Estimator", got, "a value in each example", data_checks.default_remedy("name", quoted=False)
        )
        raise PreflightError([problem]) from error


def _check_weight(trainer: EstimatorTrainer, loss: Any, weight: Any, when: str) -> list[Problem]:
    """Whether the loss depends on the weight of the examples, where there is one."""
    if weight is None or _depends_on(loss.op, weight.op):
        return []
    given = [name for name in ("weight_key", "class_weights") if getattr(trainer, name) is not None]
    got = f"an Estimator whose loss does not depend on the example weights {when}"
    where = " and ".join(given) or "the weights of input_fn"
    remedy = "Give the Estimator weight_column=self.weight_column; a model_fn of your own finds the weight in features."
    return [Problem(where, got, f"one that uses the feature {trainer.weight_column!r}", remedy)]


def _depends_on(operation: Any, other: Any) -> bool:
    """Whether an operation is computed from another one's outputs."""
    found, to_visit = set(), [operation]
    while to_visit:
        current = to_visit.pop()
        if current is other:
            return True
        if current not in found:
            found.add(current)
            to_visit += [tensor.op for tensor in current.inputs]
    return False


def _variables() -> dict[str, list[int | None]]:
    """Shapes of the default graph's variables by name: the model's, the optimizer's and the like."""
    return {variable.op.name: variable.shape.as_list() for variable in v1.global_variables()}


def _check_variables(folder: str, variables: Mapping[str, list[int | None]], resumed_from: int) -> list[Problem]:
    """Whether a checkpoint is of the same model and optimizer; remembers those of a training that begins."""
    path = os.path.join(folder, _VARIABLES)
    if not resumed_from:
        write(path, json.dumps(variables).encode())
        return []
    if not gfile.exists(path):
        return []
    with gfile.GFile(path, "rb") as file:
        saved = json.loads(file.read())
    if saved == variables:
        return []
    differences = [
        f"{name} {_shape(saved, name)} → {_shape(variables, name)}"
        for name in sorted({*saved, *variables})
        if saved.get(name) != variables.get(name)
    ]
    shown = "; ".join(differences[:_SHOWN]) + ("; …" if len(differences) > _SHOWN else "")
    got = f"one of other variables than the model and its optimizer have now: {shown}"
    remedy = "Was something edited that the model is made of? Trainer(resume=False) starts afresh."
    return [Problem(f"the checkpoint of step {resumed_from} in {folder}", got, "the same variables", remedy)]


def _shape(variables: Mapping[str, list[int | None]], name: str) -> str:
    return str(variables[name]) if name in variables else "none"
