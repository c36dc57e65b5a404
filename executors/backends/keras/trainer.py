"""KerasTrainer: the user writes the model, this the plumbing."""

from __future__ import annotations

import copy
import json
import math
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tensorflow as tf
from tfx.dsl.io import fileio

from polytrainer.executors import timings
from polytrainer.executors.backends.base import BaseTrainer
from polytrainer.executors.backends.keras import callbacks as callbacks_lib
from polytrainer.executors.backends.keras import formats, inputs, predictions, weights
from polytrainer.executors.backends.keras.callbacks import Progress
from polytrainer.executors.checkpoints import Checkpoints, check_variables
from polytrainer.executors.data import dataset
from polytrainer.executors.data.examples import filler
from polytrainer.executors.distributed import strategies
from polytrainer.executors.distributed.ranks import is_chief
from polytrainer.executors.errors import PreflightError
from polytrainer.executors.export import saved_model
from polytrainer.executors.export.signatures import signatures
from polytrainer.executors.fn_args import FnArgs
from polytrainer.executors.result import TrainResult
from polytrainer.executors.test_results.results import Results
from polytrainer.proto import args, export_args
from polytrainer.proto.problems import Problem

_POLICIES = {"": "float32", "32": "float32", "bf16-mixed": "mixed_bfloat16", "16-mixed": "mixed_float16"}
_CHECKED_EXAMPLES = 64
WEIGHTS_FOLDER = "Format-Keras"


