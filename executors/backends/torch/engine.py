"""The training loop."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from polytrainer.executors.backends.torch import batch as batch_lib
from polytrainer.executors.backends.torch import evaluation, rng
from polytrainer.executors.backends.torch.backend import TrainerBackend
from polytrainer.executors.backends.torch.callbacks import Callbacks
from polytrainer.executors.backends.torch.checkpointer import MODEL, FileCheckpointer
from polytrainer.executors.backends.torch.kept_weights import KeptWeights, Watch
from polytrainer.executors.backends.torch.logs import DEFAULT_EVERY, Logs
from polytrainer.executors.backends.torch.micro_batches import MicroBatches
from polytrainer.executors.backends.torch.state import VALIDATION, TrainState
from polytrainer.executors.distributed import process_group
from polytrainer.executors.errors import TrainingError
from polytrainer.executors.termination import Termination
from polytrainer.executors.timings import CHECKPOINTS, EVALUATION
from polytrainer.proto.problems import Problem

if TYPE_CHECKING:
    from polytrainer.executors.backends.torch.trainer import TorchTrainer


class Engine:
    """One training: a model, its optimizers, its data, and how far it has come.

    Attributes:
        trainer: Whose hooks it calls.
        backend: What it runs on.
        model: As the backend wrapped it.
        optimizers: One or more.
        schedulers: Of the learning rates.
        state: Counters and records.
        resumed_from: The step that a checkpoint was taken from; None if training began at 0.
    """

    def __init__(self, trainer: TorchTrainer, model: nn.Module, backend: TrainerBackend):
        self.trainer, self.backend = trainer, backend
        self.state = TrainState()
        self.schedule, self.train_args = trainer.schedule, trainer.fn_args.train_args
        self.batches = trainer.train_batches
        self.splits = trainer.eval_batches
        self.model = backend.wrap(model)
        if self.train_args.compile:
            backend.plain(self.model).compile()
        self.optimizers = _listed(trainer.optimizer_fn(self.model))
        self.schedulers = [each for each in map(trainer.scheduler_fn, self.optimizers) if each is not None]
        self._stepwise = [each for each in self.schedulers if not isinstance(each, ReduceLROnPlateau)]
        self._on_metric = [
            each
            for each in self.schedulers
            if isinstance(each, ReduceLROnPlateau) or getattr(each, "steps_on_metric", False)
        ]
        self.callbacks = Callbacks(trainer.callbacks(), self)
        self._hears_backward, self._hears_step = map(self.callbacks.hears, ("on_backward_end", "on_step_end"))
        self.micro_batches = MicroBatches(self.train_args, backend, self.schedule.batch_size)
        self.watch = Watch.of(self.train_args)
        folder = trainer.fn_args.checkpoint_dir or tempfile.mkdtemp(prefix="polytrainer-")
        self.checkpointer = trainer.checkpointer or FileCheckpointer(folder)
        self.kept = KeptWeights(Path(folder) / "weights", self.watch, writes=backend.rank == 0)
        self.termination, self._agreement = Termination(), process_group.Agreement()
        self.resumed_from = self._restore()
        self.logs = self._logs() if backend.rank == 0 else None
        self._log_every = self.train_args.log_every_n_steps or DEFAULT_EVERY
        self._parameters = list(self.model.parameters())
        self._computing = backend.computing
        self._pending: list[torch.Tensor] = []
        self._norm: torch.Tensor | None = None
        self._next_turn = self._turn_after(self.state.step)

    # ---- training

    def train(self) -> None:
        """Trains until the last step, or until early stopping or a callback ends it."""
        self.micro_batches.fit(self)
        self.callbacks.call("on_train_begin")
        with self.termination.listening(), self._checkpoints_written():
            while not self.done:
                self._train_epoch()
        if not self.state.history or self.state.history[-1]["step"] != self.state.step:
            self.evaluate()
        self._take_best()
        self.callbacks.call("on_train_end")

    def _train_epoch(self) -> None:
        """Trains on the batches that are left of an epoch."""
        state, first_step = self.state, self.state.step
        self.callbacks.call("on_epoch_begin")
        for batch in self._rest_of_epoch():
            self.step(batch)
            if state.step == self._next_turn:
                self._turn()
            if self._asked_to_end():
                self._end_at_once()
            if self.done:
                return
        if state.step == first_step and not state.batches:  # a resumed training may have nothing left of its epoch
            got = f"no batch in epoch {state.epoch + 1}"
            remedy = "A generator is used up after one epoch: return an object that can be iterated over again."
            raise TrainingError(Problem("input_fn", got, "batches in each epoch", remedy))
        self._end_of_epoch()

    def step(self, batch: Any) -> None:
        """One step: the loss and gradients of a batch, and what the optimizers make of them."""
        state = self.state
        size = self._size(batch)
        loss = self.micro_batches.compute(self, batch, size)
        if self._hears_backward:
            self.callbacks.call("on_backward_end", loss)
        self._norm = self.backend.step(self.optimizers, self._parameters, self.train_args.max_grad_norm)
        for scheduler in self._stepwise:
            scheduler.step()
        state.step += 1
        state.batches += 1
        state.examples += size
        self._pending.append(loss)
        if self._hears_step:
            self.callbacks.call("on_step_end", loss)
        if self.logs and self.backend.world_size == 1 and self.logs.line.due(state.step):
            self._show()

    def forward(self, batch: Any) -> torch.Tensor:
        """The mean loss of some examples, with its graph."""
        with self._computing():
            return self.trainer.loss_of(self.trainer.train_step(self.model, batch))

    def stop(self) -> None:
        """Ends the training after the step it is at."""
        self.state.stopped = True

    @property
    def done(self) -> bool:
        """Whether there is no step left to take."""
        return self.state.stopped or self.state.step >= self.schedule.total_steps

    def close(self, destination: str) -> None:
        """Ends the training: what is kept of its weights goes to a folder, and the logs are closed."""
        self.checkpointer.wait()
        self.kept.publish(self.state, destination)
        self.kept.remove()
        if self.logs:
            self.logs.close()

    def metrics(
        self,
        model: nn.Module,
        splits: Mapping[str, Any],
        *,
        test: bool = False,
        observe: Callable[[Any, Any], None] | None = None,
    ) -> dict[str, float]:
        """A model's metrics over whole splits; those of a test are the same. `observe` is told batches and outputs."""
        return evaluation.evaluate(self.trainer, self.backend, model, splits, observe=observe)

    # ---- turns: what happens now and then

    def evaluate(self) -> dict[str, float]:
        """Evaluates, writes it down, and decides what follows from it."""
        self.flush()
        limit = self.trainer.fn_args.eval_steps or None
        with self.trainer.timings.of(EVALUATION):
            metrics = evaluation.evaluate(self.trainer, self.backend, self.model, _from_the_start(self.splits), limit)
        self.state.record(metrics)
        value = self._watched(metrics) if self.watch.is_on and self.splits else None
        if value is not None:
            self.watch.take_note(self.state, value)
        if self.watch.best or self.watch.last:
            self.kept.offer(self.state, value, lambda: self.backend.model_state(self.model))
        for scheduler in self._on_metric if metrics else ():
            scheduler.step(value if value is not None else metrics["loss"])
        if self.logs:
            self.logs.evaluation(self.state, metrics, self.backend.plain(self.model))
            self.trainer.tell(self.state)
        self.callbacks.call("on_evaluate_end", metrics)
        return metrics

    def save_checkpoint(self) -> None:
        """Saves all that a resumed training needs, at the step that this one is at."""
        self.flush()
        with self.trainer.timings.of(CHECKPOINTS):
            state = self.state_dict()
            if self.backend.rank == 0:
                self.checkpointer.save(self.state.step, state)
            self.kept.checkpointed(self.state)

    def flush(self) -> None:
        """Reads the losses of the last steps, which is when the device is waited for.

        Raises:
            TrainingError: If one of them is not finite.
        """
        if not self._pending:
            return
        losses = self.backend.sum(torch.stack(self._pending)).tolist()
        self._pending.clear()
        self.state.take_losses(losses)

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed training needs; every rank calls it."""
        data = self.batches.state_dict() if hasattr(self.batches, "state_dict") else None
        return {
            MODEL: self.backend.model_state(self.model),
            "optimizers": self.backend.optimizer_state(self.model, self.optimizers),
            "schedulers": [scheduler.state_dict() for scheduler in self.schedulers],
            "backend": self.backend.state_dict(),
            "data": data,
            "rng": self.backend.gather(rng.state_dict()),
            "state": self.state.state_dict(),
            "callbacks": self.callbacks.state_dict(),
            "seed": self.trainer.seed,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where the training was that wrote the state; every rank calls it."""
        self.backend.load_model_state(self.model, state[MODEL])
        if not self.train_args.reset_optimizer:
            self.backend.load_optimizer_state(self.model, self.optimizers, state["optimizers"])
            for scheduler, each in zip(self.schedulers, state["schedulers"], strict=True):
                scheduler.load_state_dict(each)
            self.backend.load_state_dict(state["backend"])
        if state["data"] is not None:
            self.batches.load_state_dict(state["data"])
        if len(state["rng"]) == self.backend.world_size:
            rng.load_state_dict(state["rng"][self.backend.rank])
        self.state.load_state_dict(state["state"])
        self.callbacks.load_state_dict(state["callbacks"])
        self.trainer.seed = state["seed"]

    def first_batch(self) -> Any:
        """The batch that training goes on with, without taking it."""
        return batch_lib.first(self.batches)

    # ---- inside

    def _rest_of_epoch(self) -> Iterable[Any]:
        """Batches that were not seen yet of the epoch that the training is in."""
        if hasattr(self.batches, "state_dict"):
            return self.batches  # type: ignore[no-any-return]
        return islice(self.batches, self.state.batches, None)

    def _size(self, batch: Any) -> int:
        """Examples in a batch, over all ranks."""
        size = getattr(self.batches, "global_size", None)
        return size if size is not None else batch_lib.num_rows(batch) * self.backend.world_size

    def _turn_after(self, step: int) -> int:
        """The next step at which something is to be done besides training."""
        intervals = (self._log_every, self.train_args.eval_every_n_steps, self.train_args.checkpoint_every_n_steps)
        turns = (step // every * every + every for every in intervals if every)
        return min(*turns, max(self.schedule.total_steps, step + 1))

    def _turn(self) -> None:
        step = self.state.step
        if step % self._log_every == 0:
            self._log()
        if self.train_args.eval_every_n_steps and step % self.train_args.eval_every_n_steps == 0:
            self.evaluate()
        if self.train_args.checkpoint_every_n_steps and step % self.train_args.checkpoint_every_n_steps == 0:
            self.save_checkpoint()
        self._next_turn = self._turn_after(step)

    def _end_of_epoch(self) -> None:
        self.state.epoch += 1
        self.state.batches = 0
        every = 0 if self.train_args.eval_every_n_steps else self.train_args.eval_every_n_epochs or 1
        if every and self.state.epoch % every == 0:
            self.evaluate()
        self.callbacks.call("on_epoch_end")
        if not self.train_args.checkpoint_every_n_steps and not self.done:
            self.save_checkpoint()

    def _log(self) -> None:
        self.flush()
        if self.logs is None or self.state.last_finite_loss is None:
            return
        rates = [float(group["lr"]) for optimizer in self.optimizers for group in optimizer.param_groups]
        norm = None if self._norm is None else float(self._norm)
        self.logs.curves(self.state, self.state.last_finite_loss[1], rates, norm)
        if self.train_args.log_every_n_steps or self.logs.line.due(self.state.step):
            self._show()

    def _show(self) -> None:
        """A line: the running loss, and what the last evaluation found."""
        self.flush()
        assert self.logs is not None
        loss = self.state.running_loss
        row = self.state.history[-1] if self.state.history else {}
        shown = {name: row[name] for name in row if name.startswith(VALIDATION) and "." not in name}
        self.logs.line.show(self.state.step, {"loss": loss, **shown} if loss is not None else shown, stays=False)

    def _watched(self, metrics: Mapping[str, float]) -> float:
        if self.watch.metric not in metrics:
            where = "train_args.early_stopping.metric or keep_checkpoints.metric"
            raise TrainingError(Problem(where, repr(self.watch.metric), f"one of {sorted(metrics)}"))
        return metrics[self.watch.metric]

    def _asked_to_end(self) -> bool:
        """Whether a rank was; all of them have to stop at the same step."""
        if self.backend.world_size == 1:
            return self.termination.wished
        return self._agreement.anybody(self.termination.wished)

    @contextmanager
    def _checkpoints_written(self) -> Iterator[None]:
        """What is being written when training ends is written to its end, however it ends."""
        try:
            yield
        except BaseException:
            with suppress(TrainingError):  # the error that ended it says more
                self.checkpointer.wait()
            raise
        self.checkpointer.wait()

    def _end_at_once(self) -> None:
        self.save_checkpoint()
        self.checkpointer.wait()
        raise self.termination.error(self.state.step)

    def _restore(self) -> int | None:
        """Goes on where a run that died was; rank 0 says from which step."""
        loaded = self.checkpointer.load() if self.backend.rank == 0 else None
        step = self.backend.gather(loaded[0] if loaded else None)[0]
        if step is None:
            return None
        loaded = loaded or self.checkpointer.load(step)
        assert loaded is not None
        self.load_state_dict(loaded[1])
        return self.state.step

    def _take_best(self) -> None:
        """Goes back to the best weights, where they are watched."""
        state = self.state
        if not self.watch.is_on or state.best is None or state.best_step == state.step:
            return
        from safetensors.torch import load_file

        weights = load_file(self.kept.path(state.best_step))
        self.backend.load_model_state(self.model, {**self.backend.model_state(self.model), **weights})

    def _logs(self) -> Logs:
        return Logs(
            f"{self.trainer.fn_args.model_run_dir}/logs",
            self.schedule,
            self.state.step,
            self.train_args.log_every_n_steps,
            histograms=self.trainer.log_histograms,
        )


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _from_the_start(splits: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same splits, each from its first batch on: an evaluation before may have stopped in the middle."""
    for batches in splits.values():
        if hasattr(batches, "load_state_dict"):
            batches.load_state_dict({**batches.state_dict(), "epoch": 0, "offset": 0})
    return splits
