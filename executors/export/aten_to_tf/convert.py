"""`torch.export.ExportedProgram` → `TfModel`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

import tensorflow as tf
import torch
from torch.export.graph_signature import InputKind, InputSpec, OutputKind

from polytrainer.executors.export.aten_to_tf import layout, targets
from polytrainer.executors.export.aten_to_tf.dtypes import TO_TF
from polytrainer.executors.export.aten_to_tf.model import Argument, Graph, TfModel, Weight
from polytrainer.executors.export.aten_to_tf.weights import memory, variables

_WEIGHTS = (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR)


def convert(program: torch.export.ExportedProgram, *, name: str = "TfModel") -> TfModel:
    """Makes a TensorFlow model of a PyTorch program.

    Args:
        program: From `export`, or from `torch.export.export` of a module in evaluation mode.
        name: The `tf.Module`'s name.

    Returns:
        A model that says what the program says, traced once for all sizes that the program leaves open.

    Raises:
        UnsupportedOperators: With everything in the program that has no counterpart.
        ConversionError: If an operator cannot be converted as it is used.
    """
    decomposed = targets.core(program)
    targets.refuse_unsupported(decomposed)
    orders = _orders(decomposed)
    model = TfModel(_graph(decomposed, orders), variables(_weights(decomposed), orders), name)
    args, kwargs = model.input_specs
    model.__call__.get_concrete_function(*args, **kwargs)  # what cannot be converted shows now, not when it is saved
    return model


def _placeholders(program: torch.export.ExportedProgram) -> Iterator[tuple[InputSpec, torch.fx.Node]]:
    nodes = [node for node in program.graph.nodes if node.op == "placeholder"]
    return zip(program.graph_signature.input_specs, nodes, strict=True)


def _orders(program: torch.export.ExportedProgram) -> dict[str, layout.Order | None]:
    """How each weight lies. Tied ones lie alike, also those that the graph does not use."""
    tensors = dict(_weights(program))
    wanted: dict[object, set[layout.Order | None]] = defaultdict(set)
    for spec, node in _placeholders(program):
        if spec.target in tensors and node.users:
            wanted[memory(tensors[spec.target])].add(layout.of_weight(node))
    agreed = {where: orders.pop() for where, orders in wanted.items() if len(orders) == 1}
    return {name: agreed.get(memory(tensor)) for name, tensor in tensors.items()}


def _graph(program: torch.export.ExportedProgram, orders: Mapping[str, layout.Order | None]) -> Graph:
    signature = program.graph_signature
    inputs = [
        Weight(str(spec.target), orders[str(spec.target)]) if spec.kind in _WEIGHTS else _argument(spec.arg, node)
        for spec, node in _placeholders(program)
    ]
    kinds = [spec.kind for spec in signature.output_specs]
    outputs = [position for position, kind in enumerate(kinds) if kind == OutputKind.USER_OUTPUT]
    in_spec, out_spec = program.call_spec.in_spec, program.call_spec.out_spec
    return Graph(program.graph_module, tuple(inputs), tuple(outputs), in_spec, out_spec)


def _argument(arg: object, node: torch.fx.Node) -> Argument:
    example = node.meta.get("val")
    if isinstance(example, torch.Tensor):
        shape = [size if isinstance(size, int) else None for size in example.shape]
        return Argument(tf.TensorSpec(shape, TO_TF[example.dtype]))
    if isinstance(example, torch.SymInt):
        return Argument(tf.TensorSpec([], tf.int64))
    return Argument(None, getattr(arg, "value", example))


def _weights(program: torch.export.ExportedProgram) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors that the graph is given, parameters first; what it does not use is not among them."""
    for spec in program.graph_signature.input_specs:
        if spec.kind in _WEIGHTS and spec.target is not None:
            store = program.constants if spec.target in program.constants else program.state_dict
            yield spec.target, store[spec.target]
