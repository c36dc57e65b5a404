"""Which arguments an exported program computes something from."""

from __future__ import annotations

import torch
from torch.export.graph_signature import InputKind
from torch.utils import _pytree as pytree

_BATCH_DIMENSION = 0
_VALUES = (".values", ".columns")


def arguments_read(program: torch.export.ExportedProgram) -> set[str]:
    """Names of the arguments, which are one dict of tensors, that a program computes its outputs from.

    The number of examples is nothing of an argument: PyTorch takes it from whichever comes first.
    """
    nodes = [node for node in program.graph.nodes if node.op == "placeholder"]
    specs = program.graph_signature.input_specs
    arguments = [node for spec, node in zip(specs, nodes, strict=True) if spec.kind == InputKind.USER_INPUT]
    (by_name,), _ = pytree.tree_unflatten(arguments, program.call_spec.in_spec)
    with_other_rows = {node for name, node in by_name.items() if name.endswith(_VALUES)}
    read = _computed_from(program.graph.output_node(), with_other_rows)
    return {name for name, node in by_name.items() if node in read}


def _computed_from(node: torch.fx.Node, with_other_rows: set[torch.fx.Node]) -> set[torch.fx.Node]:
    """All nodes that one is computed from, but for those of which it is the number of examples alone."""
    found: set[torch.fx.Node] = set()
    to_visit = [node]
    while to_visit:
        current = to_visit.pop()
        if current in found or _is_number_of_examples(current, with_other_rows):
            continue
        found.add(current)
        to_visit += current.all_input_nodes
    return found


def _is_number_of_examples(node: torch.fx.Node, with_other_rows: set[torch.fx.Node]) -> bool:
    if node.target is not torch.ops.aten.sym_size.int or node.args[0] in with_other_rows:
        return False
    return bool(node.args[0].op == "placeholder" and node.args[1:] == (_BATCH_DIMENSION,))
