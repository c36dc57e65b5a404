"""Losses by name, for outputs as models make them and labels as TFX gives them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 -- the field's name for it
from torch import Tensor

from polytrainer.executors.backends.torch.mean_losses import mean_with_weight, remember_weight
from polytrainer.executors.backends.torch.registry import check_options, look_up
from polytrainer.proto.problems import Problem

Loss = Callable[..., Tensor]
LOGITS = ("logits", "outputs")  # the entries of outputs with several that a loss is about


def make(name: str, *, ignores: bool = True, **options: Any) -> Loss:
    """Makes a loss: `(outputs, label, weight=None) -> scalar`, the mean over the batch, or over all its values.

    The mean is over what counts: not over labels that are ignored (`ignore_index`, -100 where it is not given),
    weighted by the weights of the classes (`weight`) and of the examples (the third argument, `[B]`, or of the label's
    shape). It remembers by what it was divided, see `mean_losses`.

    Outputs are `[B, C]`, `[B, C, …]`, `[B, 1]` or `[B]`, or a mapping (see `logits_of`); half precision is computed in
    float32. Labels are int64 or float32, `[B, 1]` or `[B]`, or one for each position, or value, of the outputs. They
    are fitted to one another where that has one meaning only, and never broadcast.

    Args:
        name: `cross_entropy`: logits, and classes or each class's probability. `nll`: log-probabilities, and classes.
            `multi_margin`: scores, and classes. `binary_cross_entropy` and its other name `multilabel`: logits, and as
            many labels from 0 to 1. `hinge`: scores, and as many labels, 0 or -1 against 1. `mse`, `mae`, `huber`,
            `smooth_l1`: as many numbers. `poisson_nll`: logarithms of rates, and as many counts. `kl_div`:
            log-probabilities, and as many probabilities.
        ignores: Whether there may be labels of -100, which `cross_entropy` and `nll` ignore.
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

    def loss(outputs: Any, label: Tensor, weight: Tensor | None = None) -> Tensor:
        logits = logits_of(outputs)
        if logits.dtype in (torch.float16, torch.bfloat16):
            logits = logits.float()
        logits, label = fit(name, logits, label)
        if weights:
            weights.update(_like(logits, weights))  # kept: from the second batch on nothing has to move
        settings = {**plain, **weights}
        may_ignore = kind.ignores and (ignores or "ignore_index" in plain) and not label.is_floating_point()
        if weight is None and not may_ignore and not (kind.ignores and "weight" in weights):
            mean = function(logits, label, **settings)
            if kind.counts_rows(logits, label):
                return mean
            # asked for only where a batch is computed in parts
            return remember_weight(mean, lambda: kind.normalizers(logits, label, settings).sum())
        losses = function(logits, label, reduction="none", **settings)
        normalizers = kind.normalizers(logits, label, settings)
        if weight is not None:
            factors = _spread(weight, losses)
            losses, normalizers = losses * factors, normalizers * factors
        return mean_with_weight(losses.sum(), normalizers.sum().to(losses.dtype))

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
    with torch.inference_mode(False):  # kept: what an evaluation makes must be of use in training, too
        return {
            name: torch.as_tensor(value, dtype=logits.dtype, device=logits.device) for name, value in weights.items()
        }


def _spread(weight: Tensor, losses: Tensor) -> Tensor:
    """Weights of examples, or of the single labels, in the shape of the losses."""
    weight = weight.to(losses.dtype)
    if weight.shape == losses.shape:
        return weight
    if weight.numel() == len(losses):
        return weight.reshape(-1, *[1] * (losses.ndim - 1)).expand_as(losses)
    if weight.numel() == losses.numel():
        return weight.view_as(losses)
    got = f"weights {list(weight.shape)} for losses {list(losses.shape)}"
    raise ValueError(str(Problem("the weight", got, "one for each example, or for each label")))


# ---- the losses


