"""EstimatorTrainer: the user builds the Estimator, this the plumbing. On every TensorFlow line."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf
from absl import logging
from tfx.dsl.io import fileio
from tfx.utils import io_utils

from polytrainer.executors import timings
from polytrainer.executors.backends import estimator_formats, estimator_predictions, estimator_shim
from polytrainer.executors.backends.base import BaseTrainer
from polytrainer.executors.checkpoints import check_variables
from polytrainer.executors.data import dataset
from polytrainer.executors.data.examples import filler
from polytrainer.executors.errors import PreflightError, TrainingError, loss_not_finite
from polytrainer.executors.export.signatures import TRANSFORM, Interface
from polytrainer.executors.fn_args import FnArgs
from polytrainer.executors.progress import ProgressLine
from polytrainer.executors.result import TrainResult
from polytrainer.executors.run_record import write, write_csv
from polytrainer.executors.termination import Termination
from polytrainer.executors.test_results.results import Results
from polytrainer.proto import args, export_args
from polytrainer.proto.problems import Problem

_COURSE = "course.json"
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
    the same model again. What `Estimator.predict` says, less what are words, is also written as `Format-ONNX` and
    `Format-TFLite`, where `ExportArgs` ask for them.
    """

    _FORMATS = (export_args.SAVED_MODEL, export_args.ONNX, export_args.TFLITE)
    _checkpoint: str | None = None  # to evaluate and save; None for the newest

    def run_fn(self, fn_args: FnArgs) -> TrainResult:
        """Trains, evaluates, tests and saves: what TFX calls."""
        started = time.monotonic()
        with estimator_shim.available():
            self.bind(fn_args)
            folder = os.path.join(fn_args.checkpoint_dir or fn_args.model_run_dir, "estimator")
            resumed_from = _newest_readable_step(folder)
            estimator = self._configured(self.model_fn(), folder)
            estimator_formats.check(self, estimator)
            facts = {
                "model": type(estimator).__name__,
                "precision": "32",
                "device": ", ".join(device.name for device in tf.config.get_visible_devices()),
            }
            self.log_banner({**facts, "resumed": f"from step {resumed_from}"} if resumed_from else facts)
            with self.timings.of(timings.TRAINING):
                history = self.train(estimator, resumed_from)
            with self.timings.of(timings.EVALUATION):
                metrics = self.evaluate(estimator, self.files(fn_args.eval_files))
            with self.timings.of(timings.TEST):
                metrics.update(self.test_fn(estimator))
            with self.timings.of(timings.EXPORT):
                parity = self.save(estimator) or {}  # of those who override it, too, and return nothing
            self._keep_logs(folder)
        steps = int(estimator.get_variable_value("global_step"))
        told = {"step": steps, "history": history, "resumed_from": resumed_from or None, "metrics": metrics}
        told["parity"] = parity
        self.write_state("estimator", told, started)
        best_step = _step_of(self._checkpoint) if self._checkpoint else None
        return TrainResult(metrics, steps=steps, framework="estimator", parity=parity, best_step=best_step)

    def train(self, estimator: Any, first_step: int) -> list[dict[str, float]]:
        """Trains to the last step, in one go, or epoch by epoch where early stopping asks for evaluations.

        Returns:
            Metrics of each evaluation. What is evaluated and saved from then on is the best checkpoint, where there is
            early stopping, else the last.
        """
        schedule, train_args = self.schedule, self.fn_args.train_args
        stopping = train_args.early_stopping if train_args.HasField("early_stopping") else None
        each = schedule.steps_per_epoch if stopping else schedule.total_steps
        patience = (stopping.patience or 3) if stopping else math.inf
        self._checkpoint = None
        course = _Course.found(estimator.model_dir, first_step)
        step = first_step
        while step < schedule.total_steps and course.waited < patience:
            until = min(schedule.total_steps, (step // each + 1) * each)
            self._train_until(estimator, step, until)
            step = until
            with self.timings.of(timings.EVALUATION):
                found = self.evaluate(estimator, self.files(self.fn_args.eval_files))
            course.history.append({"step": step, **found})
            write_csv(os.path.join(self.fn_args.model_run_dir, "logs", "metrics.csv"), course.history)
            if stopping:
                value = _watched(found, stopping.metric or "loss")
                sign = 1 if args.best_mode(stopping) == "min" else -1
                course.take(sign * value, stopping.min_delta, estimator.latest_checkpoint())
            course.keep(estimator.model_dir)
        self._checkpoint = course.best_checkpoint
        return course.history

    def evaluate(self, model: Any, files: Sequence[str]) -> dict[str, float]:
        """The Estimator's metrics over all examples of some files."""
        found = model.evaluate(
            lambda: self.input_fn(files, training=False),
            steps=self.fn_args.eval_steps,
            checkpoint_path=self._checkpoint,
        )
        return {name: float(value) for name, value in found.items() if name != "global_step"}

    def save(self, estimator: Any) -> dict[str, float]:
        """Writes `Format-Serving` and `Format-TFMA`, calls the first on real examples; and the formats of `ExportArgs`.

        Returns:
            By further format, how far what was written is from the trained model: the largest difference.
        """
        between = self.interface()
        serving = estimator.export_saved_model(
            os.path.join(self.fn_args.model_run_dir, "export"),
            lambda: self._receiver(between),
            checkpoint_path=self._checkpoint,
        )
        serving = serving.decode() if isinstance(serving, bytes) else serving
        _check(serving, self._raw_examples(between))
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
        return estimator_formats.write(self, estimator, checkpoint or estimator.latest_checkpoint(), root)

    # ---- inside

    def _predict(self, model: Any, files: Sequence[str], results: Results) -> None:
        estimator_predictions.tell(self, model, files, results)

    def _configured(self, estimator: Any, folder: str) -> Any:
        """The same Estimator in our folder, with our seed, our start, and one more signature."""
        if not isinstance(estimator, tf.estimator.Estimator):
            got = f"{type(estimator).__module__}.{type(estimator).__name__}"
            raise PreflightError([Problem("what model_fn returned", got, "a tf.estimator.Estimator")])
        every = self.fn_args.train_args.checkpoint_every_n_steps or self.schedule.steps_per_epoch
        config = estimator.config.replace(
            model_dir=folder, tf_random_seed=self.seed, save_checkpoints_steps=every, save_checkpoints_secs=None
        )

        def model_fn(features: Any, labels: Any, mode: Any, config: Any) -> Any:
            if mode != tf.estimator.ModeKeys.PREDICT:
                return estimator.model_fn(features, labels, mode, config)
            features = dict(features)
            beside = estimator_predictions.told_beside(features)
            seen = {name: _dense(tensor) for name, tensor in features.items()}
            features.pop(self.label_key, None)
            spec = estimator.model_fn(features, labels, mode, config)
            outputs = {**(spec.export_outputs or {}), TRANSFORM: _transformed_output(seen)}
            return estimator_predictions.with_beside(spec._replace(export_outputs=outputs), beside)

        return tf.estimator.Estimator(model_fn, config=config, warm_start_from=self.fn_args.base_model)

    def _train_until(self, estimator: Any, step: int, until: int) -> None:
        hook = _Watch(self.schedule, step, self.fn_args.train_args.log_every_n_steps)
        files = self.files(self.fn_args.train_files)
        try:
            with hook.termination.listening():
                estimator.train(
                    lambda: self.input_fn(files, training=True, first_step=step), max_steps=until, hooks=[hook]
                )
        except tf.compat.v1.train.NanLossDuringTrainingError as error:
            last = None if hook.loss is None else (hook.step, hook.loss)
            raise loss_not_finite(math.nan, hook.step + 1, last) from error
        if hook.termination.wished:
            raise hook.termination.error(hook.step)

    def _receiver(self, between: Interface) -> Any:
        """Serialized raw tf.Examples in, or raw features by name."""
        examples = tf.compat.v1.placeholder(tf.string, [None], name="examples")
        parsed = tf.io.parse_example(examples, between.label_optional_spec)
        by_name = {name: parsed[name] for name in between.serving_names}
        return tf.estimator.export.ServingInputReceiver(
            self._transformed(parsed), {"examples": examples}, receiver_tensors_alternatives={NAMED: by_name}
        )

    def _eval_receiver(self, between: Interface) -> Any:
        import tensorflow_model_analysis as tfma

        examples = tf.compat.v1.placeholder(tf.string, [None], name="input_example_tensor")
        features = self._transformed(tf.io.parse_example(examples, between.raw_spec))
        labels = features.get(self.label_key or "")
        return tfma.export.EvalInputReceiver(features=features, labels=labels, receiver_tensors={"examples": examples})

    def _transformed(self, raw: Any) -> dict[str, Any]:
        if self.transform_output is None:
            return dict(raw)
        return dict(self.transform_output.transform_raw_features(raw, drop_unused_features=True))

    def _raw_examples(self, between: Interface) -> list[bytes]:
        stored = dataset.first_records(self.files(self.fn_args.eval_files), 16)
        return stored if self._is_raw or self.transform_output is None else [filler(between.raw_spec)]

    def _keep_logs(self, folder: str) -> None:
        """Copies events beside the other logs: the folder they are in goes when the run succeeds."""
        for parent, _, names in list(fileio.walk(folder)):
            for name in names:
                if name.startswith("events.out.tfevents."):
                    target = os.path.join(self.fn_args.model_run_dir, "logs", os.path.relpath(parent, folder), name)
                    io_utils.copy_file(os.path.join(parent, name), os.path.normpath(target), overwrite=True)


@dataclass
class _Course:
    """What the evaluations of a training found, kept beside its checkpoints, so that a resumed one knows it too.

    Attributes:
        history: Metrics of each.
        best: The best value of the watched metric, less being better.
        best_checkpoint: And the checkpoint that had it.
        waited: Evaluations since then.
    """

    history: list[dict[str, float]] = field(default_factory=list)
    best: float | None = None
    best_checkpoint: str | None = None
    waited: int = 0

    @classmethod
    def found(cls, folder: str, step: int) -> _Course:
        """That of the training in a folder, if it got no further than the checkpoint that it is resumed from."""
        path = os.path.join(folder, _COURSE)
        if not fileio.exists(path):
            return cls()
        with fileio.open(path, "rb") as file:
            course = cls(**json.loads(file.read()))
        return course if course.history[-1]["step"] <= step else cls()

    def take(self, value: float, min_delta: float, checkpoint: str) -> None:
        """Compares an evaluation with the best so far."""
        if self.best is None or value - self.best < -min_delta:
            self.best, self.best_checkpoint, self.waited = value, _kept_apart(checkpoint), 0
        else:
            self.waited += 1

    def keep(self, folder: str) -> None:
        """Writes it down."""
        write(os.path.join(folder, _COURSE), json.dumps(vars(self)).encode())


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


def _watched(found: dict[str, float], metric: str) -> float:
    if metric not in found:
        raise TrainingError(Problem("train_args.early_stopping.metric", repr(metric), f"one of {sorted(found)}"))
    return found[metric]


def _kept_apart(checkpoint: str) -> str:
    """A copy of a checkpoint, where the Estimator does not clean it up."""
    folder = os.path.join(os.path.dirname(checkpoint), "best")
    if fileio.exists(folder):
        fileio.rmtree(folder)
    for file in fileio.glob(f"{checkpoint}.*"):
        io_utils.copy_file(file, os.path.join(folder, os.path.basename(file)))
    return os.path.join(folder, os.path.basename(checkpoint))


def _step_of(checkpoint: str) -> int:
    return int(tf.train.load_variable(checkpoint, "global_step"))


def _newest_readable_step(folder: str) -> int:
    """The step of the newest checkpoint that can be read, which becomes the Estimator's latest; 0 without one."""
    state = tf.train.get_checkpoint_state(folder)
    paths = list(state.all_model_checkpoint_paths) if state else []
    for path in reversed(paths):
        try:
            step = check_variables(path)
        except Exception as error:
            logging.warning("The checkpoint %s cannot be read (%s); going back to the one before.", path, error)
            continue
        kept = paths[: paths.index(path) + 1]
        tf.compat.v1.train.update_checkpoint_state(folder, path, all_model_checkpoint_paths=kept)
        return step or 0
    if fileio.exists(folder):
        fileio.rmtree(folder)
    return 0


def _check(path: str, raw: Sequence[bytes]) -> None:
    """Loads a model back and calls it on raw examples."""
    try:
        signatures = tf.saved_model.load(path).signatures
        signature = signatures["predict"] if "predict" in signatures else signatures["serving_default"]
        outputs = signature(examples=tf.constant(list(raw)))
        finite = all(bool(np.all(np.isfinite(value))) for value in outputs.values() if value.dtype.is_floating)
    except Exception as error:
        raise TrainingError(
            Problem(path, f"a model that fails on real examples ({type(error).__name__}: {error})", "predictions")
        ) from error
    if not finite:
        raise TrainingError(Problem(path, "predictions that are not finite", "numbers"))


class _Watch(tf.compat.v1.train.SessionRunHook):  # type: ignore[misc]
    """Counts steps, prints progress, and stops when the process is asked to end; Estimator then saves a checkpoint."""

    def __init__(self, schedule: Any, step: int, every_n_steps: int):
        self.step = step
        self.loss: float | None = None
        self.termination = Termination()
        self._line = ProgressLine(schedule.total_steps, schedule.batch_size, step, every_n_steps)

    def before_run(self, run_context: Any) -> Any:
        losses = tf.compat.v1.get_collection(tf.compat.v1.GraphKeys.LOSSES)
        return tf.compat.v1.train.SessionRunArgs(losses[-1:])

    def after_run(self, run_context: Any, run_values: Any) -> None:
        self.step += 1
        if run_values.results:
            self.loss = loss = float(run_values.results[0])
            self._line.after_step(self.step, {"loss": loss})
        if self.termination.wished:
            run_context.request_stop()

    def end(self, session: Any) -> None:
        self._line.show(self.step, {} if self.loss is None else {"loss": self.loss})
