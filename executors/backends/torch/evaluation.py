"""Metrics of a model over whole splits: each example counted once, on however many ranks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from polytrainer.executors.backends.torch import batch as batch_lib
from polytrainer.executors.backends.torch import metrics as metrics_lib
from polytrainer.executors.backends.torch.backend import TrainerBackend
from polytrainer.executors.backends.torch.hooks import TorchHooks
from polytrainer.executors.backends.torch.mean_losses import MeanLoss, mean_loss
from polytrainer.executors.backends.torch.modes import evaluating

if TYPE_CHECKING:
    from polytrainer.executors.backends.torch.trainer import TorchTrainer


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation gave.

    Attributes:
        metrics: `loss` and each metric over all splits together and, where there are several, `<split>.<metric>`.
        tables: Values that are no single number, as nested lists, by the same names.
    """

    metrics: dict[str, float]
    tables: dict[str, list[Any]]


class Interrupted(Exception):  # noqa: N818 -- no error: somebody asked for it
    """An evaluation that was left before its end; nothing came of it."""


def evaluate(
    trainer: TorchTrainer,
    backend: TrainerBackend,
    model: nn.Module,
    splits: Mapping[str, Iterable[Any]],
    max_batches: int | None = None,
    observe: Callable[[Any, Any], None] | None = None,
    is_interrupted: Callable[[], bool] | None = None,
) -> Evaluation:
    """The loss and the metrics of some splits, with the buffers of rank 0 on all ranks.

    Args:
        trainer: With `eval_step` and `metrics_fn`.
        backend: The ranks; each has its share of the splits.
        model: As `backend.wrap` returned it.
        splits: Batches by name of the split, from the first one on.
        max_batches: Of each split; None: all.
        observe: Is told of each batch, as `input_fn` gave it, and of its outputs; None of those of an empty share.
        is_interrupted: Asked after each batch, on every rank; the evaluation ends at once where it is true.

    Raises:
        Interrupted: If it was.
    """
    plain = backend.plain(model)
    backend.sync_buffers(model)
    tallies = {}
    with torch.inference_mode(), evaluating(plain):
        for name, batches in splits.items():
            tallies[name] = _Tally(trainer.metrics_on(backend.device))
            _count(tallies[name], trainer, backend, plain, islice(iter(batches), max_batches), observe, is_interrupted)
    shares = backend.gather({name: tally.state() for name, tally in tallies.items()})
    whole = _merged(trainer, [state for share in shares for state in share.values()])
    metrics, tables = dict(whole.metrics), dict(whole.tables)
    for name in splits if len(splits) > 1 else ():
        split = _merged(trainer, [share[name] for share in shares])
        metrics.update({f"{name}.{metric}": value for metric, value in split.metrics.items()})
        tables.update({f"{name}.{metric}": value for metric, value in split.tables.items()})
    return Evaluation(metrics, tables)


class _Tally:
    """What is counted of a rank's share of a split."""

    def __init__(self, metrics: dict[str, Any]):
        self.metrics = metrics
        self.loss_sum: torch.Tensor | float = 0.0
        self.weight: torch.Tensor | float = 0.0
        self.examples = 0

    def add(self, loss: MeanLoss, rows: int) -> None:
        weight = rows if loss.weight is None else loss.weight
        self.loss_sum = self.loss_sum + loss.mean.double() * weight
        self.weight = self.weight + weight
        self.examples += rows

    def state(self) -> dict[str, Any]:
        return {
            "metrics": metrics_lib.states(self.metrics),
            "loss_sum": float(self.loss_sum),
            "weight": float(self.weight),
            "examples": self.examples,
        }


def _count(
    tally: _Tally,
    trainer: TorchTrainer,
    backend: TrainerBackend,
    model: nn.Module,
    batches: Iterable[Any],
    observe: Callable[[Any, Any], None] | None,
    is_interrupted: Callable[[], bool] | None,
) -> None:
    for batch in batches:
        prepared = trainer.prepared(batch, backend)
        size, outputs = batch_lib.num_rows(prepared), None
        with backend.computing():
            if size == 0:  # the last batch had none for this rank, which still takes part in what ranks do together
                _take_part(trainer, backend, model, observe is not None)
            else:
                loss, outputs = _step(trainer, model, prepared, tally.metrics, observe is not None)
                tally.add(mean_loss(loss, "eval_step"), size)
        if observe is not None:
            observe(batch, outputs)
        if is_interrupted is not None and is_interrupted():
            raise Interrupted


def _step(
    trainer: TorchTrainer, model: nn.Module, prepared: Any, metrics: dict[str, Any], wants_outputs: bool
) -> tuple[Any, Any]:
    """The loss of a batch and, where somebody wants them, the outputs: an `eval_step` of the user's keeps them."""
    if type(trainer).eval_step is TorchHooks.eval_step:
        return trainer.evaluated(model, prepared, metrics)
    loss = trainer.eval_step(model, prepared, metrics)
    features, _ = trainer.features_and_label(prepared)
    return loss, trainer.predict_fn(model, features) if wants_outputs else None


def _take_part(trainer: TorchTrainer, backend: TrainerBackend, model: nn.Module, wants_outputs: bool) -> None:
    if trainer.sample is not None:
        sample = trainer.prepared(trainer.sample, backend)
        _step(trainer, model, sample, trainer.metrics_on(backend.device), wants_outputs)


def _merged(trainer: TorchTrainer, states: list[dict[str, Any]]) -> Evaluation:
    if not sum(state["examples"] for state in states):
        return Evaluation({}, {})
    metrics = trainer.metrics_on(torch.device("cpu"))
    metrics_lib.merge(metrics, [state["metrics"] for state in states if state["examples"]])
    weight = sum(state["weight"] for state in states)
    loss = sum(state["loss_sum"] for state in states) / weight if weight else math.nan
    numbers, tables = metrics_lib.compute_all(metrics)
    return Evaluation({"loss": loss, **numbers}, tables)
