"""What PyTorch's errors of a training step mean, and how they are mended."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from polytrainer.executors.backends.torch import label_shapes
from polytrainer.executors.errors import TrainingError
from polytrainer.proto.problems import Problem

DROP_LAST = (
    "TrainArgs(drop_last=True) leaves an incomplete last batch out; or choose another batch_size, a larger "
    "micro_batch_size, or a normalization that needs no batch."
)
_BROADCAST = "Using a target size"  # a warning of mse_loss, l1_loss, huber_loss and smooth_l1_loss
_LABEL_OF_TWO_DIMENSIONS = "multi-target not supported"  # of cross_entropy and nll_loss
_SINGLE_VALUE = "Expected more than 1 value per channel"
_NO_GRADIENT = "does not require grad and does not have a grad_fn"
_UNUSED = "Expected to have finished reduction in the prior iteration"


@contextmanager
def broadcast_labels_refused() -> Iterator[None]:
    """Makes an error of PyTorch's warning that a loss broadcasts outputs and label, which is then explained."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=_BROADCAST, category=UserWarning)
        yield


def is_single_value_per_channel(error: BaseException) -> bool:
    """Whether BatchNorm was given a single value, of which it can compute no statistics."""
    return _SINGLE_VALUE in str(error)


def explained(error: BaseException, rows: int) -> TrainingError | None:
    """An error of ours for one of PyTorch's whose text does not say what to do; None for any other.

    Args:
        error: Of forward or backward of a batch.
        rows: Examples of the batch, over all ranks.
    """
    text = str(error)
    if _BROADCAST in text or _LABEL_OF_TWO_DIMENSIONS in text:
        expected = "outputs and label of the same shape, or for classes a label [batch]"
        return TrainingError(Problem("the loss", text.splitlines()[0].rstrip("."), expected, label_shapes.REMEDY))
    if _SINGLE_VALUE in text:
        got = f"a single value for BatchNorm, in a batch of {rows} examples or a part of it"
        return TrainingError(Problem("the model", got, "at least two examples", DROP_LAST))
    if _NO_GRADIENT in text:
        got = "a loss that depends on no parameter that is to be trained"
        remedy = "Are all parameters frozen, or is the loss computed of something detached (.item(), .detach())?"
        return TrainingError(Problem("the loss", got, "one with a graph", remedy))
    if _UNUSED in text:
        got = "parameters that got no gradient in the step before"
        remedy = "TrainArgs(find_unused_parameters=True), or let the loss depend on all of them."
        return TrainingError(Problem("the strategy 'ddp'", got, "a gradient for each parameter, in each step", remedy))
    return None
