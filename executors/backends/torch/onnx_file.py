"""PyTorch → ONNX, by PyTorch's own exporter."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from polytrainer.executors.backends.torch.modes import evaluating
from polytrainer.executors.export.signatures import named_outputs

BATCH = "batch"


class _ByPosition(nn.Module):  # type: ignore[misc]
    """A module of one dict as one of tensors, which is what ONNX knows."""

    def __init__(self, module: nn.Module, features: Sequence[str], outputs: Sequence[str]):
        super().__init__()
        self.module, self.features, self.outputs = module, tuple(features), tuple(outputs)

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Tensors in the order of the features → those in the order of the outputs."""
        found = named_outputs(self.module(dict(zip(self.features, tensors, strict=True))))
        return tuple(found[name] for name in self.outputs)


def export_onnx(
    module: nn.Module,
    features: Mapping[str, torch.Tensor],
    outputs: Sequence[str],
    path: str,
    opset: int,
    axes: Mapping[str, Mapping[int, str]] | None = None,
) -> None:
    """Writes a module as an ONNX file whose inputs and outputs are called as the features and outputs.

    The module is traced: what Python decides while it runs, it decides once.

    Args:
        module: Takes one dict of tensors; returns a tensor, or several, nested.
        features: A batch of at least two examples; one that nothing is computed from is no input of the file.
        outputs: Names of what to write, as `named_outputs` gives them.
        path: Where to write.
        opset: Version of the operator set.
        axes: Names of the axes of any size, by feature; by default the first of each, the batch. Axes of one name have
            one size.

    Raises:
        Exception: Whatever PyTorch raises of a module that it cannot trace or has no operators for.
    """
    dynamic = {name: dict((axes or {}).get(name, {0: BATCH})) for name, tensor in features.items() if tensor.ndim}
    by_position = _ByPosition(module, list(features), outputs)
    with torch.no_grad(), evaluating(by_position), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this exporter is the older one, and wherever something was decided once
        found = by_position(*features.values())
        dynamic.update({name: {0: BATCH} for name, tensor in zip(outputs, found, strict=True) if tensor.ndim})
        torch.onnx.export(
            by_position,
            tuple(features.values()),
            path,
            input_names=list(features),
            output_names=list(outputs),
            opset_version=opset,
            dynamic_axes=dynamic,
            dynamo=False,  # the newer one needs onnxscript, whose ml-dtypes TensorFlow 2.15 cannot take
        )
