"""A SavedModel's signature as a function of tensors in an order, under names that every converter takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from polytrainer.executors.export.formats.signature import inputs as inputs_of_signature
from polytrainer.executors.export.formats.source import SIGNATURE, Arrays
from polytrainer.executors.export.loadable import loadable


@dataclass(frozen=True)
class FlatFunction:
    """A function from tensors to tensors, whose graph names them by number: `feature_0:0`, …, `output_0:0`, ….

    Attributes:
        concrete: The `tf.ConcreteFunction`.
        inputs: Name in the graph and `tf.TensorSpec` by feature, in order; without features that the model drops.
        outputs: Name in the graph and `tf.TensorSpec` by output, in order.
        owner: The loaded SavedModel, which owns the function's variables.
    """

    concrete: Any
    inputs: Mapping[str, tuple[str, Any]]
    outputs: Mapping[str, tuple[str, Any]]
    owner: Any

    @property
    def input_names(self) -> list[str]:
        """Names of the inputs in the graph."""
        return [name for name, _ in self.inputs.values()]

    @property
    def output_names(self) -> list[str]:
        """Names of the outputs in the graph."""
        return [name for name, _ in self.outputs.values()]


def flatten(saved_model: str, features: Arrays) -> FlatFunction:
    """Loads the signature `SIGNATURE` of a SavedModel.

    Names of features and outputs need not be such as TensorFlow takes for nodes and arguments; hence the numbers.

    Args:
        saved_model: Its folder; of TensorFlow 1 or 2.
        features: Its inputs by name.
    """
    import tensorflow as tf

    with loadable(saved_model) as folder:
        loaded = tf.saved_model.load(folder)
    signature = loaded.signatures[SIGNATURE]
    arguments = inputs_of_signature(saved_model, features)
    _, known = signature.structured_input_signature
    specs = {**{spec.name: spec for spec in known.values()}, **known}
    inputs = {
        name: tf.TensorSpec(specs[argument].shape, specs[argument].dtype, name=f"feature_{number}")
        for number, (name, argument) in enumerate(arguments.items())
        if argument in specs
    }
    outputs: list[str] = []

    def by_position(*tensors: Any) -> list[Any]:
        results = signature(**{arguments[name]: tensor for name, tensor in zip(inputs, tensors, strict=True)})
        outputs[:] = sorted(results)
        return [tf.identity(results[name], name=f"output_{number}") for number, name in enumerate(outputs)]

    function = tf.function(by_position, input_signature=list(inputs.values()), autograph=False)
    concrete = function.get_concrete_function()
    return FlatFunction(
        concrete,
        _named(inputs, concrete.inputs[: len(inputs)]),  # what follows are variables and constants
        _named(outputs, concrete.outputs),
        loaded,
    )


def _named(names: Sequence[str] | Mapping[str, Any], tensors: Sequence[Any]) -> dict[str, tuple[str, Any]]:
    import tensorflow as tf

    return {
        name: (tensor.name, tf.TensorSpec(tensor.shape, tensor.dtype))
        for name, tensor in zip(names, tensors, strict=True)
    }
