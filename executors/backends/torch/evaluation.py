"""Metrics of a model over whole splits: each example counted once, on however many ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from polytrainer.executors.backends.torch import batch as batch_lib
from polytrainer.executors.backends.torch import metrics as metrics_lib
from polytrainer.executors.backends.torch.backend import TrainerBackend
from polytrainer.executors.backends.torch.hooks import TorchHooks
from polytrainer.executors.backends.torch.modes import evaluating

if TYPE_CHECKING:
    from polytrainer.executors.backends.torch.trainer import TorchTrainer


def evaluate(
    trainer: TorchTrainer,
    backend: TrainerBackend,
    model: nn.Module,
    splits: Mapping[str, Iterable[Any]],
    max_batches: int | None = None,
    observe: Callable[[Any, Any], None] | None = None,
) -> dict[str, float]:
    """The loss and the metrics of some splits.

    Args:
        trainer: With `eval_step` and `metrics_fn`.
        backend: The ranks; each has its share of the splits.
        model: As `backend.wrap` returned it.
        splits: Batches by name of the split.
        max_batches: Of each split; None: all.
        observe: Is told of each batch, as `input_fn` gave it, and of its outputs; None of those of an empty share.

    Returns:
        `loss` and each metric over all splits together and, where there are several, `<split>.<metric>`.
    """
    plain = backend.plain(model)
    tallies = {}
    with torch.inference_mode(), evaluating(plain):
        for name, batches in splits.items():
            tallies[name] = _Tally(trainer.metrics_on(backend.device))
            _count(tallies[name], trainer, backend, plain, islice(iter(batches), max_batches), observe)
    shares = backend.gather({name: tally.state() for name, tally in tallies.items()})
    found = {}
    for name in splits if len(splits) > 1 else ():
        found.update(
            {f"{name}.{metric}": value for metric, value in _merged(trainer, [s[name] for s in shares]).items()}
        )
    return {**_merged(trainer, [state for share in shares for state in share.values()]), **found}


class _Tally:
    """What is counted of a rank's share of a split."""

    def __init__(self, metrics: dict[str, Any]):
        self.metrics = metrics
        self.loss: torch.Tensor | float = 0.0
        self.examples = 0

    def state(self) -> dict[str, Any]:
        return {
            "metrics": metrics_lib.states(self.metrics),
            "loss": float(self.loss),
            "examples": self.examples,
        }


def _count(
    tally: _Tally,
    trainer: TorchTrainer,
    backend: TrainerBackend,
    model: nn.Module,
    batches: Iterable[Any],
    observe: Callable[[Any, Any], None] | None,
) -> None:
    for batch in batches:
        prepared = trainer.prepared(batch, backend)
        size, outputs = batch_lib.num_rows(prepared), None
        with backend.computing():
            if size == 0:  # the last batch had none for this rank, which still takes part in what ranks do together
                _take_part(trainer, backend, model, observe is not None)
            else:
                loss, outputs = _step(trainer, model, prepared, tally.metrics, observe is not None)
                tally.loss = tally.loss + loss.double() * size
                tally.examples += size
        if observe is not None:
            observe(batch, outputs)


def _step(
    trainer: TorchTrainer, model: nn.Module, prepared: Any, metrics: dict[str, Any], wants_outputs: bool
) -> tuple[torch.Tensor, Any]:
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


def _merged(trainer: TorchTrainer, states: list[dict[str, Any]]) -> dict[str, float]:
    examples = sum(state["examples"] for state in states)
    if not examples:
        return {}
    metrics = trainer.metrics_on(torch.device("cpu"))
    metrics_lib.merge(metrics, [state["metrics"] for state in states if state["examples"]])
    return {"loss": sum(state["loss"] for state in states) / examples, **metrics_lib.compute(metrics)}
