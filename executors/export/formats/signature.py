"""The SavedModel that other formats are made of: a function of features, by the names they have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from polytrainer.executors.export.argument_names import argument_names
from polytrainer.executors.export.formats.source import SIGNATURE, Arrays


def save(module: Any, function: Callable[[dict[str, Any]], Mapping[str, Any]], features: Arrays, path: str) -> None:
    """Writes a SavedModel whose one signature is `SIGNATURE`.

    Not as a function of keyword arguments, whose names TensorFlow alters where Python has no such (`a.values`). The
    signature's inputs are called as `argument_names` has it; the formats made of it give them the features' names.

    Args:
        module: A `tf.Module` that tracks what the function uses.
        function: Features by name, `[batch, …]` → outputs by name.
        features: Some of them, for names, types and shapes.
        path: Folder to write to.
    """
    import tensorflow as tf

    arguments = argument_names(features)
    specs = [
        tf.TensorSpec([None, *array.shape[1:]], array.dtype, name=arguments[name]) for name, array in features.items()
    ]

    def by_position(*tensors: Any) -> dict[str, Any]:
        return dict(function(dict(zip(features, tensors, strict=True))))

    concrete = tf.function(by_position, input_signature=specs, autograph=False).get_concrete_function()
    tf.saved_model.save(module, path, signatures={SIGNATURE: concrete})


def inputs(saved_model: str, features: Iterable[str]) -> dict[str, str]:
    """Names of the inputs of `SIGNATURE` by the features that they are: as `save` calls them, or the features' own."""
    from tensorflow.core.protobuf import saved_model_pb2

    content = (Path(saved_model) / "saved_model.pb").read_bytes()
    [graph] = saved_model_pb2.SavedModel.FromString(content).meta_graphs
    keys = set(graph.signature_def[SIGNATURE].inputs)
    own = {name: name for name in features}
    return own if keys <= set(own) else argument_names(own)
