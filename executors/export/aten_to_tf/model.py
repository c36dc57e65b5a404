"""A converted program as a `tf.Module`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
import torch
from torch.utils import _pytree as pytree

from polytrainer.executors.export.aten_to_tf import interpreter
from polytrainer.executors.export.aten_to_tf.dtypes import cast, scalar_dtype
from polytrainer.executors.export.aten_to_tf.errors import ConversionError
from polytrainer.executors.export.aten_to_tf.layout import Laid, Order
from polytrainer.executors.export.aten_to_tf.structure import leaves, plain
from polytrainer.proto.problems import Problem


@dataclass(frozen=True)
class Weight:
    """A placeholder of the graph that a variable fills.

    Attributes:
        name: The variable's.
        order: In which it holds PyTorch's dimensions, if not in PyTorch's own.
    """

    name: str
    order: Order | None = None


@dataclass(frozen=True)
class Argument:
    """A placeholder of the graph that the caller fills.

    Attributes:
        spec: Type and shape of the tensor; None where the program was exported for one value.
        value: That value.
    """

    spec: tf.TensorSpec | None
    value: Any = None


@dataclass(frozen=True)
class Graph:
    """What is left of a program once its weights are variables.

    Attributes:
        module: The calls.
        inputs: One for each placeholder.
        user_outputs: Positions, among all that the graph returns, of what the caller gets.
        in_spec: How the arguments nest: a tuple and a dict.
        out_spec: How the results nest.
    """

    module: torch.fx.GraphModule
    inputs: tuple[Weight | Argument, ...]
    user_outputs: tuple[int, ...]
    in_spec: pytree.TreeSpec
    out_spec: pytree.TreeSpec

    @property
    def arguments(self) -> list[Argument]:
        """What the caller fills, leaf by leaf."""
        return [each for each in self.inputs if isinstance(each, Argument)]

    def nested(self, leaves: Sequence[Any]) -> Any:
        """(args, kwargs) of these leaves."""
        return plain(pytree.tree_unflatten(leaves, self.in_spec))


class TfModel(tf.Module):  # type: ignore[misc]
    """A PyTorch program made of plain TensorFlow operators, to be called, or saved with `tf.saved_model.save`.

    It takes what the program takes, in the same nesting, and returns what the program returns; what was a dataclass
    is a dict. Sizes that the program leaves open may be any.

    Attributes:
        weights: The program's parameters, buffers and constants by name, each in its own type; tied ones are one. The
            kernels of convolutions lie as TensorFlow's do, [*kernel, channels in, channels out].
    """

    def __init__(self, graph: Graph, weights: Mapping[str, tf.Variable], name: str):
        super().__init__(name=name)
        self._graph = graph
        self.weights = dict(weights)

    @property
    def input_specs(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """(args, kwargs) as `get_concrete_function` takes them: a `tf.TensorSpec` for each tensor."""
        args, kwargs = self._graph.nested([each.spec or each.value for each in self._graph.arguments])
        return args, kwargs

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Predicts.

        Raises:
            ConversionError: If the arguments are not nested as the program's, or of another type.
        """
        wanted = self._graph.arguments
        template = self._graph.nested(range(len(wanted)))
        given = {
            number: _checked(path, wanted[number], leaf) for path, number, leaf in leaves(template, (args, kwargs))
        }
        in_order = iter(given[number] for number in range(len(wanted)))
        filled = [self._read(each) if isinstance(each, Weight) else next(in_order) for each in self._graph.inputs]
        results = interpreter.run(self._graph.module, filled)
        returned = [_as_tensor(results[position]) for position in self._graph.user_outputs]
        return plain(pytree.tree_unflatten(returned, self._graph.out_spec), with_none=False)

    def _read(self, weight: Weight) -> Any:
        value = self.weights[weight.name].read_value()
        return value if weight.order is None else Laid(value, weight.order)


def _checked(path: str, wanted: Argument, value: Any) -> Any:
    """One argument, as the graph takes it."""
    where = f"the argument {path}"
    if wanted.spec is None:
        if value != wanted.value:
            raise ConversionError(Problem(where, repr(value), f"{wanted.value!r}, as when it was exported"))
        return value
    tensor = tf.convert_to_tensor(value)
    if tensor.dtype != wanted.spec.dtype or not wanted.spec.shape.is_compatible_with(tensor.shape):
        raise ConversionError(
            Problem(where, f"{tensor.dtype.name} {tensor.shape}", f"{wanted.spec.dtype.name} {wanted.spec.shape}")
        )
    # what calls us may know less of the shape than the program does
    return tf.ensure_shape(tensor, wanted.spec.shape)


def _as_tensor(result: Any) -> Any:
    """A number among the results in the type that PyTorch gives it."""
    return cast(result, scalar_dtype(result)) if isinstance(result, (bool, int, float, complex)) else result
