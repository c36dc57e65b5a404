"""One training by `lightning.Trainer`."""

from __future__ import annotations

import importlib
import math
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from polytrainer.executors.backends.torch import rng
from polytrainer.executors.backends.torch.backend import Single
from polytrainer.executors.backends.torch.lightning import config as config_lib
from polytrainer.executors.backends.torch.lightning import module as module_lib
from polytrainer.executors.backends.torch.lightning.checkpoints import LightningCheckpoints
from polytrainer.executors.backends.torch.lightning.data import EvalLoader, TrainLoader, by_split
from polytrainer.executors.backends.torch.lightning.events import Events
from polytrainer.executors.backends.torch.lightning.records import Records
from polytrainer.executors.backends.torch.state import TrainState
from polytrainer.executors.backends.torch.top_k_checkpoints import TopKCheckpoints
from polytrainer.executors.distributed import process_group
from polytrainer.executors.monitors import ModelSelection
from polytrainer.executors.termination import Termination
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
        parts: Of Lightning's batches, those that one optimizer step is computed from.
        state: Counters and records.
        resumed_from: The step that a checkpoint was taken from; None if training began at 0.
        logs: None: the curves are those of Lightning's logger.
    """

    logs = None

    def __init__(self, trainer: TorchTrainer, model: nn.Module):
        self.trainer, self.model, self.state = trainer, model, TrainState()
        self._train_args, self._splits = trainer.fn_args.train_args, trainer.eval_batches
        self._package = module_lib.package_of(model)
        config = config_lib.arguments(trainer, self._package)
        self.parts = int(config.get(config_lib.PARTS, 1))
        self.backend = Single(TrainArgs(precision=str(config.get("precision", ""))))
        self._steps = module_lib.steps_of(model, self._package)
        self.selection = ModelSelection.from_args(self._train_args)
        module_lib.check_monitors(self.selection, self._steps, self._splits)
        folder = Path(trainer.fn_args.checkpoint_dir or tempfile.mkdtemp(prefix="polytrainer-"))
        is_first = self.backend.rank == 0
        keeping = self._train_args.keep_checkpoints
        self.kept = TopKCheckpoints(folder / "weights", self.selection, keeping, writes=is_first)
        self._records = Records(trainer, self.state, self.selection, self.kept, is_first=is_first)
        self._has_own_bar = bool(config["enable_progress_bar"])
        self.batches = TrainLoader(
            trainer.train_batches,
            self.state,
            batch_size=trainer.batch_size,
            parts=self.parts,
            world_size=self.backend.world_size,
            between=self.between_steps,
        )
        events = type("PolytrainerEvents", (Events, self._package.Callback), {})(self)
        self.lightning = module_lib.trainer_of(self._package, config, events)
        self._checkpoints = LightningCheckpoints(folder)
        self._resumed = self._checkpoints.newest()
        self.resumed_from: int | None = self._resumed[1] if self._resumed else None
        self._saved_step = self.resumed_from or 0
        self._loaded: dict[str, Any] = {}
        self._termination, self._listening = Termination(), ExitStack()
        self._losses: list[torch.Tensor] = []  # of the parts of the step that is being computed
        self._rows = 0
        self._gathered: dict[str, Any] | None = None

    # ---- what TorchTrainer asks of it

    def train(self) -> None:
        """Trains until the last step, or until early stopping, a callback or a limit of the user's ends it."""
        lightning, state = self.lightning, self.state
        module = torch.compile(self.model) if self._train_args.compile else self.model
        loaders = [EvalLoader(each) for each in self._splits.values()] or None
        path = self._resumed[0] if self._resumed else None
        lightning.fit(module, self.batches, loaders, ckpt_path=path, weights_only=True)
        self._take_back()
        if "limit_val_batches" not in self.trainer.trainer_config:
            lightning.limit_val_batches = 1.0  # EvalArgs.num_steps is of evaluations while training
        if not state.history or state.history[-1]["step"] != state.step:
            self._records.evaluation(lightning, self.metrics(self.model, self._splits), self.model.state_dict)
        if self.selection.selecting is not None and state.best is not None and state.best_step != state.step:
            from safetensors.torch import load_file

            weights = load_file(self.kept.path(state.best_step))
            self.model.load_state_dict({**self.model.state_dict(), **weights})

    def metrics(self, model: nn.Module, splits: Mapping[str, Any], *, test: bool = False) -> dict[str, float]:
        """What the module's own steps log over whole splits.

        Args:
            model: The LightningModule.
            splits: Batches by name of the split.
            test: Whether its `test_step` is asked, where it has one, in place of `validation_step`.

        Returns:
            By the names they are logged by, without `val_` or `test_`; with several splits, `<split>.<metric>`.
        """
        tests = test and "test_step" in self._steps
        if not splits or not (tests or "validation_step" in self._steps):
            return {}
        loaders = [EvalLoader(each) for each in splits.values()]
        (self.lightning.test if tests else self.lightning.validate)(model, loaders, verbose=False)
        found = by_split(self.lightning.callback_metrics, splits, "test" if tests else "val")
        return dict(self.lightning.strategy.broadcast(found))

    def close(self, destination: str) -> None:
        """Ends the training's files: what is kept of its weights goes to a folder."""
        self.kept.publish(self.state, destination)

    # ---- what Lightning tells it

    def begin(self) -> None:
        """Before the first step of this process."""
        self._listening.enter_context(self._termination.listening())  # in place of Lightning, which saves nothing
        lightning, schedule = self.lightning, self.trainer.schedule
        batches, total = lightning.num_training_batches, lightning.estimated_stepping_batches
        if math.isfinite(batches) and math.isfinite(total):
            schedule = replace(schedule, steps_per_epoch=int(batches) // self.parts, total_steps=int(total))
            self.trainer.schedule = schedule
        lightning.callback_metrics.update(self._loaded.pop("metrics", {}))
        if not self._has_own_bar:
            self._records.show_progress(schedule)
        if self.backend.rank == 0:
            self.trainer.log_banner(self._facts())

    def between_steps(self) -> None:
        """Between two parts or epochs: saves if it is time to, and all is done of one step and nothing of the next."""
        state, every = self.state, self._train_args.checkpoint_every_n_steps
        rngs = self._loaded.pop("rng", ())
        if len(rngs) == self.backend.world_size:  # a resumed training is where it was saved
            rng.load_state_dict(rngs[self.backend.rank])
        if state.step == self._saved_step or self._rows:
            return
        wished = self.lightning.strategy.reduce_boolean_decision(self._termination.wished, all=False)
        if wished or (state.step % every == 0 if every else state.batches == 0):
            self.save_checkpoint()
        if wished:
            raise self._termination.error(state.step)

    def after_part(self, loss: Any, rows: int, *, ends_step: bool) -> None:
        """After a part of a step was computed; with the last of them, the step is taken."""
        state = self.state
        self._rows += rows
        if isinstance(loss, torch.Tensor):
            self._losses.append(loss.detach())
        if not ends_step:
            return
        losses, rows, self._losses, self._rows = self._losses, self._rows, [], 0
        state.step += 1
        state.batches += 1
        state.examples += self.batches.global_size(rows)
        if self.lightning.is_last_batch:
            state.epoch, state.batches = state.epoch + 1, 0
        self._records.step(self.lightning, losses)

    def evaluated(self, logged: Mapping[str, Any]) -> None:
        """After an evaluation, with what it has logged."""
        strategy = self.lightning.strategy
        metrics = dict(strategy.broadcast(by_split(logged, self._splits, "val")))
        self._records.evaluation(self.lightning, metrics, strategy.lightning_module_state_dict)

    def end(self) -> None:
        """After the last step."""
        self.stop_listening()
        if self._termination.wished:
            self.save_checkpoint()
            raise self._termination.error(self.state.step)
        if isinstance(self.lightning.strategy, self._package.strategies.FSDPStrategy):  # no rank has all weights
            self._gathered = process_group.agreed(self.lightning.strategy.lightning_module_state_dict())

    def stop_listening(self) -> None:
        """Gives SIGTERM back."""
        self._listening.close()

    # ---- checkpoints

    def save_checkpoint(self) -> None:
        """Saves all that a resumed training needs, at the step that this one is at."""
        self._records.flush(self.lightning)
        self._checkpoints.save(self.lightning, self.state.step)
        self.kept.checkpointed(self.state)
        self._saved_step = self.state.step

    def state_dict(self) -> dict[str, Any]:
        """What Lightning's own checkpoint does not hold, which has the loader's position; every rank calls it."""
        rngs: list[Any] = [rng.state_dict()]
        if self.backend.world_size > 1:
            rngs = [None] * self.backend.world_size
            torch.distributed.all_gather_object(rngs, rng.state_dict())
        return {
            "state": self.state.state_dict(),
            "metrics": dict(self.lightning.callback_metrics),  # which schedulers may watch
            "rng": rngs,
            "seed": self.trainer.seed,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over what `state_dict` returned; random numbers and metrics once the training is there."""
        self.state.load_state_dict(state["state"])
        self.trainer.seed = state["seed"]
        self._loaded = {"rng": state["rng"], "metrics": state["metrics"]}

    # ---- inside

    def _take_back(self) -> None:
        """Makes a plain module again of what Lightning has trained."""
        if self._train_args.compile:
            compilation = importlib.import_module(f"{self._package.__name__}.utilities.compile")
            compilation.to_uncompiled(self.model)
        if self._gathered is not None:
            self.model = self.trainer.new_model()
            self.model.load_state_dict(self._gathered)

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
