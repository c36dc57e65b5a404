"""The SavedModel that other formats are made of: a function of features, by the names they have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from polytrainer.executors.export.formats.source import SIGNATURE, Arrays


def save(module: Any, function: Callable[[dict[str, Any]], Mapping[str, Any]], features: Arrays, path: str) -> None:
    """Writes a SavedModel whose one signature is `SIGNATURE`.

    Not as a function of keyword arguments, whose names TensorFlow alters where Python has no such (`a.values`).

    Args:
        module: A `tf.Module` that tracks what the function uses.
        function: Features by name, `[batch, …]` → outputs by name.
        features: Some of them, for names, types and shapes.
        path: Folder to write to.

    Raises:
        ValueError: If a name is not one that TensorFlow knows: letters, digits and `. _ / - >`, the first of them a
            letter, a digit or a dot.
    """
    import tensorflow as tf

    specs = [tf.TensorSpec([None, *array.shape[1:]], array.dtype, name=name) for name, array in features.items()]

    def by_position(*tensors: Any) -> dict[str, Any]:
        return dict(function(dict(zip(features, tensors, strict=True))))

    concrete = tf.function(by_position, input_signature=specs, autograph=False).get_concrete_function()
    tf.saved_model.save(module, path, signatures={SIGNATURE: concrete})
