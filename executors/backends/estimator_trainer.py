"""EstimatorTrainer: the user builds the Estimator, this the plumbing. On every TensorFlow line."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import cached_property
from typing import Any

import tensorflow as tf
from tfx.dsl.io import fileio
from tfx.utils import io_utils

from polytrainer.executors import timings
from polytrainer.executors.backends import (
    data_checks,
    estimator_checkpoints,
    estimator_checks,
    estimator_formats,
    estimator_predictions,
    estimator_serving,
    estimator_shim,
    estimator_weights,
    label_vocabulary,
)
from polytrainer.executors.backends.base import BaseTrainer
from polytrainer.executors.backends.data_errors import reason, text_label
from polytrainer.executors.backends.estimator_checkpoints import newest_readable_step, step_of
from polytrainer.executors.backends.estimator_history import EvaluationHistory
from polytrainer.executors.backends.estimator_hooks import MeanLossHook, TrainingHook
from polytrainer.executors.backends.estimator_scopes import any_feature_name
from polytrainer.executors.data.example_parsing import fill_defaults, parse_examples
from polytrainer.executors.distributed.ranks import cluster_of_the_job, is_chief_of_cluster
from polytrainer.executors.errors import PreflightError, TrainingError, loss_not_finite
from polytrainer.executors.export import argument_names, finite
from polytrainer.executors.export.signatures import TRANSFORM, Interface
from polytrainer.executors.fn_args import FnArgs
from polytrainer.executors.monitors import ModelSelection
from polytrainer.executors.result import TrainResult
from polytrainer.executors.run_record import MetricsCsv
from polytrainer.executors.termination import Termination
from polytrainer.executors.test_results.results import Results
from polytrainer.proto import export_args
from polytrainer.proto.problems import Problem

NAMED = "raw"  # signatures that take raw features by name are `raw:predict` and so on, as Estimator calls them


class EstimatorTrainer(BaseTrainer):
    """Trains an Estimator; `model_fn` returns it, canned or custom.

    Example:
        ```python
        class Penguins(EstimatorTrainer):
            def model_fn(self):
                columns = [tf.feature_column.numeric_column(name) for name in FEATURES]
                return tf.estimator.DNNClassifier(self.hidden, columns, n_classes=3)

        run_fn = Penguins(label_key="species_xf", hidden=[16]).run_fn
        ```

    Model folder, configuration, seed and warm start (from `base_model`) are given to it here. It is saved as
    `Format-Serving` with Estimator's own signatures on serialized raw tf.Examples, the same on raw features by name
    (`raw:predict`, …), and `transform_features`. `Format-TFMA` is an EvalSavedModel where TFMA has one (TFX 1.15), else
    the same model again. What `Estimator.predict` says, less what are words, is also written as `Format-ONNX`,
    `Format-TFLite` and `Format-TFJS`, where `ExportArgs` ask for them.
    """

    _FORMATS = (export_args.SAVED_MODEL, export_args.ONNX, export_args.TFLITE, export_args.TFJS)
    _BOUND = (*BaseTrainer._BOUND, "selection", "is_weighted")
    _checkpoint: str | None = None  # to evaluate and save; None for the newest
    _eval_steps: int | None = None  # of the evaluations while training; None for whole splits
    _first_step = 0  # of the graph that is trained next
    _mean_loss: MeanLossHook | None = None  # of the evaluation that was begun last

    def run_fn(self, fn_args: FnArgs) -> TrainResult:
        """Trains, evaluates, tests and saves: what TFX calls."""
        started = time.monotonic()
        with estimator_shim.available(), cluster_of_the_job(), ExitStack() as stack:
            self.bind(fn_args)
            stack.enter_context(any_feature_name(self.feature_spec))
            folder = os.path.join(fn_args.checkpoint_dir or fn_args.model_run_dir, "estimator")
            data_checks.check_finite(self, BaseTrainer.input_fn, self._anomalies)
            resumed_from = newest_readable_step(folder)
            self._count_examples()
            estimator = self._configured(self.model_fn(), folder)
            estimator_checks.check(self, estimator, resumed_from)
            estimator_formats.check(self, estimator)
            if type(self).save is EstimatorTrainer.save:
                estimator_checks.check_serving(self, estimator)
            facts = {
                "model": type(estimator).__name__,
                "precision": "32",
                "device": ", ".join(device.name for device in tf.config.get_visible_devices()),
            }
            self.log_banner({**facts, "resumed": f"from step {resumed_from}"} if resumed_from else facts)
            with self.timings.of(timings.TRAINING):
                history = self.train(estimator, resumed_from)
            if not is_chief_of_cluster():  # who evaluates and saves what all of them have trained
                return TrainResult({}, framework="estimator")
            steps = int(estimator.get_variable_value("global_step"))
            with Termination.exits_at_once(steps):  # all that follows can be done again from the last checkpoint
                metrics, parity = self._finish(estimator, history, steps)
                self._keep_logs(folder)
                results = {"step": steps, "history": history, "resumed_from": resumed_from or None, "metrics": metrics}
                self.write_state("estimator", {**results, "parity": parity}, started)
            best_step = step_of(self._checkpoint) if self._checkpoint else None
        return TrainResult(
            metrics,
            steps=steps,
            framework="estimator",
            parity=parity,
            best_step=best_step,
            serving_rows=self._num_served(parity),
        )

    def _count_examples(self) -> None:
        """Reads what the data has to be read for: within an Estimator's graph nothing is read."""
        _ = self.schedule
        if self.class_weights is not None:
            _ = self._weight_by_class

    def _finish(
        self, estimator: Any, history: list[dict[str, float]], steps: int
    ) -> tuple[dict[str, float], dict[str, float]]:
        """Evaluates, tests and saves the trained model; returns its metrics, and the parity of each format."""
        with self.timings.of(timings.EVALUATION):
            metrics = self.evaluate(estimator, self.files(self.fn_args.eval_files))
        if not history:  # without evaluations while training, this one is the history
            history.append({"step": steps, **self._epoch_and_learning_rates(estimator, steps), **metrics})
            self._metrics_csv().write(history)
        with self.timings.of(timings.TEST):
            metrics.update(self.test_fn(estimator))
        with self.timings.of(timings.EXPORT):
            parity = self.save(estimator) or {}  # of those who override it, too, and return nothing
            label_vocabulary.publish(self)
        return metrics, parity

    def train(self, estimator: Any, first_step: int) -> list[dict[str, float]]:
        """Trains to the last step, in one go, or epoch by epoch where early stopping asks for evaluations.

        Returns:
            Metrics of each evaluation. What is evaluated and saved from then on is the best checkpoint, where there is
            early stopping, else the last.
        """
        schedule = self.schedule
        self._checkpoint = None
        if self.selection.stopping is None:
            self._train_until(estimator, first_step, schedule.total_steps)
            return []
        history = EvaluationHistory.restore(estimator.model_dir, self.selection, first_step)
        metrics_csv, step = self._metrics_csv(), first_step
        while True:
            if self._is_evaluated_at(step) and not history.has_evaluation(step):
                with Termination.exits_at_once(step):
                    metrics = self._evaluate_while_training(estimator)
                    recorded = self._epoch_and_learning_rates(estimator, step)
                    history.add(step, metrics, estimator.latest_checkpoint(), recorded)
            metrics_csv.write(history.rows)
            if step >= schedule.total_steps or history.state.stopped:
                break
            until = min(schedule.total_steps, (step // schedule.steps_per_epoch + 1) * schedule.steps_per_epoch)
            self._train_until(estimator, step, until)
            step = until
        self._checkpoint = history.best_checkpoint
        return history.rows

    def evaluate(self, model: Any, files: Sequence[str]) -> dict[str, float]:
        """The Estimator's metrics over all examples of some files.

        `loss` is the mean over the examples, whatever the batch size: each batch's loss counts by its examples.
        """
        metrics = model.evaluate(
            lambda: self.input_batches(files, training=False),
            steps=self._eval_steps,
            checkpoint_path=self._checkpoint,
        )
        metrics = {name: float(value) for name, value in metrics.items() if name != "global_step"}
        return metrics if self._mean_loss is None else {**metrics, "loss": self._mean_loss.mean}

    @property
    def weight_column(self) -> str:
        """Name of the feature that holds the example weights, for the `weight_column` of an Estimator.

        `weight_key`, or `example_weight` without one (`class_weights`, an `input_fn` with weights). It is there in
        training and evaluation, `[batch, 1]`, not when the model is served.
        """
        return self.weight_key or estimator_weights.DEFAULT_COLUMN

    @cached_property
    def selection(self) -> ModelSelection:
        """Which evaluation is the best, and when training stops."""
        return ModelSelection.from_args(self.fn_args.train_args)

    @cached_property
    def is_weighted(self) -> bool:
        """Whether training examples have weights."""
        if self.weight_key is not None or self.class_weights is not None:
            return True
        if type(self).input_fn is BaseTrainer.input_fn:
            return False
        with tf.Graph().as_default():
            return estimator_weights.has_weights(self.input_fn(self.files(self.fn_args.train_files), training=True))

    def input_batches(self, files: Sequence[str], *, training: bool, first_step: int = 0) -> Any:
        """What `input_fn` gives, with the weights, where there are any, among the features."""
        batches = self.input_fn(files, training=training, first_step=first_step)
        return estimator_weights.add_weight_feature(batches, self.weight_column, always=self.is_weighted)

    def metric_names(self, spec: Any) -> set[str] | None:
        """Names of the metrics of an evaluation, of its EstimatorSpec; None where `evaluate` is the user's own."""
        if type(self).evaluate is not EstimatorTrainer.evaluate:
            return None
        return {*(spec.eval_metric_ops or {}), "loss"}

    def save(self, estimator: Any) -> dict[str, float]:
        """Writes `Format-Serving` and `Format-TFMA`, calls the first on real examples; and the formats of `ExportArgs`.

        Returns:
            By format, how far what was written is from the trained model: the largest difference.
        """
        finite.check_weights([], estimator_checkpoints.variables(self._checkpoint or estimator.latest_checkpoint()))
        between = estimator_formats.narrowed(self, estimator)
        serving = estimator.export_saved_model(
            os.path.join(self.fn_args.model_run_dir, "export"),
            lambda: self._receiver(between),
            checkpoint_path=self._checkpoint,
        )
        serving = serving.decode() if isinstance(serving, bytes) else serving
        apart = estimator_serving.check(self, estimator, serving, between)
        argument_names.write(serving, between.argument_names)
        io_utils.copy_dir(serving, self.fn_args.serving_model_dir)
        import tensorflow_model_analysis as tfma

        if hasattr(getattr(tfma, "export", None), "export_eval_savedmodel"):
            exported = tfma.export.export_eval_savedmodel(
                estimator=estimator,
                export_dir_base=serving + "-eval",
                eval_input_receiver_fn=lambda: self._eval_receiver(between),
                checkpoint_path=self._checkpoint,
            )
            serving = exported.decode() if isinstance(exported, bytes) else exported
        io_utils.copy_dir(serving, self.fn_args.eval_model_dir)
        fileio.rmtree(os.path.join(self.fn_args.model_run_dir, "export"))
        root, checkpoint = os.path.dirname(self.fn_args.serving_model_dir), self._checkpoint
        parity = estimator_formats.write(self, estimator, checkpoint or estimator.latest_checkpoint(), root)
        return parity if apart is None else {"saved_model": apart, **parity}

    # ---- inside

    def _predict(self, model: Any, files: Sequence[str], results: Results) -> None:
        estimator_predictions.tell(self, model, files, results)

    def _configured(self, estimator: Any, folder: str) -> Any:
        """The same Estimator in our folder, with our seed, our start, and one more signature."""
        from tensorflow_estimator.python.estimator.estimator import Estimator  # tf.estimator.Estimator is one of these,
        # and so is what tf.estimator.add_metrics returns

        if not isinstance(estimator, Estimator):
            got = f"{type(estimator).__module__}.{type(estimator).__name__}"
            raise PreflightError([Problem("what model_fn returned", got, "a tf.estimator.Estimator")])
        every = self.fn_args.train_args.checkpoint_every_n_steps or self.schedule.steps_per_epoch
        config = estimator.config.replace(
            model_dir=folder, tf_random_seed=self.seed, save_checkpoints_steps=every, save_checkpoints_secs=None
        )

        def model_fn(features: Any, labels: Any, mode: Any, config: Any) -> Any:
            if mode == tf.estimator.ModeKeys.PREDICT:
                return self._predicting(estimator, features, config)
            if mode == tf.estimator.ModeKeys.TRAIN:
                # each graph draws from its seed anew: with the same one, each would drop out the same units
                tf.compat.v1.set_random_seed(self.seed + self._first_step)
                # a Keras optimizer cannot be used in a second graph: each has an Estimator of its own
                return self.model_fn().model_fn(features, labels, mode, config)
            spec = estimator.model_fn(features, labels, mode, config)
            self._mean_loss = MeanLossHook(spec.loss, estimator_weights.batch_size(features))
            return spec._replace(evaluation_hooks=[*(spec.evaluation_hooks or ()), self._mean_loss])

        return tf.estimator.Estimator(model_fn, config=config, warm_start_from=self.fn_args.base_model)

    def _predicting(self, estimator: Any, features: Any, config: Any) -> Any:
        """The Estimator as it predicts: without label and weight, with one more signature."""
        features = dict(features)
        beside = estimator_predictions.told_beside(features)
        parsed = {
            name: self._label_encoders[name](tensor) if name in self._label_encoders else _dense(tensor)
            for name, tensor in features.items()
        }
        for name in {self.label_key, self.weight_key} & set(features):
            del features[name]
        spec = estimator.model_fn(features, None, tf.estimator.ModeKeys.PREDICT, config)
        outputs = {**(spec.export_outputs or {}), TRANSFORM: _transformed_output(parsed)}
        return estimator_predictions.with_beside(spec._replace(export_outputs=outputs), beside)

    def _metrics_csv(self) -> MetricsCsv:
        return MetricsCsv(os.path.join(self.fn_args.model_run_dir, "logs", "metrics.csv"))

    def _epoch_and_learning_rates(self, estimator: Any, step: int) -> dict[str, float]:
        """What a row of the history has beside the metrics of an evaluation of the newest checkpoint."""
        rates = estimator_checkpoints.learning_rates(estimator.latest_checkpoint())
        return {"epoch": step / self.schedule.steps_per_epoch, **rates}

    def _is_evaluated_at(self, step: int) -> bool:
        """Whether there is an evaluation after a step, with early stopping."""
        return step > 0 and (step % self.schedule.steps_per_epoch == 0 or step >= self.schedule.total_steps)

    def _evaluate_while_training(self, estimator: Any) -> dict[str, float]:
        """Metrics of the newest checkpoint, on as much as `EvalArgs.num_steps` says."""
        self._eval_steps = self.fn_args.eval_steps
        try:
            with self.timings.of(timings.EVALUATION):
                return self.evaluate(estimator, self.files(self.fn_args.eval_files))
        finally:
            self._eval_steps = None

    def _train_until(self, estimator: Any, step: int, until: int) -> None:
        if step >= until:
            return
        self._first_step = step
        hook = TrainingHook(self.schedule, step, self.fn_args.train_args.log_every_n_steps)
        files = self.files(self.fn_args.train_files)
        try:
            with hook.termination.listening():
                estimator.train(
                    lambda: self.input_batches(files, training=True, first_step=step), max_steps=until, hooks=[hook]
                )
        except tf.compat.v1.train.NanLossDuringTrainingError as error:
            last = None if hook.loss is None else (hook.step, hook.loss)
            raise loss_not_finite(math.nan, hook.step + 1, last) from error
        except tf.errors.OpError as error:
            if (
                hook.loss is None
                and self.label_key is not None
                and self.feature_spec[self.label_key].dtype == tf.string
            ):
                raise PreflightError([text_label(self.label_key, "estimator")]) from error
            where, expected = f"the batches after step {hook.step}", "such as the Estimator takes"
            raise TrainingError(Problem(where, reason(error), expected)) from error
        if hook.termination.wished:
            raise hook.termination.error(hook.step)

    def _receiver(self, between: Interface) -> Any:
        """Serialized raw tf.Examples in, or raw features by name."""
        examples = tf.compat.v1.placeholder(tf.string, [None], name="examples")
        parsed = parse_examples(examples, between.label_optional_spec, between.not_served)
        # operations of their own to be fed: several that come of one cannot be cut from it one by one
        parsed = {name: each if hasattr(each, "dense_shape") else tf.identity(each) for name, each in parsed.items()}
        needed = {name: parsed[name] for name in between.serving_names}
        by_name = {between.argument_names[name]: tensor for name, tensor in needed.items()}
        # what is fed by name must not depend on the examples, as all that one call of Transform makes does
        features = {**self._transformed(parsed), **self._transformed(needed)}
        return tf.estimator.export.ServingInputReceiver(
            features, {"examples": examples}, receiver_tensors_alternatives={NAMED: by_name}
        )

    def _eval_receiver(self, between: Interface) -> Any:
        import tensorflow_model_analysis as tfma

        examples = tf.compat.v1.placeholder(tf.string, [None], name="input_example_tensor")
        features = self._transformed(parse_examples(examples, between.raw_spec))
        labels = features.get(self.label_key or "")
        if self._encode_label is not None:
            labels = self._encode_label(labels)
        if self.is_weighted:
            weight = None if self.weight_key is None else features.pop(self.weight_key)
            features, _ = estimator_weights.with_weight_feature(self.weight_column, features, labels, weight)
        return tfma.export.EvalInputReceiver(features=features, labels=labels, receiver_tensors={"examples": examples})

    def _transformed(self, raw: Any) -> dict[str, Any]:
        if self.transform_output is None:
            return dict(raw)
        return fill_defaults(
            self.transform_output.transform_raw_features(raw, drop_unused_features=True), self.feature_spec
        )

    def _keep_logs(self, folder: str) -> None:
        """Copies events beside the other logs: the folder they are in goes when the run succeeds."""
        for parent, _, names in list(fileio.walk(folder)):
            for name in names:
                if name.startswith("events.out.tfevents."):
                    inside = os.path.normpath(os.path.join(os.path.relpath(parent, folder), name))
                    target = os.path.join(self.fn_args.model_run_dir, "logs", inside)  # perhaps file://…
                    io_utils.copy_file(os.path.join(parent, name), target, overwrite=True)


def _transformed_output(features: dict[str, Any]) -> Any:
    """The output of `transform_features`: from serialized examples only, which are where the label comes from."""

    class TransformedOutput(tf.estimator.export.PredictOutput):  # type: ignore[misc]
        def as_signature_def(self, receiver_tensors: Any) -> Any:
            if "examples" not in receiver_tensors:
                raise ValueError("needs serialized examples")  # Estimator then leaves the signature out
            return super().as_signature_def(receiver_tensors)

    return TransformedOutput(features)


def _dense(tensor: Any) -> Any:
    """A signature's outputs are tensors."""
    return tf.sparse.to_dense(tensor) if isinstance(tensor, tf.SparseTensor) else tensor
