"""What a training is of: a checkpoint belongs to one model, optimizer and list of callbacks, and to no other."""

from __future__ import annotations

import hashlib
import json
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from polytrainer.proto.problems import Problem

_REMEDY = "Trainer(resume=False) starts afresh; or undo what was changed."
_VARIES = ("seed",)  # of a training without a given one, it is another in each process
_LONGEST = 300


def composition(model: Any) -> dict[str, Any]:
    """What a built model and its optimizer consist of, as JSON can hold it."""
    return {
        "layers": [[type(layer).__name__, layer.name, _digest(layer)] for layer in _leaves(model)],
        "variables": [_variable(variable) for variable in [*model.weights]],
        "optimizer": [_optimizer_name(model.optimizer), _plain(_config(model.optimizer))],
        "loss": _plain(_name(model.loss)),
        "metrics": [[metric.name, [_variable(each)[1:] for each in metric.variables]] for metric in model.metrics],
    }


def differences(saved: Mapping[str, Any], present: Mapping[str, Any], step: int) -> list[Problem]:
    """What is another than it was when a checkpoint was saved.

    Args:
        saved: The composition then, and `callbacks`, names of their classes, where both have them.
        present: The composition now.
        step: The checkpoint's.
    """
    problems = []
    for part in (part for part in saved if part in present):
        before, now = saved[part], json.loads(json.dumps(present[part]))
        if before != now:
            got, expected = _shown(before, now)
            where = f"the {part} of a training that is resumed"
            problems.append(Problem(where, got, f"{expected}, as in its checkpoint of step {step}", _REMEDY))
    return problems


def _shown(before: Any, now: Any) -> tuple[str, str]:
    """What is shown of two values that differ: of lists, the entries that do."""
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = [(a, b) for a, b in zip(before, now, strict=True) if a != b]
        if len(pairs) == 1 and all(isinstance(each, dict) for each in pairs[0]):
            a, b = pairs[0]
            names = [name for name in {**a, **b} if a.get(name) != b.get(name)]
            return _short({name: b.get(name) for name in names}), _short({name: a.get(name) for name in names})
        before, now = [a for a, _ in pairs], [b for _, b in pairs]
    return _short(now), _short(before)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _leaves(model: Any) -> list[Any]:
    return [layer for layer in model._flatten_layers(include_self=False) if not isinstance(layer, tf.keras.Model)]


def _variable(variable: Any) -> list[Any]:
    name = getattr(variable, "path", None) or variable.name
    return [name, list(variable.shape), tf.as_dtype(variable.dtype).name]


def _optimizer_name(optimizer: Any) -> str:
    return type(optimizer).__name__


def _name(loss: Any) -> Any:
    """A loss by the name of its class or function; of losses by output, each."""
    if isinstance(loss, Mapping):
        return {name: _name(each) for name, each in loss.items()}
    if isinstance(loss, (list, tuple)):
        return [_name(each) for each in loss]
    if loss is None or isinstance(loss, str):
        return loss
    return getattr(loss, "__name__", type(loss).__name__)


def _digest(layer: Any) -> str:
    return hashlib.sha256(json.dumps(_plain(_config(layer)), sort_keys=True).encode()).hexdigest()[:16]


def _config(item: Any) -> Any:
    """Its configuration; nothing, where a class of the user's has none."""
    try:
        return item.get_config()
    except Exception:  # of the user's code
        return {}


def _plain(value: Any) -> Any:
    """What of a configuration is the same in each process: numbers and names, no paths, functions or seeds."""
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items() if name not in _VARIES}
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [_plain(each) for each in value]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, numbers.Number) and not isinstance(value, complex):
        return float(value)  # type: ignore[arg-type]
    return value if isinstance(value, str) and "/" not in value else None
