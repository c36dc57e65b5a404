"""Runs a graph of ATen operators on TensorFlow's tensors, node by node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import torch

from polytrainer.executors.export.aten_to_tf.dtypes import TO_TF
from polytrainer.executors.export.aten_to_tf.errors import ConversionError
from polytrainer.executors.export.aten_to_tf.layout import Laid, plain
from polytrainer.executors.export.aten_to_tf.table import LAID_OUT, OPS, WITH_GRAPHS, WITH_STRIDES
from polytrainer.executors.export.aten_to_tf.targets import target_name, where
from polytrainer.proto.problems import Problem

# where and how a tensor lies in memory is TensorFlow's business
_PLACEMENT = {"device", "layout", "pin_memory", "memory_format", "non_blocking"}


def run(graph: torch.fx.GraphModule, inputs: Sequence[Any]) -> Any:
    """Calls a graph.

    Args:
        graph: Its calls must all be in `OPS`.
        inputs: A tensor or number for each placeholder.

    Returns:
        What the graph's output node holds.

    Raises:
        ConversionError: If an operator fails, or gives another type or shape than in PyTorch.
    """
    values: dict[torch.fx.Node, Any] = {}
    waiting = iter(inputs)

    def value_of(arg: Any) -> Any:
        if isinstance(arg, torch.fx.Node):
            return values[arg]
        return TO_TF[arg] if isinstance(arg, torch.dtype) else arg

    for node in graph.graph.nodes:
        if node.op == "placeholder":
            values[node] = next(waiting)
        elif node.op == "get_attr":
            values[node] = _attribute(graph, str(node.target))
        elif node.op == "output":
            return torch.fx.node.map_aggregate(node.args[0], lambda arg: plain(value_of(arg)))
        else:
            args = torch.fx.node.map_aggregate(node.args, value_of)
            kwargs = {name: torch.fx.node.map_aggregate(arg, value_of) for name, arg in node.kwargs.items()}
            values[node] = _call(node, args, kwargs)
    raise AssertionError("a graph ends in an output node")


def _call(node: torch.fx.Node, args: Any, kwargs: dict[str, Any]) -> Any:
    target = target_name(node.target)
    kwargs = {name: arg for name, arg in kwargs.items() if name not in _PLACEMENT}
    if target in WITH_STRIDES:
        kwargs["strides"] = node.args[0].meta["val"].stride()
    if target in WITH_GRAPHS:
        kwargs["run"] = run
    try:
        result = LAID_OUT[target](*args, **kwargs) if target in LAID_OUT else NotImplemented
        if result is NotImplemented:
            result = OPS[target](*_plain(args), **_plain(kwargs))
        _check(node.meta.get("val"), result)
    except ConversionError:
        raise
    except Exception as error:
        got = f"{target} failing ({type(error).__name__}: {error})"
        raise ConversionError(Problem(where(node), got, "an operator that converts")) from error
    return result


def _plain(args: Any) -> Any:
    return torch.fx.node.map_aggregate(args, plain)


def _check(expected: Any, result: Any) -> None:
    """Compares with what PyTorch's tracing recorded, and hands the static shape on where TensorFlow lost it."""
    if isinstance(result, Laid):
        expected, result = expected.permute(result.order), result.there
    if not isinstance(expected, torch.Tensor) or not tf.is_tensor(result):
        return
    if result.dtype != TO_TF[expected.dtype]:
        raise TypeError(f"it gives {result.dtype.name}, and {expected.dtype} in PyTorch")
    result.set_shape([size if isinstance(size, int) else None for size in expected.shape])


def _attribute(graph: torch.fx.GraphModule, path: str) -> Any:
    found: Any = graph
    for name in path.split("."):
        found = getattr(found, name)
    return found
