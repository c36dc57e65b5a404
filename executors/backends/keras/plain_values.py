"""Plain values of Python and NumPy ↔ JSON and arrays: what a checkpoint holds of a callback, without pickle."""

from __future__ import annotations

import inspect
import random
import sys
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

_KIND = "kind"
_SEQUENCES = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}
_OF_ARRAYS: dict[str, Callable[[Any], Any]] = {
    "array": np.array,
    "scalar": lambda array: array[()],
    "tensor": tf.constant,
}
_LIBRARIES = ("keras", "tf_keras", "tensorflow", "numpy")
_MOST_NESTED = 20


class NotPlainError(TypeError):
    """Says which value has no form in JSON and arrays."""


def encode(value: Any, arrays: list[Any], depth: int = 0) -> Any:
    """Makes what JSON can hold of a value.

    Args:
        value: Numbers, strings, bytes, NumPy's scalars and arrays, tensors, variables, metrics of Keras, random
            generators, functions of these libraries, and lists, tuples, sets, deques and dicts of them.
        arrays: Takes the arrays, which are referred to by their numbers.
        depth: How many values it is inside of.

    Raises:
        NotPlainError: If it is anything else.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if depth > _MOST_NESTED:
        raise NotPlainError(f"values nested more than {_MOST_NESTED} times")
    if type(value) in _SEQUENCES.values() or isinstance(value, (deque, dict)):
        return _encoded_container(value, arrays, depth + 1)
    if (kind := _kind_of_array(value)) is not None:
        return {_KIND: kind, "array": _added(value, arrays)}
    return _encoded_object(value, arrays, depth + 1)


def decode(encoded: Any, arrays: Mapping[str, Any], present: Any = None) -> Any:
    """Makes the value again.

    Args:
        encoded: What `encode` returned, by way of JSON or not.
        arrays: By their numbers.
        present: The value that is in its place; variables and random generators are changed there.
    """
    if not isinstance(encoded, dict):
        return encoded
    kind = encoded[_KIND]
    if kind in _OF_ARRAYS:
        return _OF_ARRAYS[kind](arrays[str(encoded["array"])])
    if "items" in encoded:
        return _decoded_container(encoded, arrays, present)
    return _decoded_object(encoded, arrays, present)


def _encoded_object(value: Any, arrays: list[Any], depth: int) -> dict[str, Any]:
    if isinstance(value, bytes):
        return {_KIND: "bytes", "hex": value.hex()}
    if (function := _function_name(value)) is not None:
        return {_KIND: "function", "module": function[0], "name": function[1]}
    if (state := _random_state(value)) is not None:
        return {_KIND: "random", "state": encode(state, arrays, depth)}
    if (variables := _variables(value)) is not None:
        return {_KIND: "variables", "arrays": [_added(variable, arrays) for variable in variables]}
    raise NotPlainError(f"a {type(value).__module__}.{type(value).__qualname__}")


def _decoded_object(encoded: Mapping[str, Any], arrays: Mapping[str, Any], present: Any) -> Any:
    kind = encoded[_KIND]
    if kind == "bytes":
        return bytes.fromhex(encoded["hex"])
    if kind == "function":
        return getattr(sys.modules[encoded["module"]], encoded["name"])
    if kind == "random":
        return _with_random_state(present, decode(encoded["state"], arrays))
    return _with_variables(present, [arrays[str(number)] for number in encoded["arrays"]])


def _encoded_container(value: Any, arrays: list[Any], depth: int) -> dict[str, Any]:
    if isinstance(value, dict):
        pairs = [[encode(key, arrays, depth), encode(item, arrays, depth)] for key, item in value.items()]
        return {_KIND: "dict", "items": pairs}
    items = [encode(item, arrays, depth) for item in value]
    if isinstance(value, deque):
        return {_KIND: "deque", "maxlen": value.maxlen, "items": items}
    return {_KIND: type(value).__name__, "items": items}


def _decoded_container(encoded: Mapping[str, Any], arrays: Mapping[str, Any], present: Any) -> Any:
    kind, items = encoded[_KIND], encoded["items"]
    if kind == "dict":
        places = present if isinstance(present, dict) else {}
        pairs = [(decode(key, arrays), item) for key, item in items]
        return {key: decode(item, arrays, places.get(key)) for key, item in pairs}
    before = list(present) if isinstance(present, (list, tuple)) else []
    values = [
        decode(item, arrays, before[number] if number < len(before) else None) for number, item in enumerate(items)
    ]
    return deque(values, encoded["maxlen"]) if kind == "deque" else _SEQUENCES[kind](values)


def _kind_of_array(value: Any) -> str | None:
    if isinstance(value, np.generic) and value.dtype.kind in "biufc":
        return "scalar"
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufcSU":
        return "array"
    return "tensor" if isinstance(value, tf.Tensor) and hasattr(value, "numpy") else None


def _function_name(value: Any) -> tuple[str, str] | None:
    """Module and name of a function of a library: Keras's callbacks have some in place of `less` or `greater`."""
    if not inspect.isfunction(value) or value.__module__.partition(".")[0] not in _LIBRARIES:
        return None
    module, name = value.__module__, value.__qualname__
    return (module, name) if getattr(sys.modules.get(module), name, None) is value else None


def _added(array: Any, arrays: list[Any]) -> int:
    arrays.append(np.array(array))
    return len(arrays) - 1


def _random_state(value: Any) -> Any | None:
    if isinstance(value, random.Random):
        return value.getstate()
    if isinstance(value, np.random.RandomState):
        return value.get_state()
    return value.bit_generator.state if isinstance(value, np.random.Generator) else None


def _with_random_state(present: Any, state: Any) -> Any:
    if isinstance(present, random.Random):
        present.setstate(state)
    elif isinstance(present, np.random.RandomState):
        present.set_state(state)
    elif isinstance(present, np.random.Generator):
        present.bit_generator.state = state
    return present


def _variables(value: Any) -> list[Any] | None:
    """The variables of a value that is one or, as a metric of Keras, consists of them."""
    if isinstance(value, tf.Variable) or (type(value).__name__ == "Variable" and hasattr(value, "assign")):
        return [value]
    return list(value.variables) if isinstance(value, tf.keras.metrics.Metric) else None


def _with_variables(present: Any, arrays: list[Any]) -> Any:
    variables = _variables(present) or []
    if len(variables) == len(arrays):
        for variable, array in zip(variables, arrays, strict=True):
            variable.assign(array)
    return present
