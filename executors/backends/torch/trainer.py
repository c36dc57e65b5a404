"""TorchTrainer: the user writes the model, this the plumbing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from torch import Tensor, nn

from polytrainer.executors import timings
from polytrainer.executors.backends import label_vocabulary, testing
from polytrainer.executors.backends.torch import backend as backend_lib
from polytrainer.executors.backends.torch import (
    data_values,
    predictions,
    rng,
    saving,
    shared_gpus,
    warm_start,
)
from polytrainer.executors.backends.torch.engine import Engine
from polytrainer.executors.backends.torch.hooks import TorchHooks
from polytrainer.executors.backends.torch.lightning import module as lightning_module
from polytrainer.executors.backends.torch.lightning.run import LightningRun
from polytrainer.executors.backends.torch.modes import put_into_training_mode
from polytrainer.executors.backends.torch.precision import settings
from polytrainer.executors.backends.torch.state import TrainState
from polytrainer.executors.backends.torch.step_errors import broadcast_labels_refused
from polytrainer.executors.distributed import launch, process_group
from polytrainer.executors.errors import PreflightError
from polytrainer.executors.result import TrainResult
from polytrainer.executors.run_record import Throttle
from polytrainer.executors.termination import Termination
from polytrainer.proto.problems import Problem


class TorchTrainer(TorchHooks):
    """Trains a PyTorch model; `model_fn` returns it.

    Example:
        ```python
        class Penguins(TorchTrainer):
            def model_fn(self):
                features = Features.from_schema(self.schema, exclude=[self.label_key])
                return nn.Sequential(features, nn.Linear(features.out_features, self.hidden), nn.ReLU(),
                                     nn.Linear(self.hidden, 3))

        run_fn = Penguins(label_key="species", metrics=["accuracy", "f1"], hidden=32).run_fn
        ```

    Every other hook has a default, and may be overridden alone. A batch is `(features, label)`, features by name as
    `polytrainer.executors.data.torch_batches.TorchBatches` makes them.

    Attributes:
        engine: The training: model, optimizers, state. There from the beginning of `train` on.
    """

    engine: Engine

    _BOUND = (*TorchHooks._BOUND, "engine", "_state_log")

    def bind(self, fn_args: Any) -> None:
        """Takes over what a run is told, and checks that it fits.

        Raises:
            PreflightError: With everything that does not fit.
        """
        self._started = time.monotonic()
        shared_gpus.leave_to_torch()
        super().bind(fn_args)

    def run_fn(self, fn_args: Any) -> TrainResult:
        """Trains, evaluates, tests and saves: what TFX calls."""
        self.bind(fn_args)
        if launch.is_wanted(fn_args.train_args):
            backend_lib.check_is_for_ranks(self.backend)
            return launch.run(self, fn_args)
        with process_group.joined_if_ranked(fn_args.train_args.strategy), settings(fn_args.train_args):
            result = self._run()
            process_group.wait_for_all()
        return result

    def begin(self) -> None:
        """Makes `self.engine`, the training of a run that is bound (`bind`): new, or as it was when it died."""
        model = self.new_model()
        data_values.check_finite(self, model, TorchHooks.input_fn)
        if process_group.rank() == 0 and type(self).save is TorchTrainer.save and lightning_module.is_complete(model):
            saving.check(self, model)
        if self._is_chief:
            self._check_room(sum(each.nbytes for each in model.state_dict().values() if isinstance(each, Tensor)))
        if lightning_module.is_one(model):
            self.engine = LightningRun(self, model)  # type: ignore[assignment] # an engine to all who ask it
        else:
            self.engine = Engine(self, model, backend_lib.resolve(self.backend, self.fn_args.train_args))
        if self.engine.resumed_from is None and self.fn_args.base_model:
            warm_start.load(self.engine, self.fn_args.base_model, strict=self.strict_base_model)
        if process_group.rank() == 0 and isinstance(self.engine, Engine):
            self.log_banner(self._facts())
        if self.log_graph and self.engine.logs:
            features, _ = self.features_and_label(self.sample)
            self.engine.logs.graph(saving.Predictor(self, saving.whole_model(self.engine)), saving.flat(features))

    def train(self) -> None:
        """Trains the model of a run that is bound; `run_fn` and `fit` do that and more."""
        self.begin()
        self.engine.train()

    def validate(self) -> dict[str, float]:
        """Metrics of the trained model on the eval splits, whole."""
        return self.engine.metrics(self.engine.model, self.eval_batches)

    def test(self) -> dict[str, float]:
        """Metrics of the trained model on the test splits, as `<split>.<metric>`."""
        return self.test_fn(self.engine.model)

    def evaluate(self, model: nn.Module, files: Sequence[str]) -> dict[str, float]:
        """The model's metrics over all examples of some files."""
        return self.engine.metrics(model, {"": self.input_fn(files, training=False)}, test=True)

    def save(self, model: nn.Module | None = None) -> dict[str, float]:
        """Writes the trained model in the formats that `ExportArgs` ask for.

        Returns:
            By format, how far what was written is from the trained model: the largest difference on real examples.
        """
        return saving.save(self, model if model is not None else saving.whole_model(self.engine))

    def save_checkpoint(self, force: bool = False) -> None:
        """Saves what a training is resumed from: if it is time to, or in any case if `force` is set."""
        every = self.fn_args.train_args.checkpoint_every_n_steps or self.schedule.steps_per_epoch
        if force or self.engine.state.step % every == 0:
            self.engine.save_checkpoint()
            if isinstance(self.engine, Engine):
                self.engine.checkpointer.wait()

    def new_model(self) -> nn.Module:
        """A model of `model_fn`, after it was seen to take the data."""
        model = self.model_fn()
        if not isinstance(model, nn.Module):
            got = f"{type(model).__module__}.{type(model).__name__}"
            raise PreflightError([Problem("what model_fn returned", got, "a torch.nn.Module")])
        rng.seed(self.seed + 1 + process_group.rank())  # weights the same, dropout not
        put_into_training_mode(model)
        lightning_module.check(self, model)
        if lightning_module.is_one(model):
            lightning_module.look_at(self, model)
        else:
            self._sample.look_at(model)
        return model

    @property
    def model(self) -> nn.Module:
        """The model that was trained, or is."""
        return self.engine.backend.plain(self.engine.model)

    @property
    def estimated_steps_per_epoch(self) -> int:
        """Optimizer steps in an epoch; exact with the data of `input_fn`'s default."""
        return self.schedule.steps_per_epoch

    def log_state(self, state: TrainState) -> None:
        """Writes trainer_state.json as things stand, if the last time was long enough ago."""
        self._state_log.call(
            lambda: self.write_state(
                "pytorch", {**state.as_dict(), "resumed_from": self.engine.resumed_from}, self._started
            )
        )

    @cached_property
    def _state_log(self) -> Throttle:
        return Throttle()

    # ---- inside

    def _test(self, model: nn.Module, split: str, files: Sequence[str], *, measured: bool) -> dict[str, float]:
        engine = self.engine
        with testing.results_of(self, split, files, TorchHooks.input_fn, predictions.ranks()) as results:
            if results is None:
                return self._measured(model, split, files) if measured else {}
            batches = self.input_fn(files, training=False)
            told = predictions.Observer(self, batches, results)
            if measured and isinstance(engine, Engine) and type(self).evaluate is TorchTrainer.evaluate:
                metrics = engine.metrics(model, {"": batches}, test=True, observe=told)
                self._keep_tables(split)
                return metrics
            predictions.tell(self, engine.backend, model, batches, told)
        return self._measured(model, split, files) if measured else {}

    def _measured(self, model: nn.Module, split: str, files: Sequence[str]) -> dict[str, float]:
        metrics = self.evaluate(model, files)
        self._keep_tables(split)
        return metrics

    def _keep_tables(self, split: str) -> None:
        """Adds what the last evaluation said that is no single number, to be written into trainer_state.json."""
        tables = dict(getattr(self.engine, "last_tables", {}))
        self.engine.state.tables.update({f"{split}.{name}": table for name, table in tables.items()})

    def _run(self) -> TrainResult:
        """One rank's part of `run_fn`; of all of it, where it is the only one."""
        self.seed = process_group.agreed(self.seed)
        self._check_ranks()
        rng.seed(self.seed)
        try:
            with self.timings.of(timings.TRAINING), broadcast_labels_refused():
                self.train()
            with Termination.exits_at_once(self.engine.state.step):
                return self._publish()
        finally:
            if (engine := getattr(self, "engine", None)) is not None:
                engine.clean_up()

    def _publish(self) -> TrainResult:
        """What comes after the training, of which a checkpoint is there: evaluates, tests and saves the model."""
        engine, state = self.engine, self.engine.state
        with self.timings.of(timings.EVALUATION):
            metrics = self.validate() if self.eval_batches else {}
            state.tables = dict(getattr(engine, "last_tables", {}))
        with self.timings.of(timings.TEST):
            metrics.update(self.test())
        whole = saving.whole_model(engine)
        parity: dict[str, float] = {}
        if engine.backend.rank == 0:
            with self.timings.of(timings.EXPORT):
                data_values.check_weights(whole)
                parity = self.save(whole) or {}
                label_vocabulary.publish(self)
            engine.close(f"{self.fn_args.model_run_dir}/checkpoints")
            facts = {**state.as_dict(), "resumed_from": engine.resumed_from, "metrics": metrics, "parity": parity}
            self.write_state("pytorch", facts, self._started)
        best = state.best_step if engine.selection.selecting is not None and state.best is not None else None
        served = self._num_served(parity)
        return TrainResult(
            metrics, steps=state.step, framework="pytorch", parity=parity, best_step=best, serving_rows=served
        )

    def _check_ranks(self) -> None:
        size = process_group.world_size()
        if min(self.batch_size, self.schedule.num_examples) < size:
            got = f"batches of {self.batch_size} of {self.schedule.num_examples} examples for {size} ranks"
            raise PreflightError([Problem("train_args.batch_size", got, "at least one example for each rank")])

    def _facts(self) -> dict[str, Any]:
        engine, model = self.engine, self.model
        trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
        fixed = sum(parameter.numel() for parameter in model.parameters()) - trainable
        size = engine.backend.world_size
        groups = [group for optimizer in engine.optimizers for group in optimizer.param_groups]
        rates = dict.fromkeys(group.get("initial_lr", group["lr"]) for group in groups)  # before any schedule
        facts = {
            "model": f"{type(model).__name__}, {trainable + fixed:,} parameters, {trainable:,} of them trainable",
            "loss": self._sample.loss_name or "that of loss_fn",
            "optimizer": ", ".join(type(each).__name__ for each in engine.optimizers),
            "learning rate": ", ".join(f"{float(rate):g}" for rate in rates),
            "scheduler": self.scheduler,
            "precision": self.fn_args.train_args.precision or "32",
            "device": f"{engine.backend.device}"
            + (f", {size} ranks ({type(engine.backend).__name__})" if size > 1 else ""),
        }
        resumed = engine.resumed_from
        return facts if resumed is None else {**facts, "resumed": f"from step {resumed}"}
