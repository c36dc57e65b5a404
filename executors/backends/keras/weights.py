"""A model's weights by layer: what a later training starts from."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from polytrainer.executors.export import finite
from polytrainer.executors.run_record import write

FILE = "weights.npz"


@dataclass(frozen=True)
class Match:
    """What of a base model found its place.

    Attributes:
        loaded: Layers that took over all their weights.
        reshaped: Layers of the same name whose weights have other shapes; they keep their own.
        missing: Layers of this model that the base model does not have.
        unused: Layers of the base model that this one does not have.
    """

    loaded: tuple[str, ...]
    reshaped: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} layers loaded ({', '.join(self.loaded) or 'none'})"]
        for what, names in (("of another shape", self.reshaped), ("new", self.missing), ("unused", self.unused)):
            if names:
                parts.append(f"{len(names)} {what} ({', '.join(names)})")
        return "; ".join(parts)


def save(model: Any, folder: str) -> None:
    """Writes weights.npz: an array for each weight, called `<layer>/<number of the weight in its layer>`."""
    import numpy as np

    arrays = {
        f"{layer.name}/{number}": array for layer in model.layers for number, array in enumerate(layer.get_weights())
    }
    content = io.BytesIO()
    np.savez(content, **arrays)
    write(os.path.join(folder, FILE), content.getvalue())


def check_finite(model: Any) -> None:
    """Refuses a model that has weights which are not numbers.

    Raises:
        TrainingError: Names them.
    """
    finite.check_weights(_named(model.trainable_weights), _named(model.non_trainable_weights))


def _named(weights: Any) -> Iterator[tuple[str, Any]]:
    for weight in weights:
        if str(getattr(weight.dtype, "name", weight.dtype)).startswith(("float", "bfloat")):
            yield getattr(weight, "path", weight.name), weight.numpy()


def load(model: Any, path: str) -> Match:
    """Takes over the weights of layers that have the same name and shapes; never by position.

    Args:
        model: A built Keras model.
        path: A weights.npz.

    Raises:
        ValueError: If not a single layer matches.
    """
    import numpy as np
    from tfx.dsl.io import fileio

    with fileio.open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
        base: dict[str, list[Any]] = {}
        for key in arrays.files:  # in the order in which they were written
            base.setdefault(key.rpartition("/")[0], []).append(arrays[key])
    own = {layer.name: layer for layer in model.layers if layer.weights}
    loaded, reshaped = [], []
    for name, layer in own.items():
        if name not in base:
            continue
        if [array.shape for array in base[name]] == [array.shape for array in layer.get_weights()]:
            layer.set_weights(base[name])
            loaded.append(name)
        else:
            reshaped.append(name)
    match = Match(
        tuple(loaded), tuple(reshaped), tuple(sorted(set(own) - set(base))), tuple(sorted(set(base) - set(own)))
    )
    if not loaded:
        raise ValueError(f"no layer of {path} fits this model: {match}")
    return match
