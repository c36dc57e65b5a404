"""What a user's callbacks remember of a training: kept with its checkpoints, given back when it is resumed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from polytrainer.executors.backends.keras.plain_values import NotPlainError, decode, encode
from polytrainer.executors.errors import TrainingError
from polytrainer.proto.problems import Problem

# what Keras gives every callback, and what is not a callback's own
_KERAS_OWN = {"model", "_model", "params", "validation_data", "_chief_worker_only", "_supports_tf_logs"}
_STATELESS = "TensorBoard"  # it writes events; what it has counted is of the process
_UNKNOWN = object()


class CallbackStates:
    """The states of some callbacks: what `get_state` returns, or else the attributes that training has changed.

    An attribute that is as it was made, e.g. a path of a file in an output folder, is no state: a resumed training
    has its own. What cannot be kept (functions, files, objects of other classes) is left out.

    Attributes:
        names: Of the callbacks' classes, by their positions.
    """

    def __init__(self, callbacks: Sequence[Any]):
        """Takes the callbacks as they were made, before any training began."""
        self._callbacks = list(callbacks)
        self.names = [type(callback).__name__ for callback in callbacks]
        self._made = [_attributes(callback) for callback in self._callbacks]
        self._begun = self._made

    def begin(self) -> None:
        """Looks at them after their `on_train_begin`.

        Raises:
            TrainingError: If a `get_state` returns what a checkpoint cannot hold.
        """
        self._begun = [_attributes(callback) for callback in self._callbacks]
        self.state([])

    def state(self, arrays: list[Any]) -> list[Any]:
        """Their states as JSON can hold them; arrays are added to a list."""
        return [self._state(number, arrays) for number in range(len(self._callbacks))]

    def restore(self, states: Sequence[Any], arrays: Mapping[str, Any]) -> None:
        """Gives the callbacks back what `state` returned."""
        for callback, state in zip(self._callbacks, states, strict=True):
            if "own" in state:
                callback.set_state(decode(state["own"], arrays))
                continue
            for name, encoded in state["attributes"].items():
                present = getattr(callback, name, None)
                value = decode(encoded, arrays, present)
                if value is not present:
                    setattr(callback, name, value)

    def _state(self, number: int, arrays: list[Any]) -> dict[str, Any]:
        callback = self._callbacks[number]
        if any(kind.__name__ == _STATELESS for kind in type(callback).__mro__):
            return {"attributes": {}}
        if _has_own_state(callback):
            return {"own": _own_state(callback, arrays)}
        made, begun = self._made[number], self._begun[number]
        changed = {}
        for name, value in _own_attributes(callback):
            added: list[Any] = list(arrays)
            try:
                encoded = encode(value, added)
            except NotPlainError:
                continue
            text = json.dumps(encoded) if len(added) == len(arrays) else None
            if text is None or not text == made.get(name, _UNKNOWN) == begun.get(name, _UNKNOWN):
                changed[name] = encoded
                arrays[:] = added
        return {"attributes": changed}


def _has_own_state(callback: Any) -> bool:
    return callable(getattr(callback, "get_state", None)) and callable(getattr(callback, "set_state", None))


def _own_state(callback: Any, arrays: list[Any]) -> Any:
    try:
        return encode(callback.get_state(), arrays)
    except NotPlainError as error:
        where, expected = (
            f"{type(callback).__name__}.get_state",
            "numbers, strings, arrays, and lists and dicts of them",
        )
        raise TrainingError(Problem(where, str(error), expected)) from error


def _own_attributes(callback: Any) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in vars(callback).items() if name not in _KERAS_OWN]


def _attributes(callback: Any) -> dict[str, str]:
    """The attributes that can be kept, as text; without those that hold arrays, which always count as changed."""
    texts = {}
    for name, value in _own_attributes(callback):
        arrays: list[Any] = []
        try:
            encoded = encode(value, arrays)
        except NotPlainError:
            continue
        if not arrays:
            texts[name] = json.dumps(encoded)
    return texts
