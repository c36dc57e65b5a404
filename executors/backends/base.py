"""What the trainers of all frameworks have in common: constructor arguments, data, schedule, the shape of a run."""

from __future__ import annotations

import math
import platform
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from absl import logging

from polytrainer.executors.backends import testing
from polytrainer.executors.data import dataset, examples, feature_specs
from polytrainer.executors.data.feature_specs import FeatureSpec
from polytrainer.executors.errors import PreflightError, TrainingError
from polytrainer.executors.export.signatures import Interface, interface
from polytrainer.executors.frameworks import version_of
from polytrainer.executors.result import TrainResult
from polytrainer.executors.run_record import write_state
from polytrainer.executors.timings import Timings
from polytrainer.proto import args, export_args
from polytrainer.proto.problems import Problem

if TYPE_CHECKING:
    import tensorflow as tf
    import tensorflow_transform as tft
    from tensorflow_metadata.proto.v0 import schema_pb2

    from polytrainer.executors.fn_args import FnArgs
    from polytrainer.executors.test_results.results import Results

DEFAULT_BATCH_SIZE = 32


@dataclass(frozen=True)
class Schedule:
    """How long a training goes on.

    Attributes:
        num_examples: Examples in the training splits.
        batch_size: Examples in a batch; the last of an epoch may be smaller.
        steps_per_epoch: Batches in an epoch.
        total_steps: Steps after which training ends.
    """

    num_examples: int
    batch_size: int
    steps_per_epoch: int
    total_steps: int

    @classmethod
    def of(cls, num_examples: int, batch_size: int, num_steps: int, num_epochs: int) -> Schedule:
        """Steps as given; else epochs as given; else one epoch."""
        steps_per_epoch = math.ceil(num_examples / batch_size)
        return cls(num_examples, batch_size, steps_per_epoch, num_steps or steps_per_epoch * (num_epochs or 1))

    @property
    def num_epochs(self) -> int:
        """Epochs begun, the last of them perhaps not finished."""
        return math.ceil(self.total_steps / self.steps_per_epoch)


