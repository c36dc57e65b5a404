"""What only training would show, found out with some examples before it; the model is afterwards as it was before."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from polytrainer.executors.backends.torch import batch as batch_lib
from polytrainer.executors.backends.torch import rng
from polytrainer.executors.backends.torch.mean_losses import mean_loss
from polytrainer.executors.backends.torch.step_errors import DROP_LAST, is_single_value_per_channel
from polytrainer.executors.data.torch_batches import TorchBatches
from polytrainer.executors.errors import PreflightError
from polytrainer.proto.problems import Problem

if TYPE_CHECKING:
    from polytrainer.executors.backends.torch.engine import Engine
    from polytrainer.executors.backends.torch.hooks import TorchHooks


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Takes back, after the context, what a step does to a model: buffers, gradients, and random numbers drawn."""
    state = rng.state_dict()
    buffers = {name: buffer.detach().clone() for name, buffer in model.named_buffers()}
    try:
        yield
    finally:
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.copy_(buffers[name])
        for parameter in model.parameters():
            parameter.grad = None
        rng.load_state_dict(state)


def has_unused_parameters(trainer: TorchHooks, model: nn.Module, batch: Any) -> bool:
    """Whether a step with some examples gives no gradient to a parameter that is to be trained.

    Args:
        trainer: With `train_step`.
        model: On its device, not yet wrapped.
        batch: Prepared for it.
    """
    with unchanged(model):
        try:
            mean_loss(trainer.train_step(model, batch), "train_step").mean.backward()
        except Exception:  # a train_step that needs more than a model and a batch: the training will show
            return False
        return any(each.requires_grad and each.grad is None for each in model.parameters())


def check_smallest_part(engine: Engine) -> None:
    """Looks whether the model can be trained with a single example, where a batch or part of one will have no more.

    Raises:
        PreflightError: If its BatchNorm cannot.
    """
    batches, model = engine.batches, engine.backend.plain(engine.model)
    norms = [each for each in model.modules() if isinstance(each, nn.modules.batchnorm._BatchNorm) and each.training]
    if not norms or not isinstance(batches, TorchBatches) or _smallest_part(engine) > 1:
        return
    batch = engine.trainer.prepared(batch_lib.rows(engine.trainer.sample, 0, 1), engine.backend)
    with unchanged(model), torch.no_grad(), engine.backend.computing():
        try:
            engine.trainer.predict_fn(model, engine.trainer.features_and_label(batch)[0])
        except Exception as error:
            if not is_single_value_per_channel(error):
                return
            schedule = engine.schedule
            got = f"batches of {schedule.batch_size} of {schedule.num_examples} examples, of which a part has only one"
            expected = "at least two wherever BatchNorm computes its statistics"
            raise PreflightError([Problem("train_args.batch_size", got, expected, DROP_LAST)]) from error


def _smallest_part(engine: Engine) -> int:
    """Examples of the smallest part of a batch that some rank computes at once; parts without any are not computed."""
    schedule, ranks = engine.schedule, engine.backend.world_size
    sizes = {min(schedule.batch_size, schedule.num_examples)}
    full, rest = divmod(schedule.num_examples, schedule.batch_size)
    if rest and not engine.train_args.drop_last and full < min(schedule.steps_per_epoch, schedule.total_steps):
        sizes.add(rest)
    smallest = math.inf
    for size in sizes:
        share, limit = size // ranks, engine.micro_batches.size
        parts = math.ceil(math.ceil(size / ranks) / limit) if limit else 1
        if share >= 1:
            smallest = min(smallest, max(share // parts, 1))
        if size % ranks:
            smallest = min(smallest, max((share + 1) // parts, 1))
    return int(smallest)
