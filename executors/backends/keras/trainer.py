"""KerasTrainer: the user writes the model, this the plumbing."""

from __future__ import annotations

import copy
import math
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import tensorflow as tf
from absl import logging
from tfx.dsl.io import fileio

from polytrainer.executors import timings
from polytrainer.executors.backends import data_checks, label_vocabulary
from polytrainer.executors.backends.base import BaseTrainer
from polytrainer.executors.backends.data_errors import first_batch_error, reason
from polytrainer.executors.backends.keras import callbacks as callbacks_lib
from polytrainer.executors.backends.keras import (
    compiled,
    formats,
    inputs,
    predictions,
    random_states,
    single_examples,
    weights,
)
from polytrainer.executors.backends.keras.callback_list import TrainingCallbacks
from polytrainer.executors.backends.keras.callback_states import CallbackStates
from polytrainer.executors.backends.keras.callbacks import Progress, SaveCheckpoints
from polytrainer.executors.backends.keras.training_checkpoint import TrainingCheckpoints
from polytrainer.executors.data import dataset
from polytrainer.executors.data.example_parsing import parse_examples
from polytrainer.executors.distributed import ranks, strategies
from polytrainer.executors.errors import PreflightError, TrainingError
from polytrainer.executors.export import argument_names, saved_model
from polytrainer.executors.export.signatures import SERVING, Interface, features_read, signatures
from polytrainer.executors.fn_args import FnArgs
from polytrainer.executors.monitors import ModelSelection
from polytrainer.executors.result import TrainResult
from polytrainer.executors.termination import Termination
from polytrainer.executors.test_results.results import Results
from polytrainer.proto import export_args
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
    as `Format-ONNX`, `Format-TFLite` and `Format-TFJS`, where `ExportArgs` ask for them.
    """

    _PRECISIONS = ("32", "bf16-mixed", "16-mixed")
    _STRATEGIES = ("default", "mirrored", ranks.MULTI_WORKER)
    _FORMATS = (export_args.SAVED_MODEL, export_args.ONNX, export_args.TFLITE, export_args.TFJS)
    _BOUND = (*BaseTrainer._BOUND, "_checkpoints")
    _checkpoints: TrainingCheckpoints | None = None

    # ---- the hooks

    def run_fn(self, fn_args: FnArgs) -> TrainResult:
        """Trains, evaluates, tests and saves: what TFX calls."""
        started = time.monotonic()
        self.bind(fn_args)
        tf.keras.backend.clear_session()  # layers are named from the beginning, whatever was trained before
        tf.keras.utils.set_random_seed(self.seed % 2**32)
        strategy = strategies.strategy(fn_args.train_args)
        with random_states.resumable_generators(), ExitStack() as stack:
            with self._precision(), strategy.scope():
                model = self._built_model()
            if self._is_chief:
                self._check_room(sum(math.prod(each.shape) * _bytes_of(each) for each in model.weights))
            formats.check(self, model)
            self._check_signatures(model)
            with self._precision(), strategy.scope():
                progress = Progress(self.schedule)
                resumed_from = self._restore(model, progress)
                if resumed_from is None and fn_args.base_model:
                    self._warm_start(model)
                self.log_banner(self._facts(model, resumed_from))
                if not progress.trained:
                    with self.timings.of(timings.TRAINING):
                        self.train(model, progress)
                    progress.ended = progress.trained = True
                    self._save_checkpoint()
                stack.enter_context(self._sigterm_after(progress.step))
                with self.timings.of(timings.EVALUATION):
                    metrics = self.evaluate(model, self.files(fn_args.eval_files))
                with self.timings.of(timings.TEST):
                    metrics.update(self.test_fn(model))
            # outside of the strategy's scope: what is traced inside belongs to its replicas
            with self._output_of_this_worker(), self.timings.of(timings.EXPORT):
                parity = self.save(model) or {}  # of those who override it, too, and return nothing
                label_vocabulary.publish(self)
            if self._is_chief:
                told = {"resumed_from": resumed_from, "metrics": metrics, "parity": parity}
                self.write_state("keras", {**progress.saved(), **told}, started)
        best_step = progress.best_step if progress.best is not None else None
        return TrainResult(
            metrics,
            steps=progress.step,
            framework="keras",
            parity=parity,
            best_step=best_step,
            serving_rows=self._num_served(parity),
        )

    def train(self, model: Any, progress: Progress) -> None:
        """Fits the model, from the step that `progress` is at to the last one, and gives it the weights to publish."""
        validation = self._validation(model)
        default, own = self.default_callbacks(model, progress), self._own_callbacks()
        checkpoints = self._checkpoints
        if checkpoints is not None:
            replaced = [callback for callback in default.values() if not _is_ours(callback)]
            checkpoints.callbacks = CallbackStates([*own, *replaced])
            checkpoints.check_callbacks()
        restore = checkpoints.restore_begun if checkpoints is not None else _nothing
        callbacks = TrainingCallbacks(default, own, model, progress, restore)
        model.stop_training = False
        with _listening(default.get("checkpoint")), _finalized_once(model.optimizer):
            if progress.ended or progress.epoch_logs is not None:
                callbacks.on_train_begin()
            if progress.epoch_logs is not None:
                self._end_epoch(model, progress, callbacks, validation)
            while not progress.ended:
                self._fit(model, progress, callbacks, validation)
        self._finalize(model, own)
        callbacks.end()
        if progress.best_weights is not None:
            model.set_weights(progress.best_weights)
            progress.best_weights = None

    def _fit(self, model: Any, progress: Progress, callbacks: TrainingCallbacks, validation: Any) -> None:
        """Fits to the end of the training; or to that of the epoch that a resumed one is in the middle of."""
        schedule, first = self.schedule, progress.step
        done = first % schedule.steps_per_epoch
        epochs, steps = schedule.num_epochs, schedule.steps_per_epoch - done
        if schedule.total_steps - first < steps:  # Keras may execute several steps at once, and more than are left
            steps = schedule.total_steps - first
        elif not done and schedule.total_steps % schedule.steps_per_epoch and _executes_several_steps(model):
            epochs -= 1
        batches = self.input_fn(self.files(self.fn_args.train_files), training=True, first_step=first)
        try:
            model.fit(
                inputs.batches(model, batches),
                initial_epoch=progress.epoch,
                epochs=progress.epoch + 1 if done else epochs,
                steps_per_epoch=steps,
                validation_data=validation,
                callbacks=callbacks,
                shuffle=False,  # the batches are
                verbose=0,
            )
        except tf.errors.InvalidArgumentError as error:
            where = f"the batches after step {progress.step}"
            expected = "such as the model and its loss take"
            raise TrainingError(
                Problem(where, reason(error), expected, "Is a label the number of no class?")
            ) from error
        end = first + steps if done else min(epochs * schedule.steps_per_epoch, schedule.total_steps)
        if progress.step == first:
            progress.ended = True  # nobody counts
        elif progress.step < end and not progress.ended:
            got = f"batches that end after {progress.step - first} of {end - first} steps"
            remedy = "With training=True it goes on epoch after epoch: .repeat() the dataset, or call super().input_fn."
            raise TrainingError(Problem("input_fn", got, "one for each step", remedy))

    def _end_epoch(self, model: Any, progress: Progress, callbacks: TrainingCallbacks, validation: Any) -> None:
        """Ends an epoch whose steps were all taken when the training was saved."""
        assert progress.epoch_logs is not None
        logs, epoch = dict(progress.epoch_logs), (progress.step - 1) // self.schedule.steps_per_epoch
        found = model.evaluate(validation, callbacks=callbacks, verbose=0, return_dict=True)
        callbacks.on_epoch_end(epoch, {**logs, **{f"val_{name}": value for name, value in found.items()}})

    def _finalize(self, model: Any, callbacks: Sequence[Any]) -> None:
        """Gives the model the averages of its weights, where the optimizer has them: once, as one `fit` would do.

        A callback that swaps them in after each epoch has done so, and the optimizer holds what it has swapped out.
        """
        swapped = any(getattr(callback, "_ema_weights_in_model", False) for callback in callbacks)
        if hasattr(model.optimizer, "finalize_variable_values") and not swapped:
            model.optimizer.finalize_variable_values(model.trainable_variables)

    def _own_callbacks(self) -> list[Any]:
        """The user's callbacks, without Keras's that would resume the training itself."""
        own = []
        for callback in self.callbacks():
            if isinstance(callback, tf.keras.callbacks.BackupAndRestore):
                logging.warning("BackupAndRestore is left out: KerasTrainer goes on by itself where a training died.")
            else:
                own.append(callback)
        return own

    def _validation(self, model: Any) -> tf.data.Dataset:
        """The batches that the training is evaluated on: those of the eval splits, or the first of them."""
        batches = inputs.batches(model, self.input_fn(self.files(self.fn_args.eval_files), training=False))
        return batches.take(self.fn_args.eval_steps) if self.fn_args.eval_steps else batches

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
        history = os.path.join(logs, "metrics.csv") if self._is_chief else None
        used: dict[str, Any] = {
            "count": callbacks_lib.CountSteps(progress),
            "timings": callbacks_lib.TimeEvaluations(self.timings),
            "progress": callbacks_lib.PrintProgress(progress, train_args.log_every_n_steps),
            "history": callbacks_lib.KeepHistory(progress, history),
        }
        if self._is_chief:
            used["tensorboard"] = callbacks_lib.WriteEvents(logs)
        if train_args.HasField("early_stopping"):
            used["early_stopping"] = callbacks_lib.StopEarly(progress, ModelSelection.from_args(train_args))
        if self.fn_args.checkpoint_dir:
            used["checkpoint"] = SaveCheckpoints(progress, self._save_checkpoint, train_args.checkpoint_every_n_steps)
        return used

    def evaluate(self, model: Any, files: Sequence[str]) -> dict[str, float]:
        """The model's metrics over all examples of some files."""
        batches = inputs.batches(model, self.input_fn(files, training=False))
        return callbacks_lib.numbers(model.evaluate(batches, verbose=0, return_dict=True))

    def predict_fn(self, model: Any, features: Mapping[str, Any]) -> Any:
        """What the model says of a batch of features when it is not training; in the SavedModel too."""
        return model(inputs.taken(model, features), training=False)

    def save(self, model: Any) -> dict[str, float]:
        """Writes `Format-Serving`, `Format-TFMA`, `Format-Keras`, and those of `ExportArgs`; checks on real examples.

        Returns:
            By format, how far what was written is from the trained model: the largest difference.
        """
        weights.check_finite(model)
        module, between, made = self._signatures(model)
        self._transform_layer = between.transform

        def predict_stored(examples: Any) -> Any:
            features, _, _ = self._parts(parse_examples(examples, self._stored_spec))
            return self.predict_fn(model, {name: features[name] for name in between.feature_names})

        module.predict_stored = tf.function(
            predict_stored, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False
        )
        stored = dataset.first_records(self.files(self.fn_args.eval_files), _CHECKED_EXAMPLES)
        apart, tolerance = 0.0, export_args.tolerance(self.fn_args.export_args)
        for path in (self.fn_args.serving_model_dir, self.fn_args.eval_model_dir):
            saved_model.write(module, path, made)
            argument_names.write(path, between.argument_names)
            found = saved_model.check(
                path,
                stored,
                lambda examples: module.predict_stored(tf.constant(list(examples))),
                self.raw_rows,
                lambda examples: self._predict_raw(model, between, examples),
                tolerance,
            )
            apart = max(apart, found)
        root = os.path.dirname(self.fn_args.serving_model_dir)
        weights.save(model, os.path.join(root, WEIGHTS_FOLDER))
        return {"saved_model": apart, **formats.write(self, model, root)}

    # ---- inside

    def _signatures(self, model: Any) -> tuple[tf.Module, Interface, dict[str, Any]]:
        """A module to be saved, what stands between a raw example and the model, and the signatures."""

        def predict(features: Mapping[str, Any]) -> Any:
            return self.predict_fn(model, features)

        between = self.interface()
        between = between.of_reading(features_read(predict, between.feature_spec))
        module = tf.Module()
        module.model = formats.trackable(model)
        return module, between, signatures(module, predict, between, self._label_encoders)

    def _check_signatures(self, model: Any) -> None:
        """Makes and calls the signatures of the untrained model: what does not fit is found before it is trained.

        Raises:
            PreflightError: If they cannot be made.
        """
        if type(self).save is not KerasTrainer.save:
            return
        try:
            _, between, made = self._signatures(model)
        except TrainingError as error:  # what `interface` says after a training
            raise PreflightError(error.problems) from error
        except Exception as error:  # of many kinds
            got = f"a model that cannot be called on what is made of raw examples ({type(error).__name__}: {error})"
            raise PreflightError([Problem("the serving signature", got, "predictions")]) from error
        saved_model.check_serving_signature(made[SERVING], self.raw_rows, between.raw_spec)

    def _predict_raw(self, model: Any, between: Interface, serialized: Sequence[bytes]) -> Any:
        """What the model in memory says of raw examples."""
        features = between.features_of(list(serialized))
        return self.predict_fn(model, {name: features[name] for name in between.feature_names})

    def _test(self, model: Any, split: str, files: Sequence[str], *, measured: bool) -> dict[str, float]:
        if self._is_chief or getattr(self.fn_args, "test_results_dir", None) is None:
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
        data_checks.check_finite(self, BaseTrainer.input_fn, self._anomalies, inputs.names(model))
        metrics = self._first_metrics(model)
        selection = ModelSelection.from_args(self.fn_args.train_args)
        if problems := selection.problems(callbacks_lib.numbers(metrics), evaluates=True):
            raise PreflightError(problems)
        if hasattr(model.optimizer, "build"):  # those of tf.keras.optimizers.legacy make their variables as they go
            model.optimizer.build(model.trainable_variables)
        return model

    def _first_metrics(self, model: Any) -> dict[str, Any]:
        """Metrics of the untrained model on the first batch, which builds the model.

        Raises:
            PreflightError: If model, loss or metrics do not take it.
        """
        validation = self._validation(model)
        batch = next(iter(validation))
        parts = batch if isinstance(batch, tuple) else (batch,)
        try:
            model(parts[0], training=False)
            if type(self).input_fn is BaseTrainer.input_fn:
                single_examples.check(self, model)
            if self.fn_args.train_args.strategy == ranks.MULTI_WORKER:
                # Keras 3 builds its metrics from the first batch, which it cannot do from one spread over workers
                metrics = model.test_on_batch(*parts, return_dict=True)
            else:
                metrics = model.evaluate(validation.take(1), verbose=0, return_dict=True)
        except (tf.errors.OpError, ValueError, TypeError) as error:
            if isinstance(error, PreflightError):
                raise
            label = parts[1] if len(parts) > 1 else None
            raise first_batch_error(error, parts[0], label, self.label_key, "keras") from error
        model.reset_metrics()
        return dict(metrics)

    def _check_inputs(self, model: Any) -> None:
        """Names the inputs of a functional model that no feature is for, before Keras says less."""
        wanted = getattr(model, "input", None) if not isinstance(model, tf.keras.Sequential) else None
        features = set(self.feature_spec) - self.not_given
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

    def _save_checkpoint(self) -> None:
        if self._checkpoints is not None:
            with self.timings.of(timings.CHECKPOINTS):
                self._checkpoints.save()

    def _sigterm_after(self, step: int) -> AbstractContextManager[None]:
        """After the last step SIGTERM ends the process at once, where there is a checkpoint to go on from."""
        return nullcontext() if self._checkpoints is None else Termination.exits_at_once(step)

    @contextmanager
    def _output_of_this_worker(self) -> Iterator[None]:
        """The model's folders for the chief; for the others, who have to take part in saving, some that are removed."""
        if self._is_chief:
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
        self._checkpoints = TrainingCheckpoints(
            self.fn_args.checkpoint_dir, model, progress, self.seed, is_chief=self._is_chief
        )
        saved = self._checkpoints.restore()
        if saved is None:
            return None
        self.seed = saved["seed"]
        return progress.step

    def _facts(self, model: Any, resumed_from: int | None) -> dict[str, Any]:
        trainable = sum(math.prod(variable.shape) for variable in model.trainable_variables)
        fixed = sum(math.prod(variable.shape) for variable in model.non_trainable_variables)
        facts = {
            "model": f"{model.name}, {trainable + fixed:,} parameters, {trainable:,} of them trainable",
            "loss": compiled.loss_name(model.loss),
            "optimizer": type(model.optimizer).__name__,
            "learning rate": compiled.learning_rate(model.optimizer),
            "precision": self.fn_args.train_args.precision or "32",
            "device": ", ".join(device.name for device in tf.config.get_visible_devices()),
        }
        return facts if resumed_from is None else {**facts, "resumed": f"from step {resumed_from}"}


def _nothing() -> None:
    """Gives nothing back."""


def _is_ours(callback: Any) -> bool:
    return type(callback).__module__.startswith("polytrainer.")


def _listening(checkpoint: Any) -> AbstractContextManager[None]:
    """SIGTERM is served by the callback that saves."""
    return checkpoint.termination.listening() if isinstance(checkpoint, SaveCheckpoints) else nullcontext()


def _executes_several_steps(model: Any) -> bool:
    """Whether Keras calls the callbacks of batches once for several of them."""
    steps = getattr(model, "steps_per_execution", None) or getattr(model, "_steps_per_execution", None)
    return steps is not None and int(steps) > 1


@contextmanager
def _finalized_once(optimizer: Any) -> Iterator[None]:
    """Each `fit` ends with `finalize_variable_values`; not within the context, which is of a whole training."""
    if not hasattr(optimizer, "finalize_variable_values"):  # those of tf.keras.optimizers.legacy
        yield
        return
    optimizer.finalize_variable_values = lambda *_, **__: None
    try:
        yield
    finally:
        del optimizer.finalize_variable_values


def _bytes_of(variable: Any) -> int:
    """Of one number of a variable, of Keras 2 or 3."""
    return int(tf.as_dtype(variable.dtype).size)
