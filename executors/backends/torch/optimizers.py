"""Optimizers by name, each with a default learning rate and the fastest implementation for its parameters."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from polytrainer.executors.backends.torch.registry import check_options, look_up
from polytrainer.executors.run_record import LEARNING_RATE
from polytrainer.proto.problems import Problem


@dataclass(frozen=True)
class _Kind:
    """An optimizer of torch.

    Attributes:
        cls: Its class.
        learning_rate: What it gets where nobody says.
        fused_on: Types of device on which it has a single kernel for a step.
        fused_sharded: Whether that kernel also takes parameters that are spread over processes (DTensor).
    """

    cls: type[torch.optim.Optimizer]
    learning_rate: float
    fused_on: frozenset[str] = frozenset()
    fused_sharded: bool = False


CPU, CUDA = "cpu", "cuda"

# the learning rates are those of torch, and where there it is a placeholder (SGD: 0.001), that of Keras
OPTIMIZERS = {
    "adadelta": _Kind(torch.optim.Adadelta, 1.0),
    "adafactor": _Kind(torch.optim.Adafactor, 1e-2),
    "adagrad": _Kind(torch.optim.Adagrad, 1e-2, frozenset({CPU})),  # on cuda not in every torch since 2.9
    "adam": _Kind(torch.optim.Adam, 1e-3, frozenset({CPU, CUDA}), fused_sharded=True),
    "adamax": _Kind(torch.optim.Adamax, 2e-3),
    "adamw": _Kind(torch.optim.AdamW, 1e-3, frozenset({CPU, CUDA}), fused_sharded=True),
    "asgd": _Kind(torch.optim.ASGD, 1e-2),
    "muon": _Kind(torch.optim.Muon, 1e-3),
    "nadam": _Kind(torch.optim.NAdam, 2e-3),
    "radam": _Kind(torch.optim.RAdam, 1e-3),
    "rmsprop": _Kind(torch.optim.RMSprop, 1e-2),
    "rprop": _Kind(torch.optim.Rprop, 1e-2),
    "sgd": _Kind(torch.optim.SGD, 1e-2, frozenset({CUDA})),  # on cpu no faster, and it refuses sparse gradients
}
NAMED_BY_US = {"self", "params", "lr"}
SAYS_HOW = {"fused", "foreach", "differentiable"}  # any of these given, and the choice of a kernel is the user's


def make(
    name: str, parameters: Iterable[Any], learning_rate: float | torch.Tensor | None = None, **options: Any
) -> torch.optim.Optimizer:
    """Makes an optimizer.

    A step is one fused kernel where torch has one for the optimizer, the device and the type of the parameters (Adam
    and AdamW on cpu and cuda, SGD on cuda, Adagrad on cpu); else torch chooses. `fused=` or `foreach=` decides
    otherwise: Adagrad with sparse gradients, for one, needs `fused=False`. Adafactor and Rprop take no parameters that
    FSDP has spread over processes (torch 2.14 fails at the first step).

    Args:
        name: One of `OPTIMIZERS`. LBFGS is none of them, as its step needs a closure.
        parameters: Tensors, `(name, tensor)` pairs, or groups of them with options of their own, as torch takes them.
        learning_rate: None is 0.001 for adam, adamw, radam and muon; 0.002 for adamax and nadam; 0.01 for adafactor,
            adagrad, asgd, rmsprop, rprop and sgd; 1 for adadelta.
        **options: Arguments of the class in `torch.optim`, e.g. `weight_decay=0.01` (its own default there).

    Raises:
        ValueError: If the name or an option is unknown, or if muon gets parameters that are no matrices.
    """
    kind = look_up("optimizer", name, OPTIMIZERS)
    accepted = set(inspect.signature(kind.cls).parameters) - NAMED_BY_US
    check_options(f"optimizer {name}", options, accepted)
    groups = [_listed(group) for group in parameters]
    tensors = _tensors(groups)
    if name == "muon":
        _check_matrices(tensors)
    if not options.keys() & SAYS_HOW and _has_fused(kind, tensors):
        options["fused"] = True
    return kind.cls(groups, lr=kind.learning_rate if learning_rate is None else learning_rate, **options)


def _listed(group: Any) -> Any:
    """The same group, to be read more than once: its parameters may be a generator."""
    if isinstance(group, dict) and not isinstance(group["params"], torch.Tensor):
        return {**group, "params": list(group["params"])}
    return group


def _tensors(groups: Iterable[Any]) -> list[torch.Tensor]:
    """Every tensor in what torch takes as parameters."""
    tensors = []
    for group in groups:
        members = group["params"] if isinstance(group, dict) else [group]
        for member in [members] if isinstance(members, torch.Tensor) else members:
            tensors.append(member[1] if isinstance(member, tuple) else member)
    return tensors


def _has_fused(kind: _Kind, tensors: Iterable[torch.Tensor]) -> bool:
    return all(
        tensor.device.type in kind.fused_on
        and tensor.is_floating_point()
        and (type(tensor) in (torch.Tensor, torch.nn.Parameter) or (kind.fused_sharded and _is_sharded(tensor)))
        for tensor in tensors
    )


def _is_sharded(tensor: torch.Tensor) -> bool:
    """Whether it is spread over processes; importing DTensor to find that out would take a third of a second."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def _check_matrices(tensors: Iterable[torch.Tensor]) -> None:
    others = sorted({str(list(tensor.shape)) for tensor in tensors if tensor.ndim != 2})  # noqa: PLR2004
    if others:
        remedy = "Give biases, norms and embeddings to another optimizer: that takes an optimizer_fn of your own."
        raise ValueError(str(Problem("optimizer muon", f"parameters of shape {', '.join(others)}", "matrices", remedy)))


def learning_rates(optimizers: Iterable[Any]) -> dict[str, float]:
    """The learning rates that optimizers are at.

    Returns:
        By column: `learning_rate`, and of further parameter groups `learning_rate_1` and so on.
    """
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    return {
        f"{LEARNING_RATE}_{number}" if number else LEARNING_RATE: float(group["lr"])
        for number, group in enumerate(groups)
        if group.get("lr") is not None  # as of an optimizer that chooses its own
    }
