"""Which operators a program calls, and which of them have no counterpart here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from polytrainer.executors.export.aten_to_tf.table import OPS

_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<function>.+)\n\s*(?P<code>.*)')
_LIBRARIES = ("/torch/", "/site-packages/", "/dist-packages/")
_HINTS = {
    "buffer": "A served model keeps no state: return the new value as an output, or do not change it in eval mode.",
    "aten._unique2.default": "Its output's size depends on the data; do it before the model, e.g. in Transform.",
    "aten.multinomial.default": "Draw outside the model, from the probabilities that it returns.",
}
_HINT = "Write it with other operators, or export to a format that keeps PyTorch's own (Torch, ONNX)."


@dataclass(frozen=True)
class Unsupported:
    """Something in a program that has no counterpart in TensorFlow here.

    Attributes:
        target: The operator, e.g. `aten._unique2.default`.
        where: The line of the user's model that it comes from: file, line, code.
        hint: What to do instead.
    """

    target: str
    where: str
    hint: str


def target_name(target: Any) -> str:
    """The key of a node's target in `OPS`: `aten.add.Tensor`, or `_operator.add` for sums of sizes."""
    if isinstance(target, torch._ops.OperatorBase):
        return str(target)
    return f"{target.__module__}.{target.__name__}".removeprefix("builtins.")


def unsupported(program: torch.export.ExportedProgram) -> list[Unsupported]:
    """All that keeps a program from being converted, without converting it; empty if there is nothing."""
    return list(_missing(core(program)))


def core(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Takes a program's operators apart until each is one that converts, or that cannot be taken apart."""
    table = torch.export.default_decompositions()
    for operator in list(table):
        if str(operator) in OPS:
            table.pop(operator)
    return program.run_decompositions(table)


def refuse_unsupported(decomposed: torch.export.ExportedProgram) -> None:
    """Raises UnsupportedOperators with everything that `decomposed` lacks, if it lacks anything."""
    from polytrainer.executors.export.aten_to_tf.errors import UnsupportedOperators

    if found := list(_missing(decomposed)):
        raise UnsupportedOperators(found)


def _missing(decomposed: torch.export.ExportedProgram) -> Iterator[Unsupported]:
    for name in decomposed.graph_signature.buffers_to_mutate.values():
        yield Unsupported(f"a change of the buffer {name!r}", name, _HINTS["buffer"])
    seen = set()
    for graph in (part.graph for part in decomposed.graph_module.modules() if isinstance(part, torch.fx.GraphModule)):
        for node in graph.nodes:
            target = target_name(node.target) if node.op == "call_function" else ""
            key = (target, where(node))
            if target and target not in OPS and key not in seen:
                seen.add(key)
                yield Unsupported(*key, _HINTS.get(target, _HINT))


def where(node: torch.fx.Node) -> str:
    """The line of the user's model that a node comes from; the node's own name where nobody recorded it."""
    frames = list(_FRAME.finditer(node.meta.get("stack_trace") or ""))
    users = [frame for frame in frames if not any(folder in frame["file"] for folder in _LIBRARIES)]
    if not frames:
        return str(node.name)
    frame = (users or frames)[-1]
    return f"{frame['file']}:{frame['line']} `{frame['code'].strip()}`"
