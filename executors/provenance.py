"""What a model was trained with, as ML Metadata remembers it: arguments, tuned values, base model, seconds by phase."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from polytrainer.executors import properties

if TYPE_CHECKING:
    from tfx.types import Artifact

_STATE = "trainer_state.json"
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")  # another in each process
_MOST_CHARACTERS = 1000  # of a value: databases of ML Metadata have limits, and nobody reads more


@dataclass(frozen=True)
class Provenance:
    """What a model was trained with.

    Attributes:
        arguments: Of the trainer's constructor, by name, each as its repr; empty for a plain `run_fn`.
        hyperparameters: Tuned values by name.
        base_model: The address of the model that the training began with; "" without one.
        seconds: By phase: training, evaluation, checkpoints, test, export; empty for a plain `run_fn`.
    """

    arguments: Mapping[str, str] = field(default_factory=dict)
    hyperparameters: Mapping[str, str] = field(default_factory=dict)
    base_model: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of_training(cls, fn_args: Any) -> Provenance:
        """Reads what a training was told, and what it has written down in its ModelRun."""
        state = _state(fn_args.model_run_dir)
        tuned = fn_args.hyperparameters  # HyperParameters.get_config(), or a plain dict; TFX passes on a list, too
        tuned = tuned.get("values", tuned) if isinstance(tuned, Mapping) else {}
        return cls(
            {str(name): _short(str(value)) for name, value in _mapping(state, "arguments").items()},
            {str(name): _short(repr(value)) for name, value in tuned.items()} if isinstance(tuned, Mapping) else {},
            fn_args.base_model or "",
            {
                str(phase): float(seconds)
                for phase, seconds in _mapping(state, "timings").items()
                if isinstance(seconds, (int, float))
            },
        )

    @classmethod
    def of_artifact(cls, artifact: Artifact) -> Provenance:
        """Reads the custom properties of an artifact."""
        values = artifact.mlmd_artifact.custom_properties
        kinds = {name: value.WhichOneof("value") for name, value in values.items()}
        return cls.of_properties({name: getattr(values[name], kind) for name, kind in kinds.items() if kind})

    @classmethod
    def of_properties(cls, values: Mapping[str, Any]) -> Provenance:
        """Reads the custom properties of a `model` or `model_run` artifact."""

        def beginning_with(prefix: str) -> dict[str, Any]:
            return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}

        return cls(
            {name: str(value) for name, value in beginning_with(properties.ARGUMENT).items()},
            {name: str(value) for name, value in beginning_with(properties.HYPERPARAMETER).items()},
            str(values.get(properties.BASE_MODEL) or ""),
            {phase: float(seconds) for phase, seconds in beginning_with(properties.SECONDS).items()},
        )

    def write(self, artifact: Artifact) -> None:
        """Writes them into an artifact's custom properties."""
        texts = {
            **{properties.ARGUMENT + name: value for name, value in self.arguments.items()},
            **{properties.HYPERPARAMETER + name: value for name, value in self.hyperparameters.items()},
            **({properties.BASE_MODEL: self.base_model} if self.base_model else {}),
        }
        for name, value in texts.items():
            artifact.set_string_custom_property(name, value)
        for phase, seconds in self.seconds.items():
            artifact.set_float_custom_property(properties.SECONDS + phase, seconds)


def _state(model_run_dir: str) -> dict[str, Any]:
    """What a trainer has written of itself; empty for a plain `run_fn`, which may write there what it likes."""
    from tensorflow.io import gfile

    path = os.path.join(model_run_dir, _STATE)
    if not gfile.exists(path):
        return {}
    with gfile.GFile(path, "rb") as file:
        content = file.read()
    try:
        state = json.loads(content)
    except ValueError:
        return {}
    return state if isinstance(state, dict) else {}


def _mapping(state: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = state.get(name)
    return value if isinstance(value, Mapping) else {}


def _short(value: str) -> str:
    value = _ADDRESS.sub("", value)
    return value if len(value) <= _MOST_CHARACTERS else f"{value[:_MOST_CHARACTERS]}…"
