"""One training by `lightning.Trainer`."""

from __future__ import annotations

import importlib
import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from polytrainer.executors.backends.torch import resumed_state, rng
from polytrainer.executors.backends.torch.backend import Single
from polytrainer.executors.backends.torch.eval_data import EvalData
from polytrainer.executors.backends.torch.lightning import config as config_lib
from polytrainer.executors.backends.torch.lightning import errors, loops, rank_results, weights
from polytrainer.executors.backends.torch.lightning import module as module_lib
from polytrainer.executors.backends.torch.lightning.checkpoints import OURS, LightningCheckpoints
from polytrainer.executors.backends.torch.lightning.data import EvalLoader, TrainLoader, by_split
from polytrainer.executors.backends.torch.lightning.events import Events
from polytrainer.executors.backends.torch.lightning.records import Records
from polytrainer.executors.backends.torch.lightning.selection import LightningSelection
from polytrainer.executors.backends.torch.state import TrainState
from polytrainer.executors.backends.torch.top_k_checkpoints import TopKCheckpoints
from polytrainer.executors.distributed import process_group
from polytrainer.executors.termination import Termination
from polytrainer.executors.timings import CHECKPOINTS
from polytrainer.proto.trainer_pb2 import TrainArgs

if TYPE_CHECKING:
    from polytrainer.executors.backends.torch.trainer import TorchTrainer