class BaseTrainer:
    """A user module as a class: `run_fn = MyTrainer(label_key="species", hidden=32).run_fn`.

    Constructor arguments become instance variables (`self.hidden`); a Tuner's hyperparameters of the same names
    override them. Only `model_fn` has to be written; `input_fn`, `test_fn` and `run_fn` can each be overridden alone,
    and may call super.

    While it runs, these are at hand:

    Attributes:
        fn_args: What TFX tells a `run_fn`, and more (`polytrainer.FnArgs`).
        schema: The schema given to the Trainer, or that of the transform graph's output; None without either.
        feature_spec: How the examples are parsed, label included.
        transform_output: The transform graph as `tft.TFTransformOutput`; None without one.
        schedule: Number of examples, batch size, steps per epoch, total steps.
        timings: Where the time goes (`polytrainer.executors.timings.Timings`); phases of yours may be measured, too.
    """

    # what of TrainArgs and ExportArgs a framework knows
    _PRECISIONS: tuple[str, ...] = ("32",)
    _STRATEGIES: tuple[str, ...] = ("default",)
    _FORMATS: tuple[str, ...] = (export_args.SAVED_MODEL, export_args.TORCH, export_args.ONNX, export_args.TFLITE)
    _KNOWS_ALL_ARGS = False

    # what is worked out anew for each run
    _BOUND: tuple[str, ...] = (
        "schema",
        "transform_output",
        "feature_spec",
        "schedule",
        "_stored_spec",
        "_is_raw",
        "_transform_layer",
        "timings",
    )

    def __init__(
        self,
        label_key: str | None = None,
        *,
        feature_spec: Mapping[str, Any] | None = None,
        defaults: Mapping[str, Any] | None = None,
        raw_label_key: str | None = None,
        **arguments: Any,
    ):
        """Describes a training.

        Args:
            label_key: Name of the label in the examples (after Transform, if there is one). None: the model finds what
                it learns from in the features.
            feature_spec: How to parse the examples, where there is neither schema nor transform graph, or against them.
            defaults: Values for features that an example may lack, by name; they become dense, `[batch, 1]`.
            raw_label_key: Name of the label before Transform. By default found: the raw feature called like the label,
                or like its beginning (`species` for `species_xf`), that the other features do not need.
            **arguments: Anything; each becomes an instance variable.

        Raises:
            TypeError: If an argument has the name of a method or attribute.
        """
        taken = sorted(name for name in arguments if hasattr(type(self), name))
        if taken:
            raise TypeError(f"{type(self).__name__}: got arguments called {taken}, which it needs for its own methods.")
        self.label_key, self.raw_label_key = label_key, raw_label_key
        self._given_spec, self._defaults = feature_spec, dict(defaults or {})
        self._arguments = tuple(arguments)
        vars(self).update(arguments)

    def __getstate__(self) -> dict[str, Any]:
        """Without what is worked out anew for each run: much of it cannot be pickled."""
        return {name: value for name, value in vars(self).items() if name not in self._BOUND}

    # ---- the hooks

    def model_fn(self) -> Any:
        """Makes the model. The one hook that must be written."""
        raise NotImplementedError(f"{type(self).__name__} has no model_fn: write one that returns the model.")

    def input_fn(self, files: Sequence[str], *, training: bool, first_step: int = 0) -> tf.data.Dataset:
        """Makes batches of a split.

        Args:
            files: Paths of its files.
            training: Shuffle, and go on epoch after epoch; else every example once, in order.
            first_step: Batches that a training which is resumed has seen already.

        Returns:
            `(features, label)`, features by name, `[batch, …]`; only the features without a `label_key`.
        """
        if training:
            batches = dataset.endless_epochs(
                files,
                self._stored_spec,
                self.schedule.batch_size,
                seed=self.seed,
                first_step=first_step,
                steps_per_epoch=self.schedule.steps_per_epoch,
            )
        else:
            batch_size = self.fn_args.eval_args.batch_size or self.schedule.batch_size
            batches = dataset.epoch(files, self._stored_spec, batch_size)
        return batches.map(self._features_and_label)

    def test_fn(self, model: Any) -> dict[str, float]:
        """Metrics of the trained model on each of `EvalArgs.test_splits`, as `<split>.<metric>`.

        Where the Trainer has the output `test_results`, writes into it what the model says of each example of these
        splits, or, without any, of the eval splits.
        """
        return testing.test(self, model)

    def evaluate(self, model: Any, files: Sequence[str]) -> dict[str, float]:
        """The model's metrics over all examples of some files."""
        raise NotImplementedError

    def run_fn(self, fn_args: FnArgs) -> TrainResult:
        """Trains: what TFX calls."""
        raise NotImplementedError

    # ---- what is at hand

    def bind(self, fn_args: FnArgs) -> None:
        """Takes over what a run is told, and checks that it fits.

        Raises:
            PreflightError: With everything that does not fit.
        """
        for name in self._BOUND:
            vars(self).pop(name, None)
        self.fn_args = fn_args
        problems = [*self._check_train_args(), *self._override(fn_args.hyperparameters)]
        self.seed = fn_args.train_args.seed if fn_args.train_args.HasField("seed") else random.getrandbits(31)
        if not problems:
            problems = self._check_data() or testing.check(self, BaseTrainer.test_fn)
        if problems:
            raise PreflightError(problems)

    @cached_property
    def transform_output(self) -> tft.TFTransformOutput | None:
        """The transform graph, if there is one."""
        import tensorflow_transform as tft

        path = self.fn_args.transform_graph_path
        return tft.TFTransformOutput(path) if path else None

    @cached_property
    def schema(self) -> schema_pb2.Schema | None:
        """The schema of the features that the model sees."""
        if self.transform_output:
            return self.transform_output.transformed_metadata.schema
        return feature_specs.read_schema(self.fn_args.schema_path) if self.fn_args.schema_path else None

    @cached_property
    def feature_spec(self) -> FeatureSpec:
        """How the features that the model sees are parsed, label included.

        Raises:
            PreflightError: If nothing says so.
        """
        if self._given_spec is not None:
            return feature_specs.with_defaults(self._given_spec, self._defaults)
        if self.transform_output:
            return feature_specs.with_defaults(self.transform_output.transformed_feature_spec(), self._defaults)
        if self.schema is None:
            got = "no schema, no transform graph, no feature_spec"
            remedy = f"Trainer(schema=…), Trainer(transform_graph=…) or {type(self).__name__}(feature_spec={{…}})."
            raise PreflightError([Problem("the features", got, "one of them", remedy)])
        return feature_specs.from_schema(self.schema, self._defaults)

    @cached_property
    def schedule(self) -> Schedule:
        """How long this training goes on."""
        train_args = self.fn_args.train_args
        counted = self.fn_args.num_examples or {}
        if all(split in counted for split in train_args.splits):
            num_examples = sum(counted[split] for split in train_args.splits)
        else:
            num_examples = dataset.count_examples(self.files(self.fn_args.train_files))
        batch_size = train_args.batch_size or DEFAULT_BATCH_SIZE
        return Schedule.of(num_examples, batch_size, train_args.num_steps, train_args.num_epochs)

    @cached_property
    def timings(self) -> Timings:
        """Seconds by phase of this training."""
        return Timings()

    def interface(self) -> Interface:
        """What stands between a raw example and the model.

        Raises:
            TrainingError: If the model's features cannot be made without the raw label.
        """
        try:
            return interface(self.feature_spec, self.label_key, self.transform_output, self.raw_label_key)
        except ValueError as error:
            raise TrainingError(Problem("the serving signature", str(error), "a raw label of its own")) from error

    def files(self, patterns: Sequence[str]) -> list[str]:
        """The files behind patterns such as `fn_args.train_files`, sorted."""
        from tensorflow.io import gfile  # not TFX's: a training runs without TFX, too

        return sorted(file for pattern in patterns for file in gfile.glob(pattern))

    # ---- inside

    def _test(self, model: Any, split: str, files: Sequence[str], *, measured: bool) -> dict[str, float]:
        """Metrics of a split, where it is to be measured; and its test results, where somebody wants them."""
        found = self.evaluate(model, files) if measured else {}
        with testing.results_of(self, split, files, BaseTrainer.input_fn) as results:
            if results is not None:
                self._predict(model, files, results)
        return found

    def _predict(self, model: Any, files: Sequence[str], results: Results) -> None:
        """Tells what the model says of all examples of some files."""
        raise NotImplementedError

    @cached_property
    def _is_raw(self) -> bool:
        """Whether the examples are still to be transformed: TFX allows raw ones beside a transform graph."""
        if self.transform_output is None:
            return False
        stored = examples.stored_names(self.files(self.fn_args.train_files)[0])
        raw, transformed = set(self.transform_output.raw_feature_spec()), set(self.feature_spec)
        return len(stored & raw) > len(stored & transformed)

    @cached_property
    def _stored_spec(self) -> FeatureSpec:
        """How the examples are parsed as they lie on disk."""
        if self._is_raw:
            assert self.transform_output is not None
            return dict(self.transform_output.raw_feature_spec())
        return self.feature_spec

    def _features_and_label(self, features: dict[str, Any]) -> Any:
        if self._is_raw:
            features = self._transform_layer(features)
        if self.label_key is None:
            return features
        features = dict(features)
        return features, features.pop(self.label_key)

    @cached_property
    def _transform_layer(self) -> Any:
        assert self.transform_output is not None
        return self.transform_output.transform_features_layer()

    def _override(self, hyperparameters: Mapping[str, Any] | None) -> list[Problem]:
        """Puts a Tuner's values in place of constructor arguments."""
        if not hyperparameters:
            return []
        values = hyperparameters.get("values", hyperparameters)  # HyperParameters.get_config(), or a plain dict
        unknown = sorted(set(values) - set(self._arguments))
        if unknown:
            expected = f"names of arguments of {type(self).__name__}, which are {sorted(self._arguments)}"
            return [
                Problem("hyperparameters", str(unknown), expected, "Give each of them a default in the constructor.")
            ]
        vars(self).update(values)
        return []

    def _check_train_args(self) -> list[Problem]:
        """What is asked for that this framework does not have."""
        train_args = self.fn_args.train_args
        own = next(kind.__name__ for kind in type(self).__mro__ if kind.__module__.startswith("polytrainer.executors."))
        known = {"precision": self._PRECISIONS, "strategy": self._STRATEGIES}
        problems = [
            Problem(f"train_args.{name}", repr(value), f"one of {', '.join(values)}, which are those of {own}")
            for name, values in known.items()
            if (value := getattr(train_args, name)) not in ("", *values)
        ]
        if not self._KNOWS_ALL_ARGS:
            set_fields = {field.name for field, _ in train_args.ListFields()}
            problems += [
                Problem(f"train_args.{name}", "a value", f"none: it is PyTorch's, and {own} has nothing like it")
                for name in args.PYTORCH_ONLY
                if name in set_fields
            ]
        return problems + export_args.refused(self.fn_args.export_args, self._FORMATS, own)

    def _check_data(self) -> list[Problem]:
        if self.label_key is not None and self.label_key not in self.feature_spec:
            expected = f"one of the features, {sorted(self.feature_spec)}"
            return [Problem("label_key", repr(self.label_key), expected)]
        return [
            problem
            for patterns in (self.fn_args.train_files, self.fn_args.eval_files)
            for problem in self._check_first_batch(self.files(patterns))
        ]

    def _check_first_batch(self, files: Sequence[str]) -> list[Problem]:
        """Parses some examples, so that a feature that does not fit is found now."""
        import tensorflow as tf

        some = dataset.first_records(files, 100)
        if not some:
            return [Problem("the examples", f"none in {list(files)}", "at least one")]
        try:
            tf.io.parse_example(some, self._stored_spec)
        except (tf.errors.InvalidArgumentError, ValueError) as error:
            got = f"examples in {files[0]} that do not fit: {str(error).strip().splitlines()[0]}"
            expected = f"the features {sorted(self._stored_spec)} as the schema has them"
            remedy = "Is the schema that of these examples? A feature that may be missing needs defaults={name: value}."
            return [Problem("the examples", got, expected, remedy)]
        return []

    def write_state(self, framework: str, facts: Mapping[str, Any], started: float) -> None:
        """Writes trainer_state.json: what a person, or the next tool, wants to know of the run.

        Args:
            framework: As in the artifact's properties.
            facts: What the backend knows.
            started: `time.monotonic()` when it began.
        """
        versions = {name: version_of(name) for name in ("tfx", "tensorflow", framework)}
        state = {
            "framework": framework,
            "versions": {"python": platform.python_version(), **versions},
            "arguments": {name: repr(getattr(self, name)) for name in self._arguments},
            "label_key": self.label_key,
            "seed": self.seed,
            "total_steps": self.schedule.total_steps,
            "num_examples": self.schedule.num_examples,
            "batch_size": self.schedule.batch_size,
            "seconds": round(time.monotonic() - started, 3),
            "timings": {phase: round(seconds, 3) for phase, seconds in self.timings.seconds.items()},
            **facts,
        }
        write_state(self.fn_args.model_run_dir, state)

    def log_banner(self, facts: Mapping[str, Any]) -> None:
        """Shows what is about to happen: one line a fact."""
        schedule = self.schedule
        facts = {
            "data": f"{schedule.num_examples} examples in {list(self.fn_args.train_args.splits)}, "
            f"evaluated on {list(self.fn_args.eval_args.splits)}",
            "features": ", ".join(sorted(set(self.feature_spec) - {self.label_key})),
            "label": self.label_key,
            **facts,
            "steps": f"{schedule.total_steps} of {schedule.batch_size} examples, {schedule.steps_per_epoch} an epoch",
            "seed": self.seed,
            "model goes to": self.fn_args.serving_model_dir,
            "logs go to": self.fn_args.model_run_dir,
        }
        width = max(map(len, facts))
        print("\n".join(f"  {name:<{width}}  {value}" for name, value in facts.items()), flush=True)
        logging.info("Training: %s", facts)