def _hinge(scores: Tensor, label: Tensor, reduction: str = "mean") -> Tensor:
    """`max(0, 1 - y * score)`, y = 1 where the label is positive, else -1."""
    losses = (1 - torch.where(label > 0, scores, -scores)).clamp(min=0)
    return losses.mean() if reduction == "mean" else losses


def _kl_div(log_probabilities: Tensor, label: Tensor, reduction: str = "mean", **options: Any) -> Tensor:
    """Summed over classes: torch's "mean" divides by their number too, which is no divergence."""
    if reduction == "mean":
        return F.kl_div(log_probabilities, label, reduction="batchmean", **options)
    return F.kl_div(log_probabilities, label, reduction="none", **options).flatten(1).sum(1)


def _ones(logits: Tensor, label: Tensor, settings: Mapping[str, Any]) -> Tensor:
    """Each value of the label counts 1."""
    return torch.ones_like(label, dtype=logits.dtype)


def _row_ones(logits: Tensor, label: Tensor, settings: Mapping[str, Any]) -> Tensor:
    """Each example counts 1."""
    return logits.new_ones(len(logits))


def _of_classes(logits: Tensor, label: Tensor, settings: Mapping[str, Any]) -> Tensor:
    """Each label counts by the weight of its class, and 0 where it is ignored; probabilities of classes count 1.

    So does torch: "mean" of `cross_entropy` with weights is divided by the weights of the labels' classes.
    """
    if label.is_floating_point():  # [B, C, …]: a probability for each class
        return label.new_ones([len(label), *label.shape[2:]])
    counts = label != settings.get("ignore_index", IGNORE_INDEX)
    weight = settings.get("weight")
    if weight is None:
        return counts.to(logits.dtype)
    return torch.where(counts, weight[torch.where(counts, label, 0)], 0.0)


IGNORE_INDEX = -100  # torch's own default


@dataclass(frozen=True)
class _Kind:
    """A loss.

    Attributes:
        function: Of logits, label, options and `reduction`, "mean" or "none".
        fit: How a label is fitted to the outputs.
        options: What else the function takes.
        normalizers: By how much each of the losses that are not reduced counts in the mean, of their shape.
        ignores: Whether labels may be ignored.
    """

    function: Callable[..., Tensor]
    fit: Callable[[str, Tensor, Tensor], tuple[Tensor, Tensor]]
    options: tuple[str, ...] = ()
    normalizers: Callable[[Tensor, Tensor, Mapping[str, Any]], Tensor] = _ones
    ignores: bool = False

    def counts_rows(self, logits: Tensor, label: Tensor) -> bool:
        """Whether each example counts the same in the mean, whatever its label."""
        if self.normalizers is _row_ones or label.numel() == len(logits):
            return True
        return self.ignores and label.is_floating_point() and label.ndim == 2  # noqa: PLR2004 -- [B, C]


_BINARY = _Kind(F.binary_cross_entropy_with_logits, values, ("weight", "pos_weight"))
LOSSES = {
    "binary_cross_entropy": _BINARY,
    "cross_entropy": _Kind(
        F.cross_entropy, classes_or_probabilities, ("ignore_index", "label_smoothing", "weight"), _of_classes, True
    ),
    "hinge": _Kind(_hinge, values),
    "huber": _Kind(F.huber_loss, values, ("delta",)),
    "kl_div": _Kind(_kl_div, values, ("log_target",), _row_ones),
    "mae": _Kind(F.l1_loss, values),
    "mse": _Kind(F.mse_loss, values),
    "multi_margin": _Kind(F.multi_margin_loss, classes, ("margin", "p", "weight"), _row_ones),
    "multilabel": _BINARY,
    "nll": _Kind(F.nll_loss, classes, ("ignore_index", "weight"), _of_classes, True),
    "poisson_nll": _Kind(F.poisson_nll_loss, values, ("eps", "full", "log_input")),
    "smooth_l1": _Kind(F.smooth_l1_loss, values, ("beta",)),
}
IGNORING = tuple(name for name, kind in LOSSES.items() if kind.ignores)
