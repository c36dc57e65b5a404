"""NaN and infinity in what a PyTorch model is trained and evaluated on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from absl import logging

from polytrainer.executors.backends import data_checks
from polytrainer.executors.backends.torch.features import Features
from polytrainer.executors.data.torch_batches import TorchBatches
from polytrainer.executors.export import finite

if TYPE_CHECKING:
    from torch import nn

    from polytrainer.executors.backends.torch.hooks import TorchHooks


def find(trainer: TorchHooks) -> data_checks.Anomalies:
    """The anomalies of the training data and of each split that is evaluated on, as they were decoded."""
    by_split = {}
    for split, batches in {data_checks.TRAIN: trainer.train_batches, **trainer.eval_batches}.items():
        found = batches.find_anomalies() if isinstance(batches, TorchBatches) else []
        if found is None:
            logging.info("The split %r is streamed: NaN in it is not looked for before training.", split)
        by_split[split if split not in by_split else f"{split} (evaluated)"] = found or []
    return by_split


def check_finite(trainer: TorchHooks, model: nn.Module, default_input_fn: Any) -> None:
    """Refuses NaN and infinity in what a model is trained on; warns of them in what it is evaluated on.

    Raises:
        PreflightError: With each feature that has some in training.
    """
    data_checks.check_finite(trainer, default_input_fn, trainer._anomalies, _names(model))


def check_weights(model: nn.Module) -> None:
    """Refuses a trained model whose weights are not numbers.

    Raises:
        TrainingError: Names them.
    """
    finite.check_weights(
        (
            (name, weight.detach().float().numpy())
            for name, weight in model.named_parameters()
            if weight.is_floating_point()
        ),
        ((name, each.float().numpy()) for name, each in model.named_buffers() if each.is_floating_point()),
    )


def _names(model: nn.Module) -> tuple[str, ...]:
    """Names of the features that a model takes, where its first layer says so; else none."""
    first = next(iter(model.children()), None)
    return first.names if type(model).__name__ == "Sequential" and isinstance(first, Features) else ()
