"""What is published of a model that a `run_fn` trained in a loop of its own; the trainer classes write it."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from polytrainer.executors.backends.base import BaseTrainer
from polytrainer.executors.data.examples import first_examples
from polytrainer.executors.data.files import data_files
from polytrainer.executors.data.parsing import mask_name
from polytrainer.executors.errors import PreflightError, TrainingError
from polytrainer.executors.result import TrainResult
from polytrainer.proto import args
from polytrainer.proto import export_args as export_args_lib
from polytrainer.proto.problems import Problem
from polytrainer.proto.trainer_pb2 import ExportArgs, TrainArgs

_WRITTEN = (
    "Format-Serving",
    "Format-TFMA",
    "Format-Torch",
    "Format-Keras",
    "Format-ONNX",
    "Format-TFLite",
    "Format-TFJS",
)


class ModelExporter(BaseTrainer):
    """The part of a trainer class that reads a node's examples and writes a model, which somebody else has trained.

    Attributes:
        given_features: Names of the features that the model is given; None for all but the label and the weight.
    """

    given_features: frozenset[str] | None

    def __init__(self, label_key: str | None = None, *, predict_fn: Callable[..., Any] | None = None, **options: Any):
        """Describes how examples are read and the model is called.

        Args:
            label_key: As in the trainer class.
            predict_fn: In place of its own: `predict_fn(model, features)`.
            **options: As in the trainer class.
        """
        super().__init__(label_key, **options)
        self._predict_fn = predict_fn

    def give_only(self, names: Collection[str] | None) -> None:
        """Narrows what the model is given to some features, and the masks of those that have a default."""
        self.given_features = None if names is None else frozenset([*names, *map(mask_name, names)])

    @property
    def not_given(self) -> set[str]:
        """The label, the weight, and the features that the model is not to be given."""
        unwanted = set() if self.given_features is None else set(self.feature_spec) - self.given_features
        return super().not_given | unwanted

    def given(self, features: Any) -> Any:
        """Those of some features that the model is given."""
        if self.given_features is None or not isinstance(features, Mapping):
            return features
        return {name: value for name, value in features.items() if name in self.given_features}

    def check_features(self, names: Collection[str]) -> None:
        """Refuses names that are no features.

        Raises:
            PreflightError: If there are some.
        """
        known = set(self.feature_spec) - super().not_given
        unknown = sorted(set(names) - known - set(map(mask_name, known)))
        if unknown or not names:
            raise PreflightError([Problem("features", str(unknown), f"some of {sorted(known)}")])


def export_fn_args(fn_args: Any, export_args: Any, precision: str = "") -> Any:
    """What a trainer class is told of a run, for it to write a model: without what concerns the training.

    Where the eval splits hold no examples, those of the training splits take their place.

    Args:
        fn_args: What the `run_fn` was given.
        export_args: In place of its own; None for these.
        precision: Number format of the model's weights, as `TrainArgs.precision` has it.

    Raises:
        PreflightError: If the export args contradict themselves.
    """
    told = copy.copy(fn_args)
    given = fn_args.train_args
    told.train_args = TrainArgs(
        splits=given.splits,
        batch_size=given.batch_size,
        precision=precision,
        data_cache_mb=given.data_cache_mb,
        data_mode=given.data_mode,
    )
    told.hyperparameters, told.base_model = None, None
    told.test_files, told.test_results_dir = {}, None
    if export_args is not None:
        told.export_args = args.parse(export_args, ExportArgs)
    if problems := export_args_lib.check(told.export_args):
        raise PreflightError(problems)
    if not first_examples(data_files(told.eval_files), 1):
        told.eval_files, told.raw_eval_files = told.train_files, []
        told.eval_split_files = {"train": told.train_files}
    return told


@contextmanager
def publishing(fn_args: Any) -> Iterator[None]:
    """Removes what an earlier call has written; what is wrong with a model is wrong with what would be published.

    Raises:
        TrainingError: In place of a PreflightError: nobody knows here whether the model is trained.
    """
    fn_args.exported = None
    _remove_written(os.path.dirname(fn_args.serving_model_dir))
    try:
        yield
    except PreflightError as error:
        raise TrainingError(*error.problems) from error


def record(fn_args: Any, exporter: BaseTrainer, framework: str, parity: Mapping[str, float]) -> TrainResult:
    """Notes what was measured, for the properties of the node's artifacts, whatever the `run_fn` returns.

    Args:
        fn_args: What the `run_fn` was given.
        exporter: That wrote the model.
        framework: As in the artifact's properties.
        parity: By format, how far what was written is from the model.
    """
    result = TrainResult(
        framework=framework,
        parity=dict(parity),
        label_key=exporter.label_key,
        serving_rows=exporter._num_served(parity),
    )
    fn_args.exported = result
    return result


def _remove_written(root: str) -> None:
    from tensorflow.io import gfile

    for name in _WRITTEN:
        if gfile.exists(folder := os.path.join(root, name)):
            gfile.rmtree(folder)
