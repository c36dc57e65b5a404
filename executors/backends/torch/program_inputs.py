"""Which arguments an exported program computes something from."""

from __future__ import annotations

import torch
from torch.export.graph_signature import InputKind
from torch.utils import _pytree as pytree

_BATCH_DIMENSION = 0
_VALUES = (".values", ".columns")


def arguments_read(program: torch.export.ExportedProgram) -> set[str]:
    """Names of the arguments, which are one dict of tensors, that a program computes something from.

    The number of examples is nothing of an argument: PyTorch takes it from whichever comes first.
    """
    nodes = [node for node in program.graph.nodes if node.op == "placeholder"]
    specs = program.graph_signature.input_specs
    arguments = [node for spec, node in zip(specs, nodes, strict=True) if spec.kind == InputKind.USER_INPUT]
    (by_name,), _ = pytree.tree_unflatten(arguments, program.call_spec.in_spec)
    return {name for name, node in by_name.items() if any(_reads(name, node, user) for user in node.users)}


def _reads(name: str, node: torch.fx.Node, user: torch.fx.Node) -> bool:
    """Whether an operator computes something from an argument, or only looks at what kind of tensor it is."""
    if user.target is torch.ops.aten.sym_size.int:
        has_row_per_example = not name.endswith(_VALUES)
        return not has_row_per_example or user.args[1:] != (_BATCH_DIMENSION,)
    return "_assert_tensor_metadata" not in str(user.target)
