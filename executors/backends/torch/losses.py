"""Losses by name, for outputs as models make them and labels as TFX gives them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 -- the field's name for it
from torch import Tensor

from polytrainer.executors.backends.torch.registry import check_options, look_up
from polytrainer.proto.problems import Problem

Loss = Callable[[Any, Tensor], Tensor]
LOGITS = ("logits", "outputs")  # the entries of outputs with several that a loss is about


def make(name: str, **options: Any) -> Loss:
    """Makes a loss: `(outputs, label) -> scalar`, the mean over the batch, or over all its values.

    Outputs are `[B, C]`, `[B, C, …]`, `[B, 1]` or `[B]`, or a mapping (see `logits_of`); half precision is computed in
    float32. Labels are int64 or float32, `[B, 1]` or `[B]`, or one for each position, or value, of the outputs. They
    are fitted to one another where that has one meaning only, and never broadcast.

    Args:
        name: `cross_entropy`: logits, and classes or each class's probability. `nll`: log-probabilities, and classes.
            `multi_margin`: scores, and classes. `binary_cross_entropy` and its other name `multilabel`: logits, and as
            many labels from 0 to 1. `hinge`: scores, and as many labels, 0 or -1 against 1. `mse`, `mae`, `huber`,
            `smooth_l1`: as many numbers. `poisson_nll`: logarithms of rates, and as many counts. `kl_div`:
            log-probabilities, and as many probabilities.
        **options: Those of the function in `torch.nn.functional`, but `reduction`: e.g. `label_smoothing` and `weight`
            of `cross_entropy` (with weights its mean is the weighted one), `pos_weight` of `binary_cross_entropy`,
            `delta` of `huber`. Weights may be lists.

    Raises:
        ValueError: If the name or an option is unknown; from the loss, if outputs and label do not fit.
    """
    kind = look_up("loss", name, LOSSES)
    check_options(f"loss {name}", options, kind.options)
    function, fit = kind.function, kind.fit
    plain = {option: value for option, value in options.items() if option not in WEIGHTS}
    weights = {option: options[option] for option in WEIGHTS if options.get(option) is not None}

    def loss(outputs: Any, label: Tensor) -> Tensor:
        logits = logits_of(outputs)
        if logits.dtype in (torch.float16, torch.bfloat16):
            logits = logits.float()
        logits, label = fit(name, logits, label)
        if weights:
            weights.update(_like(logits, weights))  # kept: from the second batch on nothing has to move
        return function(logits, label, **plain, **weights)

    return loss


def logits_of(outputs: Any) -> Tensor:
    """The tensor that losses and metrics are about: the outputs, or their `logits`, `outputs` or only entry.

    Raises:
        ValueError: If there is no such thing; names the entries.
    """
    if isinstance(outputs, Tensor):
        return outputs
    if isinstance(outputs, Mapping):
        names = [name for name in LOGITS if name in outputs] or (list(outputs) if len(outputs) == 1 else [])
        if names and isinstance(outputs[names[0]], Tensor):
            return outputs[names[0]]
        got = f"a mapping with {', '.join(map(str, outputs)) or 'nothing'}"
    else:
        got = f"a {type(outputs).__name__}"
    expected = f"a tensor, or a mapping with one at {' or '.join(LOGITS)}, or with only one"
    raise ValueError(str(Problem("the model's outputs", got, expected)))


# ---- how a label is fitted to the outputs


def classes(name: str, logits: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """`[B, C, …]` and the number of a class, `[B, …]` int64; also `[B, 1]` for `[B, C]`."""
    if logits.ndim > 1 and logits.shape[1] > 1:
        if label.shape == logits.shape[:1] + logits.shape[2:]:
            return logits, label.long()
        if logits.ndim == 2 and label.shape == (len(logits), 1):  # noqa: PLR2004
            return logits, label[:, 0].long()
    raise _misfit(
        name, logits, label, "outputs [B, C, …] with C > 1, and a class for each, [B, …] or [B, 1]", ONE_LOGIT
    )


def classes_or_probabilities(name: str, logits: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """As `classes`, or the probability of each class, of the outputs' shape."""
    if label.shape == logits.shape and logits.ndim > 1 and logits.shape[1] > 1:
        return logits, label.to(logits.dtype)
    return classes(name, logits, label)


def values(name: str, logits: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """A number for each output: the same shape, but that `[B]` and `[B, 1]` are the same."""
    if _without_ones(logits.shape) == _without_ones(label.shape):
        return logits, label.to(logits.dtype).view_as(logits)
    raise _misfit(name, logits, label, "as many labels as outputs, in the same shape ([B] is [B, 1])")


ONE_LOGIT = "A single output per example goes with binary_cross_entropy, or with mse."


def _misfit(name: str, logits: Tensor, label: Tensor, expected: str, remedy: str = "") -> ValueError:
    got = f"outputs {list(logits.shape)} and a label {list(label.shape)} of {label.dtype}"
    return ValueError(str(Problem(f"loss {name}", got, expected, remedy)))


def _without_ones(shape: Sequence[int]) -> tuple[int, ...]:
    """The shape less the dimensions of 1 at its end, but for the batch."""
    kept = list(shape)
    while len(kept) > 1 and kept[-1] == 1:
        kept.pop()
    return tuple(kept)


WEIGHTS = ("weight", "pos_weight")


def _like(logits: Tensor, weights: Mapping[str, Any]) -> dict[str, Tensor]:
    """Weights on the device of the outputs, of their type."""
    return {name: torch.as_tensor(value, dtype=logits.dtype, device=logits.device) for name, value in weights.items()}


# ---- the losses


def _hinge(scores: Tensor, label: Tensor) -> Tensor:
    """`max(0, 1 - y * score)`, y = 1 where the label is positive, else -1."""
    return (1 - torch.where(label > 0, scores, -scores)).clamp(min=0).mean()


def _kl_div(log_probabilities: Tensor, label: Tensor, **options: Any) -> Tensor:
    """Summed over classes: torch's "mean" divides by their number too, which is no divergence."""
    return F.kl_div(log_probabilities, label, reduction="batchmean", **options)


@dataclass(frozen=True)
class _Kind:
    """A loss: its function, how a label is fitted to the outputs, and what else the function takes."""

    function: Callable[..., Tensor]
    fit: Callable[[str, Tensor, Tensor], tuple[Tensor, Tensor]]
    options: tuple[str, ...] = ()


_BINARY = _Kind(F.binary_cross_entropy_with_logits, values, ("weight", "pos_weight"))
LOSSES = {
    "binary_cross_entropy": _BINARY,
    "cross_entropy": _Kind(F.cross_entropy, classes_or_probabilities, ("ignore_index", "label_smoothing", "weight")),
    "hinge": _Kind(_hinge, values),
    "huber": _Kind(F.huber_loss, values, ("delta",)),
    "kl_div": _Kind(_kl_div, values, ("log_target",)),
    "mae": _Kind(F.l1_loss, values),
    "mse": _Kind(F.mse_loss, values),
    "multi_margin": _Kind(F.multi_margin_loss, classes, ("margin", "p", "weight")),
    "multilabel": _BINARY,
    "nll": _Kind(F.nll_loss, classes, ("ignore_index", "weight")),
    "poisson_nll": _Kind(F.poisson_nll_loss, values, ("eps", "full", "log_input")),
    "smooth_l1": _Kind(F.smooth_l1_loss, values, ("beta",)),
}
