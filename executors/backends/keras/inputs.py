"""Which features a Keras model takes, and how it is given them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf


def names(model: Any) -> list[str]:
    """Names of a functional model's inputs; none of any other model, which takes all features."""
    functional = any(kind.__name__ == "Functional" for kind in type(model).__mro__)
    if not functional or isinstance(model, tf.keras.Sequential):
        return []
    return list(model.input) if isinstance(model.input, Mapping) else [tensor.name for tensor in model.inputs]


def taken(model: Any, features: Any) -> Any:
    """The features that a functional model takes, nested as it takes them; all of them for any other.

    Keras 3 goes by position: of features that are more than the inputs, it would take the wrong ones.
    """
    wanted = names(model)
    if not wanted or not isinstance(features, Mapping) or not set(wanted) <= set(features):
        return features
    if isinstance(model.input, Mapping):
        return {name: features[name] for name in wanted}
    found = tuple(features[name] for name in wanted)  # of a list, tf.data would make one tensor
    return found if isinstance(model.input, (list, tuple)) else found[0]


def batches(model: Any, dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Batches of features, or of features and more, as the model takes them."""
    if not names(model):
        return dataset

    def changed(features: Any, *more: Any) -> Any:
        given = taken(model, features)
        return (given, *more) if more else given

    return dataset.map(changed)
