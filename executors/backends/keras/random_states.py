"""Where random numbers of a Keras training come from, and how their generators are taken up again."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf

from polytrainer.executors.backends.keras.plain_values import decode, encode


@contextmanager
def resumable_generators() -> Iterator[None]:
    """Lets layers of Keras 2 draw from generators whose state can be saved, within the context.

    By default its Dropout has operators that count by themselves; what they have counted cannot be read. (Keras 3 has
    nothing else than generators.)
    """
    backend = getattr(tf.keras.backend, "experimental", None)
    if backend is None or not hasattr(backend, "enable_tf_random_generator"):
        yield
        return
    before = backend.is_tf_random_generator_enabled()
    backend.enable_tf_random_generator()
    try:
        yield
    finally:
        if not before:
            backend.disable_tf_random_generator()


def generators(model: Any) -> list[Any]:
    """The generators of a built model's layers, and the one of Keras 3 that everybody shares.

    A checkpoint of TensorFlow takes them as they are; they are no part of what it has of a model.
    """
    found = []
    for layer in model._flatten_layers():
        found += [seeds.state.value for seeds in getattr(layer, "_seed_generators", [])]
        generator: Any = getattr(layer, "_random_generator", None)
        if hasattr(generator, "_maybe_init"):
            generator._maybe_init()
            found += [generator._generator] if generator._generator is not None else []
    if shared := sys.modules.get(f"{_keras()}.src.random.seed_generator"):
        found.append(shared.global_seed_generator().state.value)
    return list({id(each): each for each in found}.values())


def global_states(arrays: list[Any]) -> Any:
    """The states of the process's generators: Python's, NumPy's, TensorFlow's, and Keras 2's own."""
    states = {name: encode(generator, arrays) for name, generator in _python_generators().items()}
    states["numpy"] = encode(np.random.get_state(), arrays)
    shared = _global_generator()
    states["tensorflow"] = None if shared is None else encode([shared.state.numpy(), int(shared.algorithm)], arrays)
    return states


def restore_global_states(states: Any, arrays: Any) -> None:
    """Gives the generators back what `global_states` returned."""
    for name, generator in _python_generators().items():
        if name in states:
            decode(states[name], arrays, generator)
    np.random.set_state(decode(states["numpy"], arrays))
    if states["tensorflow"] is not None:
        state, algorithm = decode(states["tensorflow"], arrays)
        if _global_generator() is None:
            tf.random.set_global_generator(tf.random.Generator.from_state(state, algorithm))
        else:
            tf.random.get_global_generator().state.assign(state)  # functions that were traced have this one


def _python_generators() -> dict[str, random.Random]:
    from tensorflow.python.eager import context  # operators outside of functions draw their seeds from it

    candidates = {
        "python": random._inst,
        "tensorflow_eager": getattr(context.context(), "_rng", None),
        "keras": getattr(getattr(_backend_of_keras_2(), "_SEED_GENERATOR", None), "generator", None),
    }
    return {name: generator for name, generator in candidates.items() if isinstance(generator, random.Random)}


def _global_generator() -> Any | None:
    """TensorFlow's global generator, if anybody has asked for it; to ask would make one."""
    from tensorflow.python.ops import stateful_random_ops

    return stateful_random_ops.global_generator


def _keras() -> str:
    return str(tf.keras.Model.__module__).partition(".")[0]


def _backend_of_keras_2() -> Any | None:
    return sys.modules.get(f"{_keras()}.src.backend")
