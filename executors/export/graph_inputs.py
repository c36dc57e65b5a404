"""Which tensors of a TensorFlow graph others are computed from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_ASSERTION = "Assert"


def needed(graph: Any, outputs: Iterable[Any], inputs: Mapping[str, Any]) -> set[str]:
    """Names of the inputs that some outputs, or an assertion in the graph, depend on.

    Functions that the graph calls are looked into; of a loop or a branch, all that goes in counts.

    Args:
        graph: A `tf.Graph`.
        outputs: Tensors of it, sparse or ragged ones too.
        inputs: Tensors of it by name.
    """
    reached = _reached([*_components(list(outputs)), *_asserted(graph)])
    return {name for name, value in inputs.items() if any(part.name in reached for part in _components(value))}


def _components(value: Any) -> list[Any]:
    import tensorflow as tf

    return tf.nest.flatten(value, expand_composites=True)  # type: ignore[no-any-return]


def _reached(tensors: Iterable[Any]) -> set[str]:
    """Names of these tensors and of all that they are computed from, within their graph."""
    reached: set[str] = set()
    to_visit = list(tensors)
    while to_visit:
        tensor = to_visit.pop()
        if tensor.name not in reached:
            reached.add(tensor.name)
            to_visit.extend(_operands(tensor))
    return reached


def _operands(tensor: Any) -> Iterator[Any]:
    """The inputs of an operation that one of its outputs depends on."""
    operation = tensor.op
    function = _called(operation)
    if function is None:
        yield from operation.inputs
    else:
        yield from _passed(operation, function, [function.outputs[tensor.value_index]])
    for before in operation.control_inputs:
        if before.type == _ASSERTION:
            yield from before.inputs


def _asserted(graph: Any) -> Iterator[Any]:
    """What the assertions of a graph, and of the functions that it calls, look at."""
    for operation in graph.get_operations():
        if operation.type == _ASSERTION:
            yield from operation.inputs
        elif (function := _called(operation)) is not None:
            yield from _passed(operation, function, list(_asserted(function)))


def _passed(operation: Any, function: Any, tensors: Iterable[Any]) -> Iterator[Any]:
    """The inputs of a call that tensors inside of the function depend on."""
    inside = _reached(tensors)
    for given, parameter in zip(operation.inputs, function.inputs, strict=False):
        if parameter.name in inside:
            yield given


def _called(operation: Any) -> Any:
    """The graph of the function that an operation calls; None for any other operation, or where it is not at hand."""
    if operation.type not in _CALLS:
        return None
    function = operation.graph._get_function(operation.get_attr("f").name)
    graph = getattr(function, "graph", None)
    # what a gradient needs of a function is added to the end of its outputs
    fits = graph is not None and len(graph.inputs) == len(operation.inputs)
    return graph if graph is not None and fits and len(graph.outputs) >= len(operation.outputs) else None