class LightningRun:
    """One training by `lightning.Trainer`: what `Engine` is for another model, to all who ask about it afterwards.

    Attributes:
        trainer: Whose data and arguments it takes.
        model: The LightningModule.
        backend: What it runs on once it is trained: one process and one device.
        lightning: The `lightning.Trainer`.
        parts: Of Lightning's batches, those that are one batch of ours.
        selection: Which evaluation is the best, and when training stops.
        state: Counters and records.
        resumed_from: The step that a checkpoint was taken from; None if training began at 0.
        logs: None: the curves are those of Lightning's logger.
    """

    logs = None

    def __init__(self, trainer: TorchTrainer, model: nn.Module):
        self.trainer, self.model, self.state = trainer, model, TrainState()
        self._train_args, self._splits = trainer.fn_args.train_args, trainer.eval_batches
        self._eval_data = EvalData(trainer)
        self._package = module_lib.package_of(model)
        config = config_lib.arguments(trainer, self._package)
        self.parts = int(config.get(config_lib.PARTS, 1))
        self.backend = Single(TrainArgs(precision=str(config.get("precision", ""))))
        self._steps = module_lib.steps_of(model, self._package)
        evaluates = bool(self._splits) and "validation_step" in self._steps
        self.selection = LightningSelection.of(self._train_args, config, model if evaluates else None, self._package)
        module_lib.check_monitors(self.selection, self._steps, self._splits)
        # without a folder of its own a training has one that goes with it, however it ends
        shared = process_group.shared_folder()
        self._temporary = (
            None
            if trainer.fn_args.checkpoint_dir or process_group.rank()
            else tempfile.TemporaryDirectory(prefix="polytrainer-", dir=shared, ignore_cleanup_errors=True)
        )
        own = self._temporary.name if self._temporary else None
        folder = Path(trainer.fn_args.checkpoint_dir or process_group.agreed(own))
        is_first = self.backend.rank == 0
        keeping = self._train_args.keep_checkpoints
        self.kept = TopKCheckpoints(folder / "weights", self.selection, keeping, writes=is_first)
        self._records = Records(trainer, self.state, self.selection, self.kept, is_first=is_first)
        self._has_own_bar = bool(config["enable_progress_bar"])
        self._is_dry = bool(config.get("fast_dev_run"))
        self.batches = TrainLoader(
            trainer, self.state, parts=self.parts, world_size=self.backend.world_size, between=self.between_steps
        )
        self._events = type("PolytrainerEvents", (Events, self._package.Callback), {})(self)
        self.lightning = module_lib.trainer_of(self._package, config, self._events)
        loops.leave_sigterm_alone(self.lightning)
        self._shapes = _shapes(model) if module_lib.is_complete(model) else {}
        self._kinds: dict[str, list[str]] = {}
        self._checkpoints = LightningCheckpoints(folder)
        newest = self._checkpoints.newest()
        self._resumed_file: Path | None = newest[0] if newest else None
        self._loaded: dict[str, Any] = newest[1] if newest else {}
        self.resumed_from: int | None = self._loaded["state"]["step"] if self._loaded else None
        self._check_weights()
        self._saved_step = self.resumed_from or 0
        self._phase = loops.BETWEEN_STEPS
        self._termination = Termination()
        self._losses: list[torch.Tensor] = []  # of the parts of the step that is being computed
        self._part: tuple[Any, float] = (None, 1.0)
        self._is_in_step, self._rows = False, 0
        self._weights_may_change, self._evaluated_weights = False, dict[str, Any]()
        self._published = weights.PublishedWeights()
        self._before_evaluation: dict[str, Any] = {}
        self._is_evaluated = False  # of the weights that the training has ended with
        self._gathered: dict[str, Any] | None = None

    # ---- what TorchTrainer asks of it

    def train(self) -> None:
        """Trains until the last step, or until early stopping, a callback or a limit of the user's ends it."""
        if self._loaded.get("phase") == loops.TRAINED:
            self._take_trained()
        else:
            with self._termination.listening():
                self._fit()
                self._take_back()
                self._save_trained()
            if self._any_rank(self._termination.wished):
                raise self._termination.error(self.state.step)
        with Termination.exits_at_once(self.state.step):
            if not self._is_evaluated:
                metrics = self.metrics(self.model, self._splits)
                self._records.evaluation(self.lightning, metrics, self.model.state_dict)
            if not self._is_dry:  # EvalArgs.num_steps, and limits of Lightning's, are of evaluations while training
                self.lightning.limit_val_batches = self.lightning.limit_test_batches = 1.0
            self._restore_best_weights()
            self.model.to(self.backend.device)

    def metrics(self, model: nn.Module, splits: Mapping[str, Any], *, test: bool = False) -> dict[str, float]:
        """What the module's own steps log over whole splits, with just the weights that it has.

        Args:
            model: The LightningModule.
            splits: Batches by name of the split; those that are no test are taken from their first one on.
            test: Whether its `test_step` is asked, where it has one, in place of `validation_step`.

        Returns:
            By the names they are logged by, without `val_` or `test_`; with several splits, `<split>.<metric>`.
        """
        tests = test and "test_step" in self._steps
        if not splits or not (tests or "validation_step" in self._steps):
            return {}
        loaders = [EvalLoader(partial(iter, each), each) for each in splits.values()] if test else None
        with self._published.of(model):
            loop = self.lightning.test if tests else self.lightning.validate
            loop(model, loaders or self._eval_loaders(), verbose=False)
        model.to(self.backend.device)  # Lightning leaves it on the CPU
        metrics = by_split(self.lightning.callback_metrics, splits, "test" if tests else "val")
        return dict(self.lightning.strategy.broadcast(metrics))

    def close(self, destination: str) -> None:
        """Ends the training's files: what is kept of its weights goes to a folder."""
        self.kept.publish(self.state, destination)

    def clean_up(self) -> None:
        """Removes what only this process needed, however the training ended."""
        if self._temporary is not None:
            self._temporary.cleanup()

    # ---- what Lightning tells it

    def check_kinds(self) -> None:
        """Looks whether optimizers, schedulers and callbacks are those of the checkpoint that is gone on from.

        Raises:
            PreflightError: If they are not.
        """
        lightning = self.lightning
        self._kinds = {
            "optimizers": resumed_state.kinds(lightning.optimizers),
            "schedulers": resumed_state.kinds([each.scheduler for each in lightning.lr_scheduler_configs]),
            "callbacks": resumed_state.kinds([each for each in lightning.callbacks if each is not self._events]),
        }
        saved = self._loaded.get("kinds", {})
        ignored = {"optimizers", "schedulers"} if self._train_args.reset_optimizer else set()
        parts = {name: (now, saved.get(name, now)) for name, now in self._kinds.items() if name not in ignored}
        resumed_state.check({}, {}, parts, f"of step {self.resumed_from}")

    def check_names(self, logged: Mapping[str, Any]) -> None:
        """Looks whether what is monitored is among what an evaluation has logged.

        Raises:
            PreflightError: If it is not.
        """
        names = by_split(logged, self._splits, "val")
        self.selection.forget_if_unknown(names)
        module_lib.check_logged(self.selection, names)

    def begin(self) -> None:
        """Before the first step of this process."""
        if self._any_rank(self._termination.wished):
            raise self._termination.error(self._saved_step)
        lightning = self.lightning
        self._weights_may_change = weights.may_change(lightning, self._package, self._events)
        self._take_schedule()
        lightning.callback_metrics.update(self._loaded.get("metrics", {}))
        if not self._has_own_bar:
            self._records.show_progress(self.trainer.schedule)
        if self.backend.rank == 0:
            self.trainer.log_banner(self._facts())
        if self.resumed_from is not None:
            lightning.should_stop = self.state.stopped
            phase = self._loaded.get("phase", loops.BETWEEN_STEPS)
            loops.go_on(lightning, phase, in_epoch=self.state.batches > 0)

    def between_steps(self) -> None:
        """Between two parts or epochs: saves if it is time to, and all is done of one step and nothing of the next."""
        state, every = self.state, self._train_args.checkpoint_every_n_steps
        self._restore_rng()
        if self._is_in_step:
            return
        wished = self._any_rank(self._termination.wished)
        due = state.step % every == 0 if every else state.batches == 0
        if state.step != self._saved_step and (wished or due or self._is_before_statistics()):
            self._save_checkpoint(loops.BETWEEN_STEPS)
        if wished:
            raise self._termination.error(self._saved_step)

    def before_part(self, batch: Any) -> None:
        """Before a part of a step is computed."""
        self._part = batch, self.batches.shares.popleft() if self.batches.shares else 1.0

    def before_backward(self, loss: torch.Tensor) -> None:
        """Before the gradients of a part: Lightning averages parts and ranks, whatever their numbers of examples."""
        share = self._part[1]
        if share != 1.0 and loss.requires_grad:
            loss.register_hook(lambda gradient: gradient * share)

    def after_part(self, loss: Any, rows: int, *, ends_batch: bool) -> None:
        """After a part of a step was computed; with the last of them, the step is taken."""
        state, fit = self.state, self.lightning.fit_loop
        if fit._skip_backward:  # BatchNorm's statistics are taken, and no step
            return
        self._is_in_step = fit.epoch_loop._should_accumulate()
        if isinstance(loss, torch.Tensor):
            self._losses.append(loss.detach() * self._part[1])
        self._rows += rows
        if ends_batch:
            state.batches += 1
            state.examples += self.batches.global_size(self._rows)
            self._rows = 0
        if self._is_in_step:
            return
        losses, self._losses = self._losses, []
        state.step += 1
        if self.lightning.is_last_batch:
            state.epoch, state.batches = state.epoch + 1, 0
        self._records.step(self.lightning, losses)

    def before_evaluation(self, metrics: dict[str, Any]) -> None:
        """Before an evaluation while training: what comes after the last step does not lose that step.

        Args:
            metrics: What is logged so far.
        """
        self._restore_rng()
        self._before_evaluation = {"metrics": metrics, "rng": self._rngs()}
        wished = self._any_rank(self._termination.wished)
        if wished or loops.is_last_step(self.lightning):
            self._save_in_evaluation()
        if wished:
            raise self._termination.error(self._saved_step)

    def before_eval_batches(self) -> None:
        """Before an evaluation or a test."""
        if self.backend.world_size > 1:
            rank_results.collect(self.lightning)

    def before_eval_batch(self, batch: Any, *, is_first: bool) -> None:
        """Before a batch of an evaluation or a test: the weights are those that are to be measured."""
        module = self.lightning.lightning_module
        self._part = batch, 1.0
        if is_first:
            self._published.restore(module)
            if self._has_replicas:
                weights.share_buffers(module)
        if self._termination.wished and self.lightning.state.fn == "fit" and not self.lightning.sanity_checking:
            self._leave_evaluation()

    def after_eval_batches(self) -> None:
        """After the batches of an evaluation or a test."""
        if self.backend.world_size > 1:
            rank_results.merge(self.lightning)

    def keep_evaluated_weights(self) -> None:
        """Copies the weights that were evaluated, before somebody changes them."""
        if self._weights_may_change:
            self._evaluated_weights = weights.copied(self.lightning.strategy.lightning_module_state_dict())

    def evaluated(self, logged: Mapping[str, Any]) -> None:
        """After an evaluation, with what it has logged."""
        strategy, state = self.lightning.strategy, self.state
        metrics = dict(strategy.broadcast(by_split(logged, self._splits, "val")))
        if not state.history:  # with num_sanity_val_steps=0 it is the first to show what is logged
            self.check_names(metrics)
        evaluated = self._evaluated_weights
        current = (lambda: evaluated) if self._weights_may_change else strategy.lightning_module_state_dict
        self._records.evaluation(self.lightning, metrics, current)

    def end(self) -> None:
        """After the last step."""
        if isinstance(self.lightning.strategy, self._package.strategies.FSDPStrategy):  # no rank has all weights
            self._gathered = process_group.agreed(self.lightning.strategy.lightning_module_state_dict())

    # ---- checkpoints

    def save_checkpoint(self) -> None:
        """Saves all that a resumed training needs, at the step that this one is at."""
        self._save_checkpoint(loops.BETWEEN_STEPS)

    def state_dict(self) -> dict[str, Any]:
        """What Lightning's own checkpoint does not hold, which has the loader's position; every rank calls it."""
        in_evaluation = self._phase == loops.IN_EVALUATION
        schedule = self.trainer.schedule
        return {
            "state": self.state.state_dict(),
            "phase": self._phase,
            "schedule": [schedule.steps_per_epoch, schedule.total_steps],
            "metrics": dict(self.lightning.callback_metrics),  # which schedulers may watch
            "rng": [] if in_evaluation else self._rngs(),
            "seed": self.trainer.seed,
            "kinds": self._kinds,
            "shapes": self._shapes,
            **(self._before_evaluation if in_evaluation else {}),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over what `state_dict` returned; random numbers and metrics once the training is there."""
        self.state.load_state_dict(state["state"])
        self.kept.forget_missing(self.state)
        self.trainer.seed = state["seed"]

    # ---- inside

    def _fit(self) -> None:
        """Lets Lightning train, from the checkpoint on where there is one."""
        lightning = self.lightning
        module = torch.compile(self.model) if self._train_args.compile else self.model
        loaders = self._eval_loaders() or None
        if self._loaded.get("phase") == loops.IN_EVALUATION:
            loops.open_for_evaluation(lightning)
        try:
            lightning.fit(module, self.batches, loaders, ckpt_path=self._resumed_file, weights_only=True)
        except Exception as error:
            known = errors.explained(error, self._package, self._part[0], self.trainer.batch_size, self.resumed_from)
            if known is not None:
                raise known from error
            raise

    def _eval_loaders(self) -> list[EvalLoader]:
        """The eval splits, each from its first example on whenever it is iterated over."""
        data = self._eval_data
        return [EvalLoader(partial(data.split_from_start, name), each) for name, each in self._splits.items()]

    def _take_back(self) -> None:
        """Makes a plain module again of what Lightning has trained, the same on all ranks."""
        if self._train_args.compile:
            compilation = importlib.import_module(f"{self._package.__name__}.utilities.compile")
            compilation.to_uncompiled(self.model)
        if self._gathered is not None:
            self.model = self.trainer.new_model()
            self.model.load_state_dict(self._gathered)
        elif self._has_replicas:
            weights.share_buffers(self.model)

    def _take_trained(self) -> None:
        """Takes over the weights of a training that was over: nothing is trained again."""
        model, lightning = self.model, self.lightning
        lightning.strategy.connect(model)
        if not module_lib.is_complete(model):
            model.trainer = lightning
            model.setup("fit")
            model.configure_model()
        assert self._resumed_file is not None
        saved = torch.load(self._resumed_file, map_location="cpu", weights_only=True)
        model.load_state_dict(saved["state_dict"], strict=model.strict_loading)
        self.load_state_dict(self._loaded)
        self._is_evaluated, self._phase = self._loaded["is_evaluated"], loops.TRAINED
        self._take_schedule()
        self._records.write()
        if self.backend.rank == 0:
            self.trainer.log_banner(self._facts())

    def _take_schedule(self) -> None:
        """Takes over how long the training is, from Lightning or from a checkpoint of what it has trained."""
        lightning, schedule = self.lightning, self.trainer.schedule
        if self._loaded.get("phase") == loops.TRAINED:
            steps, total = self._loaded["schedule"]
        else:
            batches, total = lightning.num_training_batches, lightning.estimated_stepping_batches
            if not math.isfinite(batches) or not math.isfinite(total):
                return
            steps = int(batches) // self.parts
            if loops.statistics_epoch(lightning, self._package) is not None:
                total -= steps
        self.trainer.schedule = replace(schedule, steps_per_epoch=steps, total_steps=int(total))

    def _restore_rng(self) -> None:
        """Goes on with the random numbers that a checkpoint was saved with, once the training is where it was."""
        rngs = self._loaded.pop("rng", ())
        if len(rngs) == self.backend.world_size:
            rng.load_state_dict(rngs[self.backend.rank])

    def _rngs(self) -> list[Any]:
        rngs: list[Any] = [rng.state_dict()]
        if self.backend.world_size > 1:
            rngs = [None] * self.backend.world_size
            torch.distributed.all_gather_object(rngs, rng.state_dict())
        return rngs

    def _any_rank(self, wishes: bool) -> bool:
        return bool(self.lightning.strategy.reduce_boolean_decision(wishes, all=False))

    def _save_checkpoint(self, phase: str) -> None:
        lightning, self._phase = self.lightning, phase
        self._records.flush(lightning)
        self._save(lambda path: lightning.save_checkpoint(path, weights_only=False))

    def _save_in_evaluation(self) -> None:
        """Saves what is left of the training: this evaluation, and what comes after it."""
        has_time_interval = getattr(self.lightning, "_val_check_time_interval", None) is not None
        if self.lightning.fit_loop._skip_backward or has_time_interval:
            return  # Lightning could not be brought back to here
        self._save_checkpoint(loops.IN_EVALUATION)

    def _save_trained(self) -> None:
        """Saves the weights that the training has ended with: all that comes now may fail, and nothing is lost."""
        state, model = self.state, self.model
        evaluated = state.history[-1]["step"] == state.step if state.history else not self._splits
        if evaluated and self._weights_may_change and self.backend.rank == 0:
            evaluated = weights.are_equal(self._evaluated_weights, model.state_dict())
        self._is_evaluated = process_group.agreed(evaluated)
        self._phase = loops.TRAINED
        ours = {**self.state_dict(), "is_evaluated": self._is_evaluated}
        content = {"state_dict": model.state_dict(), OURS: ours}
        self._save(lambda path: torch.save(content, path) if self.backend.rank == 0 else None)

    def _save(self, write: Callable[[Path], None]) -> None:
        with self.trainer.timings.of(CHECKPOINTS):
            self._checkpoints.save(self.state.step, write)
            self.kept.checkpointed(self.state)
        self._saved_step = self.state.step

    def _leave_evaluation(self) -> None:
        """Ends at once by SIGTERM, where what was trained is saved or can be saved now."""
        if self._saved_step != self.state.step or self._phase != loops.IN_EVALUATION:
            if self._weights_may_change or self.backend.world_size > 1:  # after the evaluation, then
                return
            self._save_in_evaluation()
        if self._saved_step == self.state.step:
            raise self._termination.error(self._saved_step)

    def _is_before_statistics(self) -> bool:
        epoch = loops.statistics_epoch(self.lightning, self._package)
        return epoch is not None and self.lightning.current_epoch == epoch

    def _check_weights(self) -> None:
        """Looks whether the checkpoint that is gone on from is of this model.

        Raises:
            PreflightError: If it is not.
        """
        saved = self._loaded.get("shapes")
        if saved and self._shapes:
            now, then = (
                {name: SimpleNamespace(shape=shape) for name, shape in each.items()} for each in (self._shapes, saved)
            )
            resumed_state.check(now, then, {}, f"of step {self.resumed_from}")

    def _restore_best_weights(self) -> None:
        """Goes back to the best weights, where the model is selected by a metric."""
        state = self.state
        if self.selection.selecting is None or state.best is None:
            return
        from safetensors.torch import load_file

        best = load_file(self.kept.path(state.best_step))
        self.model.load_state_dict({**self.model.state_dict(), **best}, strict=self.model.strict_loading)

    @property
    def _has_replicas(self) -> bool:
        """Whether each of several ranks holds the whole model."""
        return self.backend.world_size > 1 and isinstance(self.lightning.strategy, self._package.strategies.DDPStrategy)

    def _facts(self) -> dict[str, Any]:
        lightning, sizes = self.lightning, [(each.numel(), each.requires_grad) for each in self.model.parameters()]
        total, trainable = sum(size for size, _ in sizes), sum(size for size, has_grad in sizes if has_grad)
        ranks, strategy = lightning.world_size, lightning.strategy
        facts = {
            "model": f"{type(self.model).__name__}, {total:,} parameters, {trainable:,} of them trainable",
            "trained by": f"{self._package.__name__} {self._package.__version__}",
            "optimizer": ", ".join(type(each).__name__ for each in lightning.optimizers),
            "precision": lightning.precision,
            "device": f"{strategy.root_device}" + (f", {ranks} ranks ({type(strategy).__name__})" if ranks > 1 else ""),
        }
        return facts if self.resumed_from is None else {**facts, "resumed": f"from step {self.resumed_from}"}


def _shapes(model: nn.Module) -> dict[str, list[int]]:
    """Of the tensors that a model's state has, by name."""
    state = model.state_dict()
    return {name: list(each.shape) for name, each in state.items() if isinstance(each, torch.Tensor)}
