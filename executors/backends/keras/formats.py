"""Keras models → ONNX, TFLite and TensorFlow.js: what of a KerasTrainer's model they are written from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from polytrainer.executors.backends.keras import inputs
from polytrainer.executors.errors import PreflightError
from polytrainer.executors.export.formats import signature, tensors
from polytrainer.executors.export.formats import write as formats
from polytrainer.executors.export.formats.source import Arrays, Source
from polytrainer.executors.export.signatures import named_outputs

if TYPE_CHECKING:
    from polytrainer.executors.backends.keras.trainer import KerasTrainer


def check(trainer: KerasTrainer, model: Any) -> None:
    """Looks, before training, whether the model can be written in the formats that are asked for.

    Raises:
        PreflightError: If it cannot.
    """
    told = trainer.fn_args.export_args
    if not tensors.asked_for(told):
        return
    names = _features(trainer, model)
    problems = tensors.without_a_form(trainer.feature_spec, names, told)
    if problems := problems or formats.problems(_source(trainer, model, names), told):
        raise PreflightError(problems)


def write(trainer: KerasTrainer, model: Any, root: str) -> dict[str, float]:
    """Writes the trained model in those formats; returns the largest differences, as `formats.write` does."""
    told = trainer.fn_args.export_args
    if not tensors.asked_for(told):
        return {}
    return formats.write(_source(trainer, model, _features(trainer, model)), told, root)


def _features(trainer: KerasTrainer, model: Any) -> list[str]:
    """Names of the features that the model takes: a functional one's inputs; of any other, all."""
    from polytrainer.executors.backends.keras.trainer import KerasTrainer

    features = set(trainer.feature_spec) - trainer.not_given
    if set(inputs.names(model)) <= features and type(trainer).predict_fn is KerasTrainer.predict_fn:
        return sorted(inputs.names(model)) or sorted(features)
    return sorted(features)


def _source(trainer: KerasTrainer, model: Any, names: list[str]) -> Source:
    batches = trainer.input_fn(trainer.files(trainer.fn_args.eval_files), training=False)
    features = tensors.first(batches, names, tensors.wanted_examples(trainer.fn_args.export_args))

    def outputs(given: dict[str, Any]) -> dict[str, Any]:
        # half precision is for the computation; whoever asks gets float32
        return {
            name: tf.cast(value, tf.float32) if value.dtype in (tf.float16, tf.bfloat16) else value
            for name, value in named_outputs(trainer.predict_fn(model, given)).items()
        }

    def predict(batch: Arrays) -> Arrays:
        found = outputs({name: tf.constant(array) for name, array in batch.items()})
        return {name: np.asarray(value) for name, value in found.items()}

    def write_saved_model(path: str) -> None:
        module = tf.Module()
        module.model = trackable(model)
        signature.save(module, outputs, features, path)

    return Source(write_saved_model, features, predict, calibration=features)


def trackable(model: Any) -> Any:
    """What of a model a SavedModel must hold: its variables, and the layers, which may own tables.

    Not the model itself: a Keras 3 one would trace itself as well, with float inputs whatever they are, and fail on a
    subclass that takes integers; a Keras 2 one would bring its optimizer, and a legacy optimizer cannot be loaded back.
    """
    leaves = [layer for layer in model._flatten_layers(include_self=False) if not isinstance(layer, tf.keras.Model)]
    held = [variable if isinstance(variable, tf.Variable) else variable.value for variable in model.variables]
    return [held, leaves]
