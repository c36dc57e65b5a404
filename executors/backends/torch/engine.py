"""The training loop."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import nn

from polytrainer.executors.backends.torch import evaluation, resumed_state, rng, sanity
from polytrainer.executors.backends.torch import metrics as metrics_lib
from polytrainer.executors.backends.torch.backend import TrainerBackend
from polytrainer.executors.backends.torch.callbacks import Callbacks
from polytrainer.executors.backends.torch.checkpointer import MODEL, FileCheckpointer
from polytrainer.executors.backends.torch.eval_data import EvalData
from polytrainer.executors.backends.torch.logs import DEFAULT_EVERY, Logs
from polytrainer.executors.backends.torch.mean_losses import MeanLoss, mean_loss
from polytrainer.executors.backends.torch.micro_batches import MicroBatches
from polytrainer.executors.backends.torch.optimization import Optimization
from polytrainer.executors.backends.torch.optimizers import learning_rates
from polytrainer.executors.backends.torch.state import TrainState
from polytrainer.executors.backends.torch.step_errors import explained
from polytrainer.executors.backends.torch.top_k_checkpoints import TopKCheckpoints
from polytrainer.executors.backends.torch.train_data import TrainData
from polytrainer.executors.data.torch_batches import TorchBatches
from polytrainer.executors.distributed import process_group
from polytrainer.executors.errors import PreflightError, TrainingError
from polytrainer.executors.monitors import VALIDATION, ModelSelection
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
        selection: Which evaluation is the best, and when training stops.
        state: Counters and records.
        last_tables: Values of the last call of `metrics` that are no single number.
        resumed_from: The step that a checkpoint was taken from; None if training began at 0.
    """

    def __init__(self, trainer: TorchTrainer, model: nn.Module, backend: TrainerBackend):
        self.trainer, self.backend = trainer, backend
        self.state = TrainState()
        self.schedule, self.train_args = trainer.schedule, trainer.fn_args.train_args
        self._train_data, self._eval_data = TrainData(trainer, backend.world_size), EvalData(trainer)
        self.selection = ModelSelection.from_args(self.train_args)
        self.model = self._wrapped(model)
        self._optimization = Optimization(trainer, self.model, backend)
        self.optimizers, self.schedulers = self._optimization.optimizers, self._optimization.schedulers
        self._stepwise, self._on_metric = self._optimization.stepwise, self._optimization.on_metric
        self._check_monitors()
        self.callbacks = Callbacks(trainer.callbacks(), self)
        self._hears_backward, self._hears_step = map(self.callbacks.hears, ("on_backward_end", "on_step_end"))
        self.micro_batches = MicroBatches(self.train_args, backend, self.schedule.batch_size)
        # without a folder of its own a training has one that goes with it, however it ends
        self._temporary = None if trainer.fn_args.checkpoint_dir or backend.rank else _temporary_folder()
        own = self._temporary.name if self._temporary else None
        folder = trainer.fn_args.checkpoint_dir or backend.gather(own)[0]
        self.checkpointer = trainer.checkpointer or FileCheckpointer(folder)
        self.kept = TopKCheckpoints(
            Path(folder) / "weights", self.selection, self.train_args.keep_checkpoints, writes=backend.rank == 0
        )
        self.termination, self._agreement = Termination(), process_group.Agreement()
        self.resumed_from = self._restore()
        sanity.check_smallest_part(self)
        self.logs = self._logs() if backend.rank == 0 else None
        if self.logs:
            self.logs.begin(self.state)
        self._log_every = self.train_args.log_every_n_steps or DEFAULT_EVERY
        self._computing = backend.computing
        self._pending: list[torch.Tensor] = []
        self._norm: torch.Tensor | None = None
        self._is_at_data_end = False
        self.last_tables: dict[str, list[Any]] = {}
        self._next_action_step = self._action_step_after(self.state.step)

    # ---- training

    def train(self) -> None:
        """Trains until the last step, or until early stopping or a callback ends it."""
        self.micro_batches.fit(self)
        self.callbacks.call("on_train_begin")
        with self.termination.listening(), self._checkpoints_written():
            self._finish_interrupted()
            while not self.done:
                self._train_epoch()
        if self.termination.wished:  # since it was last looked: the last step is saved
            raise self.termination.error(self.state.step)
        self._restore_best_weights()
        self.callbacks.call("on_train_end")

    def _train_epoch(self) -> None:
        """Trains on the batches that are left of an epoch, and ends it."""
        state, first_step = self.state, self.state.step
        self.callbacks.call("on_epoch_begin")
        for batch in self._train_data.remaining(state.epoch, state.batches):
            self.step(batch)
            if state.step == self._next_action_step:
                self._run_periodic_actions()
            if self.done:
                break
            if self._termination_requested():
                self._save_and_exit()
        if state.step == first_step and not state.batches:  # a resumed training may have nothing left of its epoch
            if self._train_data.has_position and not self._is_at_data_end and self.resumed_from == state.step:
                # the data were saved at the end of their epoch, and begin the next when they are iterated over again
                self._is_at_data_end = True
                return
            got = f"no batch in epoch {state.epoch + 1}"
            remedy = "A generator is used up after one epoch: return an object that can be iterated over again."
            raise TrainingError(Problem("input_fn", got, "batches in each epoch", remedy))
        if not self.done or state.batches >= self.schedule.steps_per_epoch:
            state.epoch, state.batches = state.epoch + 1, 0
            self._train_data.begin_epoch(state.epoch, is_last=self.done)
        state.at_epoch_end = True
        self._end_epoch()

    def _end_epoch(self) -> None:
        """What comes after the last batch of an epoch, or of the training: evaluation, callbacks, a checkpoint."""
        state = self.state
        if self.done:  # whatever comes after the last step, that step is not lost
            self.save_checkpoint()
        every = 0 if self.train_args.eval_every_n_steps else self.train_args.eval_every_n_epochs or 1
        due = not state.batches and every and state.epoch % every == 0
        if (due or self.done) and not self._is_evaluated:
            self.evaluate()
        self.callbacks.call("on_epoch_end")
        state.at_epoch_end = False
        if self.done or not self.train_args.checkpoint_every_n_steps:
            self.save_checkpoint()

    def _finish_interrupted(self) -> None:
        """What a resumed training still has to do at the step that it was saved at."""
        state, every = self.state, self.train_args.eval_every_n_steps
        if self.resumed_from is None or not state.step:
            return
        if state.at_epoch_end:
            self._end_epoch()
        elif every and state.step % every == 0 and not self._is_evaluated:
            self.evaluate()

    def step(self, batch: Any) -> None:
        """One step: the loss and gradients of a batch, and what the optimizers make of them."""
        state, backend = self.state, self.backend
        self._optimization.find_added_parameters()
        size = self._train_data.num_examples_of(batch)
        try:
            loss = self.micro_batches.compute(self, batch, size)
        except (RuntimeError, ValueError, UserWarning) as error:
            if explanation := explained(error, size):
                raise explanation from error
            raise
        if self._optimization.own_parameters:
            backend.average_gradients(self._optimization.own_parameters)
        backend.unscale(self.optimizers)
        if self._hears_backward:
            self.callbacks.call("on_backward_end", loss)
        self._norm = backend.step(self.optimizers, self.parameters, self.train_args.max_grad_norm)
        if not backend.skipped:
            for scheduler in self._stepwise:
                scheduler.step()
        state.step += 1
        state.batches += 1
        state.examples += size
        self._pending.append(loss)
        if self._hears_step:
            self.callbacks.call("on_step_end", loss)
        if self.logs and backend.world_size == 1 and self.logs.line.due(state.step):
            self._show()

    def forward(self, batch: Any) -> MeanLoss:
        """The loss of some examples, with its graph."""
        with self._computing():
            return mean_loss(self.trainer.train_step(self.model, batch), "train_step")

    def stop(self) -> None:
        """Ends the training after the step it is at."""
        self.state.stopped = True

    @property
    def batches(self) -> Any:
        """What is trained on, as `input_fn` returned it."""
        return self._train_data.batches

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Of the model, and all others that the optimizers hold."""
        return self._optimization.parameters

    @property
    def done(self) -> bool:
        """Whether there is no step left to take."""
        return self.state.stopped or self.state.step >= self.schedule.total_steps

    def close(self, destination: str) -> None:
        """Ends the training: what is kept of its weights goes to a folder, and the logs are closed."""
        self.checkpointer.wait()
        self.kept.publish(self.state, destination)
        if self.logs:
            self.logs.close()

    def clean_up(self) -> None:
        """Removes what only this process needed, however the training ended."""
        if self._temporary is not None:
            with suppress(TrainingError):
                self.checkpointer.wait()
            self._temporary.cleanup()

    def metrics(
        self,
        model: nn.Module,
        splits: Mapping[str, Any],
        *,
        test: bool = False,
        observe: Callable[[Any, Any], None] | None = None,
    ) -> dict[str, float]:
        """A model's metrics over whole splits; those of a test are the same. `observe` is told batches and outputs."""
        splits = splits if test else self._eval_data.from_start()
        evaluated = evaluation.evaluate(self.trainer, self.backend, model, splits, observe=observe)
        self.last_tables = evaluated.tables
        return evaluated.metrics

    # ---- periodic actions

    def evaluate(self) -> dict[str, float]:
        """Evaluates, records it, and decides what follows from it."""
        self.flush()
        limit, state = self.trainer.fn_args.eval_steps or None, self.state
        random_numbers, splits = rng.state_dict(), self._eval_data.from_start()
        # ranks are interrupted together: by what they all iterate over as often
        together = self.backend.world_size == 1 or all(isinstance(each, TorchBatches) for each in splits.values())
        with self.trainer.timings.of(EVALUATION):
            try:
                evaluated = evaluation.evaluate(
                    self.trainer,
                    self.backend,
                    self.model,
                    splits,
                    limit,
                    is_interrupted=self._termination_requested if together else None,
                )
            except evaluation.Interrupted:
                # the evaluation that a resumed training begins with draws them again
                rng.load_state_dict(random_numbers)
                self._save_and_exit()
        metrics, state.tables = evaluated.metrics, evaluated.tables
        state.record(metrics, self.schedule.steps_per_epoch, learning_rates(self.optimizers))
        if metrics:
            value = self.selection.update(state, metrics)
            for scheduler in self._on_metric:
                scheduler.step(self.selection.plateau.value(metrics, "scheduler"))
        self.kept.maybe_save(state, value if metrics else None, lambda: self.backend.model_state(self.model))
        if self.logs:
            self.logs.evaluation(state, metrics, self.backend.plain(self.model))
            self.trainer.log_state(state)
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
        return {
            MODEL: self.backend.model_state(self.model),
            "optimizers": self.backend.optimizer_state(self.model, self.optimizers),
            "schedulers": [scheduler.state_dict() for scheduler in self.schedulers],
            "backend": self.backend.state_dict(),
            "own_parameters": [parameter.detach() for parameter in self._optimization.own_parameters],
            "kinds": self._kinds(),
            "data": self._train_data.state_dict(),
            "rng": self.backend.gather(rng.state_dict()),
            "state": self.state.state_dict(),
            "callbacks": self.callbacks.state_dict(),
            "seed": self.trainer.seed,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where the training was that wrote the state; every rank calls it.

        Raises:
            PreflightError: If a part of it does not fit.
        """
        fits = resumed_state.fits
        with fits("the model"):
            self.backend.load_model_state(self.model, state[MODEL])
        if not self.train_args.reset_optimizer:
            with fits("the optimizers"):
                self.backend.load_optimizer_state(self.model, self.optimizers, state["optimizers"])
            with fits("the schedulers"):
                for scheduler, each in zip(self.schedulers, state["schedulers"], strict=True):
                    scheduler.load_state_dict(each)
            self.backend.load_state_dict(state.get("backend", {}))
        with fits("the parameters beside the model's"), torch.no_grad():
            own_parameters = self._optimization.own_parameters
            for parameter, saved in zip(own_parameters, state.get("own_parameters", ()), strict=True):
                parameter.copy_(saved)
        if state.get("data") is not None:
            with fits("the data"):
                self._train_data.load_state_dict(state["data"])
        if len(state.get("rng", ())) == self.backend.world_size:
            rng.load_state_dict(state["rng"][self.backend.rank])
        self.state.load_state_dict(state["state"])
        with fits("the callbacks"):
            self.callbacks.load_state_dict(state["callbacks"])
        self.trainer.seed = state.get("seed", self.trainer.seed)

    def first_batch(self) -> Any:
        """The batch that training goes on with, without taking it."""
        return self._train_data.first()

    # ---- inside

    def _wrapped(self, model: nn.Module) -> nn.Module:
        """The model on its device, with gradients shared between ranks."""
        backend, trainer = self.backend, self.trainer
        if getattr(backend, "find_unused_parameters", False) is None:
            model = model.to(backend.device)
            batch = trainer.prepared(trainer.sample, backend, training=True)
            unused = any(backend.gather(sanity.has_unused_parameters(trainer, model, batch)))
            backend.find_unused_parameters = unused  # type: ignore[attr-defined]
        wrapped = backend.wrap(model)
        if self.train_args.compile:
            backend.plain(wrapped).compile()
        return wrapped

    def _check_monitors(self) -> None:
        """Whether all that is monitored will be there.

        Raises:
            PreflightError: If not.
        """
        splits = self._eval_data.names
        names, beginnings = metrics_lib.names_of_numbers(self.trainer.metrics_fn())
        names = {"loss", *names}
        if len(splits) > 1:
            names |= {f"{split}.{name}" for split in splits for name in names}
        monitored = {each.metric for each in (self.selection.stopping, self.selection.selecting) if each}
        names |= {name for name in monitored if name.rpartition(".")[2].startswith(tuple(beginnings))}
        problems = self.selection.problems(names, evaluates=bool(splits))
        problems += self._optimization.problems(self.selection.plateau, evaluates=bool(splits))
        if problems:
            raise PreflightError(problems)

    @property
    def _is_evaluated(self) -> bool:
        """Whether there was an evaluation at the step that the training is at."""
        return bool(self.state.history) and self.state.history[-1]["step"] == self.state.step

    def _action_step_after(self, step: int) -> int:
        """The next step at which something is to be done besides training."""
        intervals = (self._log_every, self.train_args.eval_every_n_steps, self.train_args.checkpoint_every_n_steps)
        steps = (step // every * every + every for every in intervals if every)
        return min(*steps, max(self.schedule.total_steps, step + 1))

    def _run_periodic_actions(self) -> None:
        step = self.state.step
        if step % self._log_every == 0:
            self._log()
        if self.train_args.eval_every_n_steps and step % self.train_args.eval_every_n_steps == 0 and not self.done:
            self.evaluate()  # that of the last step comes once the step is saved
        every = self.train_args.checkpoint_every_n_steps
        if every and step % every == 0 and not self.done:  # the last step is saved with what it ends
            self.save_checkpoint()
        self._next_action_step = self._action_step_after(step)

    def _log(self) -> None:
        self.flush()
        if self.logs is None or self.state.last_finite_loss is None:
            return
        rates = learning_rates(self.optimizers)
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

    def _termination_requested(self) -> bool:
        """Whether a rank is to end; all of them have to stop at the same step."""
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

    def _save_and_exit(self) -> NoReturn:
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
        self._check_restored(loaded[1], f"of step {step}")
        self.load_state_dict(loaded[1])
        self.kept.forget_missing(self.state)
        return self.state.step

    def _kinds(self) -> dict[str, list[str]]:
        """What a checkpoint fits only if it is the same."""
        return {
            "optimizers": resumed_state.kinds(self.optimizers),
            "schedulers": resumed_state.kinds(self.schedulers),
            "callbacks": self.callbacks.kinds,
            "parameters beside the model's": [str(list(each.shape)) for each in self._optimization.own_parameters],
        }

    def _check_restored(self, state: Mapping[str, Any], where: str) -> None:
        saved, ignored = state.get("kinds", {}), {"optimizers", "schedulers"} if self.train_args.reset_optimizer else ()
        parts = {name: (now, saved.get(name, now)) for name, now in self._kinds().items() if name not in ignored}
        weights = self.backend.model_state(self.model)
        if weights or self.backend.world_size == 1:  # a rank of several may have none
            resumed_state.check(weights, state[MODEL], parts, where)

    def _restore_best_weights(self) -> None:
        """Goes back to the best weights, where the model is selected by a metric."""
        state = self.state
        if self.selection.selecting is None or state.best is None or state.best_step == state.step:
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


def _temporary_folder() -> tempfile.TemporaryDirectory[str]:
    shared = process_group.shared_folder()  # that of ranks goes with their launcher
    return tempfile.TemporaryDirectory(prefix="polytrainer-", dir=shared, ignore_cleanup_errors=True)
