"""What the trainers of all frameworks have in common: constructor arguments, data, schedule, the shape of a run."""

from __future__ import annotations

import inspect
import math
import platform
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from absl import logging

from polytrainer.executors import storage
from polytrainer.executors.backends import (
    data_checks,
    fit_data,
    label_vocabulary,
    local_fit,
    raw_or_transformed,
    testing,
    user_arguments,
)
from polytrainer.executors.backends.example_weights import (
    LABELS_AT_ONCE,
    balanced_weights,
    labels_of,
    weight_of_examples,
    weights_of_classes,
)
from polytrainer.executors.data import dataset, example_parsing, examples, feature_specs
from polytrainer.executors.data.feature_specs import FeatureSpec
from polytrainer.executors.data.files import data_files
from polytrainer.executors.data.schema_from_spec import with_spec
from polytrainer.executors.distributed import ranks
from polytrainer.executors.errors import PreflightError, TrainingError
from polytrainer.executors.export.signatures import Interface, interface
from polytrainer.executors.frameworks import version_of
from polytrainer.executors.result import TrainResult
from polytrainer.executors.run_record import write_state
from polytrainer.executors.timings import Timings
from polytrainer.proto import args, export_args
from polytrainer.proto.examples_are import RAW
from polytrainer.proto.problems import Problem

if TYPE_CHECKING:
    import tensorflow as tf
    import tensorflow_transform as tft
    from tensorflow_metadata.proto.v0 import schema_pb2

    from polytrainer.executors.backends.fit_result import FitResult
    from polytrainer.executors.fn_args import FnArgs
    from polytrainer.executors.test_results.results import Results
    from polytrainer.proto.trainer_pb2 import TrainArgs

DEFAULT_BATCH_SIZE = 32
RAW_ROWS = 64


