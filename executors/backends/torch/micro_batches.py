"""A batch computed in parts that fit into memory; what is learned from it stays the same."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from absl import logging
from torch import nn

from polytrainer.executors.backends.torch import batch as batch_lib
from polytrainer.executors.backends.torch import rng
from polytrainer.executors.backends.torch.backend import Fsdp, TrainerBackend
from polytrainer.executors.backends.torch.mean_losses import mean_loss
from polytrainer.executors.errors import PreflightError, TrainingError
from polytrainer.proto.problems import Problem
from polytrainer.proto.trainer_pb2 import TrainArgs

_SAID = ("out of memory", "can't allocate memory", "cannot allocate memory")

if TYPE_CHECKING:
    from polytrainer.executors.backends.torch.engine import Engine


class MicroBatches:
    """How this rank's share of a batch is computed.

    Each part's mean loss counts by its number of examples, or by the weight that it says it was divided by (see
    `mean_losses`), so that the gradients are those of the mean over the whole batch, however it is split over parts and
    ranks and whatever is left over at the end of an epoch.

    Args:
        train_args: Their `grad_accumulation` and `micro_batch_size`.
        backend: The ranks.
        batch_size: Examples in a batch, over all ranks.

    Attributes:
        size: Most examples of a part; None: no limit.

    Raises:
        PreflightError: If the size is to be found by trying, where trying could leave ranks waiting.
    """

    def __init__(self, train_args: TrainArgs, backend: TrainerBackend, batch_size: int):
        self._backend, self._world_size = backend, backend.world_size
        self._share = math.ceil(batch_size / self._world_size)
        self._example: Any = None  # of a training batch, which may have parts that the batches of evaluations lack
        self._tries = train_args.HasField("micro_batch_size") and train_args.micro_batch_size == 0
        if self._tries and isinstance(backend, Fsdp):
            got = "0, to be found by trying, with the strategy 'fsdp'"
            remedy = "A rank that runs out of memory while it gathers weights would leave the others waiting."
            raise PreflightError([Problem("train_args.micro_batch_size", got, "a number", remedy)])
        self.size: int | None = train_args.micro_batch_size or None
        if train_args.grad_accumulation > 1:
            self.size = math.ceil(self._share / train_args.grad_accumulation)

    def fit(self, engine: Engine) -> None:
        """Finds the size by trying, where it was not given: halves it until a step fits into memory.

        Nothing is left of what was tried: weights, buffers, gradients and random numbers are as before. All ranks
        take the smallest size that any of them needs.

        Raises:
            TrainingError: If not even one example fits.
        """
        if not self._tries:
            return
        model, state = self._backend.plain(engine.model), rng.state_dict()
        buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
        batch = engine.trainer.prepared(engine.first_batch(), self._backend, training=True)
        self.size = self._share
        while not all(self._backend.gather(self._fits(engine, model, batch))):
            self._halve()
        for name, buffer in model.named_buffers():
            buffer.copy_(buffers[name])
        rng.load_state_dict(state)
        logging.info("micro_batch_size: %d of %d examples fit into memory.", self.size, self._share)

    def compute(self, engine: Engine, batch: Any, whole: int) -> torch.Tensor:
        """Gradients of a batch.

        Args:
            engine: Whose model it is.
            batch: This rank's share of it.
            whole: Examples of it, over all ranks.

        Returns:
            This rank's part of the mean loss: the sum over ranks is the loss.

        Raises:
            TrainingError: If it does not fit into memory.
        """
        batch = engine.trainer.prepared(batch, self._backend, training=True)
        while True:
            try:
                return self._computed(engine, batch, whole)
            except (RuntimeError, MemoryError) as error:
                if not _is_out_of_memory(error):
                    raise
                if not self._tries or self._world_size > 1:
                    raise _out_of_memory(self.size or self._share) from error
            for optimizer in engine.optimizers:
                optimizer.zero_grad()
            self._halve()
            logging.warning("Out of memory at step %d: micro_batch_size is %d now.", engine.state.step, self.size)

    def _computed(self, engine: Engine, batch: Any, whole: int) -> torch.Tensor:
        if self._world_size == 1 and (self.size is None or whole <= self.size):
            loss = engine.forward(batch).mean
            self._backend.backward(loss)
            return loss.detach()
        # as many parts on each rank: with FSDP they compute each of them together
        share, size = math.ceil(whole / self._world_size), batch_lib.num_rows(batch)
        parts = math.ceil(share / (self.size or share))
        if size and self._example is None:
            self._example = batch_lib.copied(batch_lib.rows(batch, 0, 1))
        total, weight = torch.zeros((), device=self._backend.device), None
        for number in range(parts):
            start, stop = number * size // parts, (number + 1) * size // parts
            part = batch_lib.rows(batch, start, stop) if stop > start else self._dummy_batch(engine)
            last = number == parts - 1
            with nullcontext() if last else self._backend.accumulating(engine.model):
                loss = engine.forward(part)
                counted = float(stop - start) if loss.weight is None else loss.weight * (stop > start)
                # by rows first, so that half precision sees gradients of the size that it will have in the end
                scaled = loss.mean * (counted / whole)
                self._backend.backward(scaled * self._world_size)  # whose gradients are averaged over ranks
            total += scaled.detach()
            if loss.weight is not None:
                weight = counted if weight is None else weight + counted
        return total if weight is None else self._divided_by_weight(engine, total, weight, whole)

    def _divided_by_weight(self, engine: Engine, total: torch.Tensor, weight: Any, whole: int) -> torch.Tensor:
        """Divides loss and gradients by the weight of the whole batch, in place of its number of rows."""
        weight = self._backend.sum(torch.as_tensor(weight, dtype=torch.float64, device=self._backend.device).clone())
        # where nothing counts all gradients are 0: nothing by nothing is nothing
        factor = torch.where(weight > 0, whole / weight, 0.0)
        gradients = [each.grad for each in engine.parameters if each.grad is not None]
        for gradient in gradients:
            gradient.mul_(factor.to(gradient.dtype))
        return total * factor.to(total.dtype)

    def _dummy_batch(self, engine: Engine) -> Any:
        """An example for a rank that has none left; it counts for nothing, but has a weight where others have one."""
        if self._example is not None:
            return self._example
        return engine.trainer.prepared(engine.trainer.sample, self._backend, training=True)

    def _fits(self, engine: Engine, model: nn.Module, batch: Any) -> bool:
        """Whether forward and backward of a part do; of the model without what ranks do together."""
        try:
            with self._backend.computing():
                returned = engine.trainer.train_step(model, batch_lib.rows(batch, 0, self.size or 1))
            mean_loss(returned, "train_step").mean.backward()
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            return False
        finally:
            for parameter in model.parameters():
                parameter.grad = None
        return True

    def _halve(self) -> None:
        size = self.size or self._share
        if size == 1:
            raise _out_of_memory(1)
        self.size = size // 2


def _is_out_of_memory(error: BaseException) -> bool:
    said = str(error).lower()
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(words in said for words in _SAID)


def _out_of_memory(size: int) -> TrainingError:
    remedy = (
        "TrainArgs(micro_batch_size=0) finds out how many fit, and computes the batch in parts." if size > 1 else ""
    )
    got = f"too little for forward and backward of {size} examples at once"
    return TrainingError(Problem("memory", got, "room for the activations of a micro-batch", remedy))
