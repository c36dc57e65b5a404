"""What a Keras model says of the examples of a split, as test results have it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from polytrainer.executors.export.signatures import named_outputs
from polytrainer.executors.test_results import keys
from polytrainer.executors.test_results.readings import Reading
from polytrainer.executors.test_results.results import Results
from polytrainer.executors.test_results.tensors import rows, rows_by_name

if TYPE_CHECKING:
    from polytrainer.executors.backends.keras.trainer import KerasTrainer

_MULTICLASS = ("sparse_categorical_crossentropy", "categorical_crossentropy", "categorical_focal_crossentropy")
_MULTILABEL = ("binary_crossentropy", "binary_focal_crossentropy")


def tell(trainer: KerasTrainer, model: Any, files: Sequence[str], results: Results | None) -> None:
    """Goes through the files once.

    Args:
        trainer: With `input_fn` and `predict_fn`.
        model: That was trained.
        files: Of the split.
        results: To tell; None in a worker that only takes part in what workers compute together.
    """
    reading = reading_of(model)
    said_of = tf.function(lambda features: trainer.predict_fn(model, features), autograph=False, reduce_retracing=True)
    for batch in trainer.input_fn(files, training=False):
        features, label, weight = (*batch, None, None)[:3] if isinstance(batch, tuple) else (batch, None, None)
        outputs = said_of(features)
        if results is None:
            continue
        told = reading.of({name: rows(value) for name, value in named_outputs(outputs).items()})
        if trainer.label_key is not None:
            told[trainer.label_key] = rows(label)
        if weight is not None:
            told[keys.EXAMPLE_WEIGHT] = rows(weight)
        results.add(told, None if results.has_stored else rows_by_name(features))


def reading_of(model: Any) -> Reading:
    """How a compiled model's outputs are read: by Keras's own losses of classes, else as they are."""
    loss = model.loss
    while isinstance(loss, (Mapping, list, tuple)) and len(loss) == 1:
        loss = next(iter(loss.values() if isinstance(loss, Mapping) else loss))
    name, options = _name_of(loss)
    logits = bool(options.get("from_logits"))
    if name in _MULTICLASS:
        return Reading("multiclass", "softmax" if logits else None, axis=-1)
    if name in _MULTILABEL:
        return Reading("multilabel", "sigmoid" if logits else None, axis=-1)
    return Reading()


def _name_of(loss: Any) -> tuple[str, dict[str, Any]]:
    """The name of a loss of Keras's, by the name, function, class or subclass that it was given as; and its options."""
    if isinstance(loss, str):
        loss = tf.keras.losses.get(loss)
    if isinstance(loss, tf.keras.losses.Loss):
        kinds = [_snake_case(kind.__name__) for kind in type(loss).__mro__]
        return next((each for each in kinds if each in (*_MULTICLASS, *_MULTILABEL)), ""), loss.get_config()
    module = getattr(loss, "__module__", None) or ""
    return (getattr(loss, "__name__", ""), {}) if module.partition(".")[0] in ("keras", "tf_keras") else ("", {})


def _snake_case(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