class KerasTrainer(BaseTrainer):
    """Trains a Keras model; `model_fn` returns it compiled.

    Example:
        ```python
        class Penguins(KerasTrainer):
            def model_fn(self):
                inputs = {name: tf.keras.Input((1,), name=name) for name in FEATURES}
                joined = tf.keras.layers.Concatenate()(list(inputs.values()))
                hidden = tf.keras.layers.Dense(self.hidden, "relu")(joined)
                model = tf.keras.Model(inputs, tf.keras.layers.Dense(3, "softmax")(hidden))
                model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
                return model

        run_fn = Penguins(label_key="species_xf", hidden=16).run_fn
        ```

    The model may be functional, sequential or a subclass, and return a tensor or a dict of tensors. It is called with
    the features by name. What is trained is saved as `Format-Serving` and `Format-TFMA`, both with the signatures of
    `polytrainer.executors.export.signatures`, and the weights by layer in `Format-Keras`, for a later `base_model`;
    as `Format-ONNX` and `Format-TFLite`, where `ExportArgs` ask for them.
    """

    _PRECISIONS = ("32", "bf16-mixed", "16-mixed")
    _STRATEGIES = ("default", "mirrored", strategies.MULTI_WORKER)
    _FORMATS = (export_args.SAVED_MODEL, export_args.ONNX, export_args.TFLITE)

    # ---- the hooks

    def run_fn(self, fn_args: FnArgs) -> TrainResult:
        """Trains, evaluates, tests and saves: what TFX calls."""
        started = time.monotonic()
        self.bind(fn_args)
        tf.keras.backend.clear_session()  # layers are named from the beginning, whatever was trained before
        tf.keras.utils.set_random_seed(self.seed % 2**32)
        strategy = strategies.strategy(fn_args.train_args)
        with self._precision(), strategy.scope():
            model = self._built_model()
        formats.check(self, model)
        with self._precision(), strategy.scope():
            progress = Progress(self.schedule)
            resumed_from = self._restore(model, progress)
            if resumed_from is None and fn_args.base_model:
                self._warm_start(model)
            self.log_banner(self._facts(model, resumed_from))
            with self.timings.of(timings.TRAINING):
                self.train(model, progress)
            with self.timings.of(timings.EVALUATION):
                metrics = self.evaluate(model, self.files(fn_args.eval_files))
            with self.timings.of(timings.TEST):
                metrics.update(self.test_fn(model))
        # outside of the strategy's scope: what is traced inside belongs to its replicas
        with self._output_of_this_worker(), self.timings.of(timings.EXPORT):
            parity = self.save(model) or {}  # of those who override it, too, and return nothing
        if is_chief():
            told = {"resumed_from": resumed_from, "metrics": metrics, "parity": parity}
            self.write_state("keras", {**progress.saved(), **told}, started)
        best_step = progress.best_step if progress.best_weights is not None else None
        return TrainResult(metrics, steps=progress.step, framework="keras", parity=parity, best_step=best_step)

    def train(self, model: Any, progress: Progress) -> None:
        """Fits the model, from the step that `progress` is at to the last one."""
        schedule = self.schedule
        validation = inputs.batches(model, self.input_fn(self.files(self.fn_args.eval_files), training=False))
        if self.fn_args.eval_steps:
            validation = validation.take(self.fn_args.eval_steps)
        used = self.default_callbacks(model, progress)
        checkpoint = used.get("checkpoint")
        sigterm = (
            checkpoint.termination.listening() if isinstance(checkpoint, callbacks_lib.SaveCheckpoints) else _nothing()
        )
        model.stop_training = False
        with sigterm:
            while progress.step < schedule.total_steps and not (progress.stopped or model.stop_training):
                # an epoch that a resumed training is in the middle of is finished by itself
                done = progress.step % schedule.steps_per_epoch
                batches = self.input_fn(self.files(self.fn_args.train_files), training=True, first_step=progress.step)
                model.fit(
                    inputs.batches(model, batches),
                    initial_epoch=progress.epoch,
                    epochs=progress.epoch + 1 if done else schedule.num_epochs,
                    steps_per_epoch=schedule.steps_per_epoch - done,
                    validation_data=validation,
                    callbacks=[*used.values(), *self.callbacks()],
                    shuffle=False,  # the batches are
                    verbose=0,
                )
                if not done:
                    break
        if progress.best_weights is not None:
            model.set_weights(progress.best_weights)

    def callbacks(self) -> list[Any]:
        """Callbacks of your own, beside the default ones."""
        return []

    def default_callbacks(self, model: Any, progress: Progress) -> dict[str, Any]:
        """What is on by default, by name, in the order of calling; override to replace some or leave them out.

        `count` counts steps, ends training and ends it with an error if the loss is not finite; `timings` measures
        evaluations; `progress` prints; `history` writes metrics.csv; `tensorboard` writes events; `early_stopping` is
        there where `TrainArgs` ask for it; `checkpoint` saves what a run that died is resumed from.
        """
        train_args, logs = self.fn_args.train_args, os.path.join(self.fn_args.model_run_dir, "logs")
        # workers have the same folders: of two that write one file, one may take away what the other is at
        history = os.path.join(logs, "metrics.csv") if is_chief() else None
        used: dict[str, Any] = {
            "count": callbacks_lib.CountSteps(progress),
            "timings": callbacks_lib.TimeEvaluations(self.timings),
            "progress": callbacks_lib.PrintProgress(progress, train_args.log_every_n_steps),
            "history": callbacks_lib.KeepHistory(progress, history),
        }
        if is_chief():
            used["tensorboard"] = tf.keras.callbacks.TensorBoard(logs)
        if train_args.HasField("early_stopping"):
            stopping = train_args.early_stopping
            used["early_stopping"] = callbacks_lib.StopEarly(
                progress,
                stopping.metric or "loss",
                args.best_mode(stopping) or "min",
                stopping.patience or 3,
                stopping.min_delta,
            )
        if self.fn_args.checkpoint_dir:
            used["checkpoint"] = callbacks_lib.SaveCheckpoints(
                progress, lambda: self._save_checkpoint(model, progress), train_args.checkpoint_every_n_steps
            )
        return used

    def evaluate(self, model: Any, files: Sequence[str]) -> dict[str, float]:
        """The model's metrics over all examples of some files."""
        found = model.evaluate(inputs.batches(model, self.input_fn(files, training=False)), verbose=0, return_dict=True)
        return {name: float(value) for name, value in found.items()}

    def predict_fn(self, model: Any, features: Mapping[str, Any]) -> Any:
        """What the model says of a batch of features when it is not training; in the SavedModel too."""
        return model(inputs.taken(model, features), training=False)

    def save(self, model: Any) -> dict[str, float]:
        """Writes `Format-Serving`, `Format-TFMA`, `Format-Keras`, and those of `ExportArgs`; checks on real examples.

        Returns:
            By format, how far what was written is from the trained model: the largest difference.
        """
        between = self.interface()
        module = tf.Module()
        module.model = formats.trackable(model)
        made = signatures(module, lambda features: self.predict_fn(model, features), between)
        self._transform_layer = between.transform

        def predict_stored(examples: Any) -> Any:
            features, _, _ = self._parts(tf.io.parse_example(examples, self._stored_spec))
            return self.predict_fn(model, {name: features[name] for name in between.feature_names})

        module.predict_stored = tf.function(
            predict_stored, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False
        )
        stored = dataset.first_records(self.files(self.fn_args.eval_files), _CHECKED_EXAMPLES)
        raw = stored if self._is_raw or self.transform_output is None else [filler(between.raw_spec)]
        apart, tolerance = 0.0, export_args.tolerance(self.fn_args.export_args)
        for path in (self.fn_args.serving_model_dir, self.fn_args.eval_model_dir):
            saved_model.write(module, path, made)
            found = saved_model.check(
                path, stored, raw, lambda examples: module.predict_stored(tf.constant(list(examples))), tolerance
            )
            apart = max(apart, found)
        root = os.path.dirname(self.fn_args.serving_model_dir)
        weights.save(model, os.path.join(root, WEIGHTS_FOLDER))
        return {"saved_model": apart, **formats.write(self, model, root)}

    # ---- inside

    def _test(self, model: Any, split: str, files: Sequence[str], *, measured: bool) -> dict[str, float]:
        if is_chief() or getattr(self.fn_args, "test_results_dir", None) is None:
            return super()._test(model, split, files, measured=measured)
        found = self.evaluate(model, files) if measured else {}
        predictions.tell(self, model, files, None)  # a variable that workers average is read by all of them or none
        return found

    def _predict(self, model: Any, files: Sequence[str], results: Results) -> None:
        predictions.tell(self, model, files, results)

    def _built_model(self) -> Any:
        model = self.model_fn()
        if not isinstance(model, tf.keras.Model):
            got = f"{type(model).__module__}.{type(model).__name__}"
            raise PreflightError([Problem("what model_fn returned", got, "a tf.keras.Model, compiled")])
        if getattr(model, "optimizer", None) is None:
            remedy = 'model.compile("adam", "mse") before it is returned.'
            raise PreflightError(
                [Problem("what model_fn returned", "a model that is not compiled", "a compiled one", remedy)]
            )
        self._check_inputs(model)
        batches = self.input_fn(self.files(self.fn_args.eval_files), training=False)
        batch = next(iter(inputs.batches(model, batches)))
        model(batch if self.label_key is None else batch[0], training=False)
        if self.fn_args.train_args.strategy == strategies.MULTI_WORKER:
            # Keras 3 builds its metrics from the first batch, which it cannot do from one that is spread over workers
            model.test_on_batch(*(batch if self.label_key is not None else (batch,)))
            model.reset_metrics()
        if hasattr(model.optimizer, "build"):  # those of tf.keras.optimizers.legacy make their variables as they go
            model.optimizer.build(model.trainable_variables)
        return model

    def _check_inputs(self, model: Any) -> None:
        """Names the inputs of a functional model that no feature is for, before Keras says less."""
        wanted = getattr(model, "input", None) if not isinstance(model, tf.keras.Sequential) else None
        features = set(self.feature_spec) - {self.label_key}
        missing = sorted(set(wanted) - features) if isinstance(wanted, Mapping) else []
        if missing:
            remedy = f"There are {sorted(features)}."
            raise PreflightError([Problem("the model's inputs", str(missing), "names of features", remedy)])

    @contextmanager
    def _precision(self) -> Iterator[None]:
        before = tf.keras.mixed_precision.global_policy()
        tf.keras.mixed_precision.set_global_policy(_POLICIES[self.fn_args.train_args.precision])
        try:
            yield
        finally:
            tf.keras.mixed_precision.set_global_policy(before)

    def _warm_start(self, model: Any) -> None:
        folder = os.path.dirname(self.fn_args.base_model)
        path = os.path.join(folder, WEIGHTS_FOLDER, weights.FILE)
        if not fileio.exists(path):
            remedy = "Start from a model that KerasTrainer wrote, or override run_fn and load it yourself."
            raise PreflightError(
                [Problem("base_model", f"no {WEIGHTS_FOLDER} in {folder}", "weights by layer", remedy)]
            )
        try:
            match = weights.load(model, path)
        except ValueError as error:
            raise PreflightError(
                [Problem("base_model", str(error), "at least one layer of the same name and shape")]
            ) from error
        print(f"starting from {folder}: {match}", flush=True)

    def _save_checkpoint(self, model: Any, progress: Progress) -> None:
        with self.timings.of(timings.CHECKPOINTS):
            self._write_checkpoint(model, progress)

    def _write_checkpoint(self, model: Any, progress: Progress) -> None:
        def write(folder: Path) -> None:
            import numpy as np

            tf.train.Checkpoint(model=model, optimizer=model.optimizer).write(str(folder / "variables"))
            if progress.best_weights is not None:
                np.savez(folder / "best.npz", *progress.best_weights)
            (folder / "progress.json").write_text(json.dumps({**progress.saved(), "seed": self.seed}))

        if is_chief():
            assert self.fn_args.checkpoint_dir is not None
            Checkpoints(self.fn_args.checkpoint_dir).save(progress.step, write)
            return
        with tempfile.TemporaryDirectory() as folder:  # reading variables is something that all workers do together
            write(Path(folder))

    @contextmanager
    def _output_of_this_worker(self) -> Iterator[None]:
        """The model's folders for the chief; for the others, who have to take part in saving, some that are removed."""
        if is_chief():
            yield
            return
        before = self.fn_args
        with tempfile.TemporaryDirectory() as folder:
            self.fn_args = copy.copy(before)
            self.fn_args.serving_model_dir = os.path.join(folder, "Format-Serving")
            self.fn_args.eval_model_dir = os.path.join(folder, "Format-TFMA")
            try:
                yield
            finally:
                self.fn_args = before

    def _restore(self, model: Any, progress: Progress) -> int | None:
        """Goes on where a run that died was; returns the step, or None if there was none."""
        if not self.fn_args.checkpoint_dir:
            return None

        def read(folder: Path) -> int:
            import numpy as np

            saved = json.loads((folder / "progress.json").read_text())
            best = folder / "best.npz"
            if best.exists():
                with np.load(best, allow_pickle=False) as arrays:
                    progress.best_weights = [arrays[name] for name in arrays.files]
            check_variables(str(folder / "variables"))  # before any of them is overwritten
            checkpoint = tf.train.Checkpoint(model=model, optimizer=model.optimizer)
            checkpoint.read(str(folder / "variables")).assert_existing_objects_matched()
            progress.restore(saved)
            self.seed = saved["seed"]
            return int(saved["step"])

        return Checkpoints(self.fn_args.checkpoint_dir).restore(read)

    def _facts(self, model: Any, resumed_from: int | None) -> dict[str, Any]:
        trainable = sum(math.prod(variable.shape) for variable in model.trainable_variables)
        fixed = sum(math.prod(variable.shape) for variable in model.non_trainable_variables)
        facts = {
            "model": f"{model.name}, {trainable + fixed:,} parameters, {trainable:,} of them trainable",
            "optimizer": type(model.optimizer).__name__,
            "precision": self.fn_args.train_args.precision or "32",
            "device": ", ".join(device.name for device in tf.config.get_visible_devices()),
        }
        return facts if resumed_from is None else {**facts, "resumed": f"from step {resumed_from}"}


@contextmanager
def _nothing() -> Iterator[None]:
    yield