@dataclass(frozen=True)
class Schedule:
    """How long a training goes on.

    Attributes:
        num_examples: Examples in the training splits.
        batch_size: Examples in a batch; the last of an epoch may be smaller.
        steps_per_epoch: Batches in an epoch; `TrainArgs.max_steps_per_epoch` at most.
        total_steps: Steps after which training ends.
    """

    num_examples: int
    batch_size: int
    steps_per_epoch: int
    total_steps: int

    @classmethod
    def of(cls, num_examples: int, batch_size: int, train_args: TrainArgs) -> Schedule:
        """Steps as given; else epochs as given; else one epoch. An epoch is as long as the batches and a limit allow.

        Raises:
            PreflightError: If no batch of an epoch is full, and only full ones are trained on.
        """
        full, rest = divmod(num_examples, batch_size)
        steps_per_epoch = full + (rest > 0 and not train_args.drop_last)
        if not num_examples:
            raise PreflightError([Problem("the training data", "no example", "at least one batch of them")])
        if not steps_per_epoch:
            got = f"batches of {batch_size}, of {num_examples} examples, with drop_last"
            raise PreflightError([Problem("train_args.batch_size", got, "one full batch in an epoch")])
        steps_per_epoch = min(steps_per_epoch, train_args.max_steps_per_epoch or steps_per_epoch)
        total_steps = train_args.num_steps or steps_per_epoch * (train_args.num_epochs or 1)
        return cls(num_examples, batch_size, steps_per_epoch, total_steps)

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
    _FORMATS: tuple[str, ...] = (
        export_args.SAVED_MODEL,
        export_args.TORCH,
        export_args.ONNX,
        export_args.TFLITE,
        export_args.TFJS,
    )
    _KNOWS_ALL_ARGS = False

    _SHOWN_AS: str | None = None  # what messages call a class that users do not name

    # of `fit`: the formats that it writes by default (none: those of ExportArgs), and which data it takes
    _FIT_FORMATS: tuple[str, ...] = ()
    _OTHER_DATA = ""
    _NEEDS_EVAL_DATA = True

    # what is worked out anew for each run
    _BOUND: tuple[str, ...] = (
        "schema",
        "_given_schema",
        "transform_output",
        "feature_spec",
        "schedule",
        "_stored_spec",
        "_is_raw",
        "_transform_graph",
        "raw_rows",
        "_transform_layer",
        "timings",
        "_weight_by_class",
        "_training_facts",
        "_anomalies",
        "label_words",
        "_encode_label",
        "_label_encoders",
    )

    def __init__(
        self,
        label_key: str | None = None,
        *,
        feature_spec: Mapping[str, Any] | None = None,
        defaults: Mapping[str, Any] | None = None,
        raw_label_key: str | None = None,
        weight_key: str | None = None,
        raw_weight_key: str | None = None,
        class_weights: Mapping[int, float] | Literal["balanced"] | None = None,
        examples_are: Literal["raw", "transformed"] | None = None,
        label_vocabulary: Literal["auto"] | Sequence[str] | None = None,
        params: Mapping[str, Any] | None = None,
        allow_unknown: bool = False,
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
            weight_key: Name of the feature that says how much an example counts, in the loss, the metrics and the test
                results: one number, 0 or more, float32. The model does not see it. A batch is then `(features, label,
                weight)`, the weight `[batch]`.
            raw_weight_key: Name of the weight before Transform; found as the label's is.
            class_weights: How much the examples of a class count in the loss while training, by the label's number (1
                for those that are not named); evaluations count each example by its own weight only. "balanced": in
                inverse proportion to their number in the training splits (n / (classes * n_class), as in scikit-learn).
            examples_are: Whether the examples are "raw", as they are when the model is served, or "transformed", which
                is outputs of Transform. By default found, from their artifacts, or from what is in them; it has to be
                said where neither tells.
            label_vocabulary: For a label of words, which is learned as the number of its word: the words in the order
                of their numbers; "auto": those of the training splits, sorted. Then `self.label_words`.
            params: Arguments of your own as a dict, `self.params`; hyperparameters override its entries, too.
            allow_unknown: Whether arguments of any name are taken.
            **arguments: Those of your own: annotated class attributes (`hidden: int = 16`), or names that a method of
                your class uses. Each becomes an instance variable.

        Raises:
            TypeError: If an argument has the name of a method or attribute, or nothing uses it.
        """
        self._check_arguments(arguments, allow_unknown)
        self.label_key, self.raw_label_key = label_key, raw_label_key
        self.weight_key, self.raw_weight_key, self.class_weights = weight_key, raw_weight_key, class_weights
        self.examples_are, self.label_vocabulary = examples_are, label_vocabulary
        self._given_spec, self._defaults = feature_spec, dict(defaults or {})
        self.params = dict(params or {})
        own = {**user_arguments.defaults(type(self)), **arguments}
        self._arguments = tuple(own)
        vars(self).update(own)

    def _check_arguments(self, arguments: Mapping[str, Any], allow_unknown: bool) -> None:
        """Refuses arguments that nothing uses; those of TorchTrainer and the like are its own parameters."""
        documented: dict[str, None] = {}
        for kind in type(self).__mro__:
            if "__init__" in vars(kind) and kind.__module__.startswith("polytrainer.executors."):
                parameters = inspect.signature(kind.__init__).parameters.values()  # type: ignore[misc]
                documented.update((each.name, None) for each in parameters if each.kind is not each.VAR_KEYWORD)
        documented.pop("self", None)
        own = {name: value for name, value in arguments.items() if name not in documented}
        user_arguments.check(type(self), own, documented, allow_unknown=allow_unknown)

    def _check_room(self, num_bytes: int) -> None:
        """Looks whether model and checkpoints have room, for a model of so many bytes: at least two of it in each."""
        places = {"the model": self.fn_args.serving_model_dir, "the checkpoints": self.fn_args.checkpoint_dir}
        storage.check_room(places, 2 * num_bytes, "a model of this size")

    @property
    def _is_chief(self) -> bool:
        """Whether this process is the one of its job that writes."""
        return ranks.is_chief(self.fn_args.train_args.strategy)

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
            `(features, label)`, features by name, `[batch, …]`; only the features without a `label_key`; with weights
            `(features, label, weight)`, the weight `[batch]`.
        """
        if training:
            if self.class_weights is not None:
                _ = self._weight_by_class  # counted now: inside of `map` there are no labels to count yet
            batches = dataset.endless_epochs(
                files,
                self._stored_spec,
                self.schedule.batch_size,
                seed=self.seed,
                first_step=first_step,
                steps_per_epoch=self.schedule.steps_per_epoch,
                drop_last=self.fn_args.train_args.drop_last,
            )
        else:
            batch_size = self.fn_args.eval_args.batch_size or self.schedule.batch_size
            batches = dataset.epoch(files, self._stored_spec, batch_size)
        return batches.map(lambda features: self._batch(features, training=training))

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

    def fit(self, train_files: Any, eval_files: Any = None, *, resume: bool = True, **options: Any) -> FitResult:
        """Trains without a pipeline, e.g. in a notebook.

        Args:
            train_files: Paths or patterns of files with tf.Examples; a pandas DataFrame; a dict of numpy arrays by
                feature; for a TorchTrainer also a map-style Dataset, or a DataLoader of one, of (features, label).
            eval_files: Likewise; or a dict of them by split. None, for a TorchTrainer: nothing is evaluated.
            resume: Whether a training with the same data and arguments that died in the same `output_dir` goes on where
                it was; False: it starts afresh.
            **options: `schema` (a path or a Schema; by default that of a table), `transform_graph`, `test_files` (by
                split), `output_dir` (where model, logs and `test_results` go; without it, the model is kept as long as
                the result is, and nothing else), `base_model` (what an earlier `fit` returned, its `output_dir`, or a
                model's path), `train_args`, `eval_args` and `export_args` (protos or dicts), and any field of
                TrainArgs.

        Returns:
            Metrics and the like, and `predict`.
        """
        return local_fit.fit(self, train_files, eval_files, resume=resume, **options)

    # ---- what is at hand

    def bind(self, fn_args: FnArgs) -> None:
        """Takes over what a run is told, and checks that it fits.

        Raises:
            PreflightError: With everything that does not fit.
        """
        for name in self._BOUND:
            vars(self).pop(name, None)
        self.fn_args = fn_args
        ranks.warn_of_ignored(fn_args.train_args.strategy)
        problems = [*self._check_train_args(), *self._override(fn_args.hyperparameters)]
        self.seed = fn_args.train_args.seed if fn_args.train_args.HasField("seed") else random.getrandbits(31)
        if not problems:
            problems = self._check_data() or label_vocabulary.check(self) or testing.check(self, BaseTrainer.test_fn)
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
        """The schema of the features that the model sees; it says of them what `feature_spec` says."""
        return None if self._given_schema is None else with_spec(self._given_schema, self.feature_spec)

    @cached_property
    def _given_schema(self) -> schema_pb2.Schema | None:
        """The schema as the Trainer or the transform graph has it."""
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
        if self._given_schema is None:
            got = "no schema, no transform graph, no feature_spec"
            remedy = f"Trainer(schema=…), Trainer(transform_graph=…) or {self._shown_name}(feature_spec={{…}})."
            raise PreflightError([Problem("the features", got, "one of them", remedy)])
        return feature_specs.from_schema(self._given_schema, self._defaults)

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
        return Schedule.of(num_examples, batch_size, train_args)

    @cached_property
    def label_words(self) -> tuple[str, ...] | None:
        """The words of the label in the order of the numbers that are learned; None without `label_vocabulary`."""
        return label_vocabulary.find_words(self)

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
            return interface(
                self.feature_spec,
                self.label_key,
                self.transform_output,
                self.raw_label_key,
                self.weight_key,
                self.raw_weight_key,
            )
        except ValueError as error:
            raise TrainingError(Problem("the serving signature", str(error), "a raw label of its own")) from error

    @property
    def not_given(self) -> set[str]:
        """Names of the features that the model is not given: the label, and the weight of the examples."""
        return {name for name in (self.label_key, self.weight_key) if name is not None}

    def files(self, patterns: Sequence[str]) -> list[str]:
        """The files behind patterns such as `fn_args.train_files`, sorted."""
        return data_files(patterns)

    # ---- inside

    @property
    def _shown_name(self) -> str:
        """What messages call this trainer."""
        return self._SHOWN_AS or type(self).__name__

    def _as_table(self, data: Any, where: str) -> tuple[Any | None, list[Problem]]:
        """Data given to `fit` as a table, None where it is none; and what is wrong with it."""
        return fit_data.as_table(data), []

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
    def raw_rows(self) -> list[bytes]:
        """Serialized raw examples, up to 64 of the eval splits: on them the model is called as it will be served.

        The stored ones, where these are raw; else those of which Transform made them. None where they are not known.
        """
        files = self.fn_args.eval_files or self.fn_args.train_files
        if self.transform_output is not None and not self._is_raw:
            files = getattr(self.fn_args, "raw_eval_files", [])
        return examples.first_examples(self.files(files), RAW_ROWS)

    def _num_served(self, parity: Mapping[str, float]) -> int:
        """On how many raw examples the served model was compared, by what `save` returned: none without its parity."""
        return len(self.raw_rows) if "saved_model" in parity else 0

    @cached_property
    def _is_raw(self) -> bool:
        """Whether the examples are still to be transformed: TFX allows raw ones beside a transform graph.

        Raises:
            PreflightError: If that cannot be told.
        """
        if self.transform_output is None:
            return False
        kind = self.examples_are or getattr(self.fn_args, "examples_are", None)
        if kind is None:
            files, raw_files = self.files(self.fn_args.train_files), getattr(self.fn_args, "raw_eval_files", [])
            kind = raw_or_transformed.kind_by_content(self._transform_graph, files, self.files(raw_files))
        if kind is None:
            got = (
                "features that may be raw or transformed: the transform graph takes and makes the same names and types"
            )
            remedy = (
                f'{self._shown_name}(examples_are="raw"), if it is still to be applied to them, else "transformed".'
            )
            raise PreflightError([Problem("the examples", got, "examples_are", remedy)])
        return kind == RAW

    @cached_property
    def _transform_graph(self) -> raw_or_transformed.TransformGraph:
        assert self.transform_output is not None
        raw_spec = self.transform_output.raw_feature_spec()
        return raw_or_transformed.TransformGraph(raw_spec, self.feature_spec, self._transform_layer)

    @cached_property
    def _stored_spec(self) -> FeatureSpec:
        """How the examples are parsed as they lie on disk."""
        if self._is_raw:
            assert self.transform_output is not None
            return dict(self.transform_output.raw_feature_spec())
        return self.feature_spec

    def _batch(self, features: dict[str, Any], *, training: bool = False) -> Any:
        """A batch as `input_fn` has it: features, or features and label, or with the weight, too."""
        features, label, weight = self._parts(features)
        if label is None:
            return features
        if training and self.class_weights is not None:
            factor = weights_of_classes(label, self._weight_by_class)
            weight = factor if weight is None else weight * factor
        return (features, label) if weight is None else (features, label, weight)

    def _parts(self, features: dict[str, Any]) -> tuple[dict[str, Any], Any, Any]:
        """Features, label and weight `[batch]` of parsed examples; None where there is none."""
        if self._is_raw:
            features = example_parsing.fill_defaults(self._transform_layer(features), self.feature_spec)
        features = dict(features)
        weight = features.pop(self.weight_key, None) if self.weight_key is not None else None
        label = features.pop(self.label_key) if self.label_key is not None else None
        if self._encode_label is not None:
            label = self._encode_label(label)
        return features, label, None if weight is None else weight_of_examples(weight)

    @cached_property
    def _encode_label(self) -> Callable[[Any], Any] | None:
        """Makes numbers of labels that are words; None where they are none."""
        return None if self.label_words is None else label_vocabulary.encoder(self.label_words)

    @cached_property
    def _label_encoders(self) -> dict[str, Any]:
        """What makes numbers of labels, by the label's name, for the signatures of a model."""
        return {} if self._encode_label is None else {str(self.label_key): self._encode_label}

    @cached_property
    def _weight_by_class(self) -> dict[int, float]:
        """How much the examples of each class count while training."""
        assert self.class_weights is not None
        if self.class_weights != "balanced":
            return dict(self.class_weights)
        return balanced_weights(self._label_counts())

    def _label_counts(self) -> dict[int, int]:
        """How many examples of the training splits each label has."""
        counts: Counter[int] = Counter()
        spec, files = self._stored_spec, self.files(self.fn_args.train_files)
        for features in dataset.epoch(files, spec, LABELS_AT_ONCE):
            counts.update(labels_of(self._parts(features)[1]))
        return dict(counts)

    @cached_property
    def _transform_layer(self) -> Any:
        assert self.transform_output is not None
        return self.transform_output.transform_features_layer()

    def _override(self, hyperparameters: Mapping[str, Any] | None) -> list[Problem]:
        """Puts a Tuner's values in place of constructor arguments."""
        if not hyperparameters:
            return []
        values = hyperparameters.get("values", hyperparameters)  # HyperParameters.get_config(), or a plain dict
        known = {*self._arguments, *self.params}
        # a Hyperband adds entries of its own, such as tuner/epochs
        unknown = sorted(name for name in values if name not in known and not name.startswith("tuner/"))
        if unknown:
            expected = f"names of arguments of {type(self).__name__}, which are {sorted(known)}"
            return [
                Problem("hyperparameters", str(unknown), expected, "Give each of them a default in the constructor.")
            ]
        self.params = {name: values.get(name, value) for name, value in self.params.items()}
        vars(self).update({name: value for name, value in values.items() if name in self._arguments})
        return []

    def _check_train_args(self) -> list[Problem]:
        """What is asked for that this framework does not have."""
        train_args = self.fn_args.train_args
        classes = (kind for kind in type(self).__mro__ if kind.__module__.startswith("polytrainer.executors."))
        own = self._SHOWN_AS or next(classes).__name__
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
        if problems := self._check_weights() or self._check_examples_are():
            return problems
        return self._check_sizes() or [
            problem
            for patterns in (self.fn_args.train_files, self.fn_args.eval_files)
            for problem in self._check_first_batch(self.files(patterns))
        ]

    def _check_sizes(self) -> list[Problem]:
        """Looks at each example for values that are missing."""
        return data_checks.check_sizes(self, BaseTrainer.input_fn)

    @cached_property
    def _anomalies(self) -> data_checks.Anomalies:
        """Values of each split that do not fit."""
        return data_checks.find(self)

    def _check_examples_are(self) -> list[Problem]:
        """Whether the examples that are trained on are like those that will be served."""
        return raw_or_transformed.check(self)

    def _check_weights(self) -> list[Problem]:
        """Whether `weight_key` and `class_weights` are such."""
        problems = []
        if self.weight_key is not None and self.weight_key not in set(self.feature_spec) - {self.label_key}:
            expected = f"one of the features, {sorted(set(self.feature_spec) - {self.label_key})}"
            problems.append(Problem("weight_key", repr(self.weight_key), expected))
        for name in ("weight_key", "class_weights"):
            if getattr(self, name) is not None and self.label_key is None:
                got = "examples without a label_key"
                problems.append(Problem(name, got, "a label_key", "Weights beside features alone go into the loss."))
        if isinstance(weights := self.class_weights, Mapping):
            wrong = {
                label: weight
                for label, weight in weights.items()
                if not isinstance(label, int) or not 0 <= weight < math.inf
            }
            if wrong:
                problems.append(Problem("class_weights", repr(wrong), "a number, 0 or more, for the number of a class"))
        elif weights not in (None, "balanced"):
            problems.append(Problem("class_weights", repr(weights), "a dict by the label's number, or 'balanced'"))
        return problems

    def _check_first_batch(self, files: Sequence[str]) -> list[Problem]:
        """Parses some examples, so that a feature that does not fit is found now."""
        import tensorflow as tf

        some = dataset.first_records(files, 100)
        if not some:
            return [Problem("the examples", f"none in {list(files)}", "at least one")]
        try:
            example_parsing.parse_examples(some, self._stored_spec)
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
            "training": getattr(self, "_training_facts", {}),
            "label_key": self.label_key,
            **({} if self.label_words is None else {"label_vocabulary": list(self.label_words)}),
            "seed": self.seed,
            "total_steps": self.schedule.total_steps,
            "num_examples": self.schedule.num_examples,
            "batch_size": self.schedule.batch_size,
            "seconds": round(time.monotonic() - started, 3),
            "timings": {phase: round(seconds, 3) for phase, seconds in self.timings.seconds.items()},
            **({"anomalies": anomalies} if (anomalies := data_checks.describe(self._anomalies)) else {}),
            **facts,
        }
        data_checks.warn_of_metrics(facts.get("metrics", {}), self._anomalies)
        write_state(self.fn_args.model_run_dir, state)

    def log_banner(self, facts: Mapping[str, Any]) -> None:
        """Shows what is about to happen: one line a fact."""
        schedule = self.schedule
        # where it resumed is a fact of its own: a training that was killed on the way is recorded as one that was not
        self._training_facts = {name: value for name, value in facts.items() if name != "resumed"}
        facts = {
            "data": f"{schedule.num_examples} examples in {list(self.fn_args.train_args.splits)}, "
            f"evaluated on {list(self.fn_args.eval_args.splits)}",
            "features": ", ".join(sorted(set(self.feature_spec) - {self.label_key, self.weight_key})),
            "label": self.label_key,
            **({} if self.weight_key is None else {"weight": self.weight_key}),
            **({} if self.class_weights is None else {"class weights": self.class_weights}),
            **facts,
            "steps": f"{schedule.total_steps} of {schedule.batch_size} examples, {schedule.steps_per_epoch} an epoch",
            "seed": self.seed,
            "model goes to": self.fn_args.serving_model_dir,
            "logs go to": self.fn_args.model_run_dir,
        }
        width = max(map(len, facts))
        print("\n".join(f"  {name:<{width}}  {value}" for name, value in facts.items()), flush=True)
        logging.info("Training: %s", facts)
