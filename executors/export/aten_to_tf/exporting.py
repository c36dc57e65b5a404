"""A module → `torch.export.ExportedProgram`, whose batch may have any size."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch.utils import _pytree as pytree


def export(
    model: torch.nn.Module,
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None = None,
    dynamic: Mapping[str, Sequence[int]] | None = None,
) -> torch.export.ExportedProgram:
    """Exports a model as it predicts: in evaluation mode, with a batch of any size.

    Args:
        model: The module; it is left in the mode that it was in.
        args: Example arguments: tensors whose dimension 0 is the batch, in tuples, lists, dicts or NamedTuples. A batch
            of 1 is repeated, since torch.export takes a size of 1 for a constant.
        kwargs: Example keyword arguments.
        dynamic: Further dimensions that vary, by parameter of `forward`: `{"tokens": [1]}`. It is said of every tensor
            that the argument holds; the examples' sizes must be at least 2. Which sizes are possible, and which are
            the same, torch.export finds out.

    Returns:
        The program, to be converted or saved.

    Raises:
        torch._dynamo.exc.UserError: If the model works with one size only of a dimension that is to vary.
    """
    examples, named = pytree.tree_map(_at_least_two, (tuple(args), dict(kwargs or {})))
    # by parameter, and what `*args` takes as one tuple: that is the form torch.export asks for
    by_parameter = inspect.signature(model.forward).bind(*examples, **named).arguments
    batch, varying = torch.export.Dim("batch", min=1), dynamic or {}

    def dims(parameter: str, leaf: Any) -> dict[int, Any] | None:
        if not isinstance(leaf, torch.Tensor):
            return None
        more = dict.fromkeys(varying.get(parameter, ()), torch.export.Dim.DYNAMIC)
        return {dim: each for dim, each in {0: batch, **more}.items() if dim < leaf.dim()}

    shapes = {name: pytree.tree_map(partial(dims, name), value) for name, value in by_parameter.items()}
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), _loops():
            return torch.export.export(model, examples, named, dynamic_shapes=shapes)
    finally:
        model.train(training)


def _loops() -> contextlib.ExitStack:
    """Lets a recurrent network be exported for any length; PyTorch otherwise writes out as many steps as it sees."""
    stack = contextlib.ExitStack()
    with contextlib.suppress(ImportError):  # it is not in every PyTorch that we run on
        from torch.export import _patches

        for name in ("register_lstm_while_loop_decomposition", "register_gru_while_loop_decomposition"):
            if hasattr(_patches, name):
                stack.enter_context(getattr(_patches, name)())
    return stack


def _at_least_two(value: Any) -> Any:
    if isinstance(value, torch.Tensor) and value.dim() and value.shape[0] == 1:
        return torch.cat([value, value])
    return value
