"""Can a Keras model answer for one example that lacks what may be missing? Looked at before it is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from polytrainer.executors.backends import data_checks
from polytrainer.executors.backends.data_errors import reason
from polytrainer.executors.data import dataset
from polytrainer.executors.data.example_parsing import parse_examples
from polytrainer.executors.errors import PreflightError
from polytrainer.proto.problems import Problem

if TYPE_CHECKING:
    from polytrainer.executors.backends.keras.trainer import KerasTrainer


def check(trainer: KerasTrainer, model: Any) -> None:
    """Asks the model for one example at a time, without the features that may be missing.

    In a batch, a SparseTensor `[batch, 1]` passes for a dense one; alone, without a value, it is `[1, 0]`.

    Raises:
        PreflightError: With each feature without which the model fails.
    """
    optional = data_checks.optional_features(trainer)
    records = dataset.first_records(trainer.files(trainer.fn_args.train_files), 1)
    if not optional or not records or _failure(trainer, model, _without(records[0], optional)) is None:
        return
    problems = [
        Problem(
            f"feature {name!r}, which may be missing",
            f"a model that fails for one example without it ({failure})",
            "a prediction for each example",
            data_checks.default_remedy(name),
        )
        for name in optional
        if (failure := _failure(trainer, model, _without(records[0], [name]))) is not None
    ]
    if problems:
        raise PreflightError(problems)


def _failure(trainer: KerasTrainer, model: Any, record: bytes) -> str | None:
    """Why the model does not answer for an example; None if it does."""
    try:
        features, _, _ = trainer._parts(parse_examples(tf.constant([record]), trainer._stored_spec))
        trainer.predict_fn(model, features)
    except Exception as error:  # whatever a model of the user's may raise
        return reason(error)
    return None


def _without(record: bytes, names: list[str]) -> bytes:
    example = tf.train.Example.FromString(record)
    for name in names:
        example.features.feature.pop(name, None)
    return example.SerializeToString()  # type: ignore[no-any-return]
