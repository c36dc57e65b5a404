"""`torch.export.ExportedProgram` → `TfModel`."""

from __future__ import annotations

from collections.abc import Iterator

import tensorflow as tf
import torch
from torch.export.graph_signature import InputKind, OutputKind

from polytrainer.executors.export.aten_to_tf import targets
from polytrainer.executors.export.aten_to_tf.dtypes import TO_TF
from polytrainer.executors.export.aten_to_tf.model import Argument, Graph, TfModel, Weight
from polytrainer.executors.export.aten_to_tf.weights import variables

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
    model = TfModel(_graph(decomposed), variables(_weights(decomposed)), name)
    args, kwargs = model.input_specs
    model.__call__.get_concrete_function(*args, **kwargs)  # what cannot be converted shows now, not when it is saved
    return model


def _graph(program: torch.export.ExportedProgram) -> Graph:
    signature = program.graph_signature
    placeholders = [node for node in program.graph.nodes if node.op == "placeholder"]
    inputs = [
        Weight(spec.target or spec.arg.name) if spec.kind in _WEIGHTS else _argument(spec.arg, node)
        for spec, node in zip(signature.input_specs, placeholders, strict=True)
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
