"""The hooks of TorchTrainer and their defaults, and what is at hand in them."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from polytrainer.executors.backends import data_checks
from polytrainer.executors.backends.base import DEFAULT_BATCH_SIZE, BaseTrainer, Schedule
from polytrainer.executors.backends.example_weights import LABELS_AT_ONCE, labels_of
from polytrainer.executors.backends.torch import data_values, datasets, forward, optimizers, schedulers
from polytrainer.executors.backends.torch import metrics as metrics_lib
from polytrainer.executors.backends.torch.backend import TrainerBackend
from polytrainer.executors.backends.torch.batch import moved
from polytrainer.executors.backends.torch.callbacks import Callback
from polytrainer.executors.backends.torch.checkpointer import Checkpointer
from polytrainer.executors.backends.torch.class_weights import weights_of_labels
from polytrainer.executors.backends.torch.losses import IGNORE_INDEX
from polytrainer.executors.backends.torch.sample import Sample
from polytrainer.executors.data.encoders import Vocabulary
from polytrainer.executors.data.packed import check_weight
from polytrainer.executors.data.torch_batches import TorchBatches
from polytrainer.executors.distributed import process_group
from polytrainer.executors.errors import PreflightError, TrainingError
from polytrainer.executors.monitors import ModelSelection
from polytrainer.proto import args, export_args
from polytrainer.proto.problems import Problem
from polytrainer.proto.trainer_pb2 import TrainArgs

_PARTS = (2, 3)
CACHE_MB = 2048


class TorchHooks(BaseTrainer):
    """What of a TorchTrainer a user may override."""

    # arguments of the constructor, which hyperparameters may override
    loss: str | None
    loss_options: dict[str, Any]
    optimizer: str
    learning_rate: float | None
    optimizer_options: dict[str, Any]
    scheduler: str
    warmup_steps: float
    scheduler_options: dict[str, Any]
    metrics: list[str]
    encoders: dict[str, Any]
    classes: Any
    strict_base_model: bool
    log_graph: bool
    log_histograms: bool
    backend: TrainerBackend | Callable[[TrainArgs], TrainerBackend] | None
    checkpointer: Checkpointer | None
    trainer_config: dict[str, Any]

    _PRECISIONS = args.PRECISIONS
    _STRATEGIES = ("default", "single", "ddp", "fsdp")
    _KNOWS_ALL_ARGS = True
    _FIT_FORMATS = (export_args.TORCH,)
    _NEEDS_EVAL_DATA = False
    _OTHER_DATA = "a map-style torch Dataset or DataLoader of (features, label), "
    _BOUND = (*BaseTrainer._BOUND, "train_batches", "eval_batches", "_sample", "_calls", "loss_takes_weight")

    def __init__(
        self,
        label_key: str | None = None,
        *,
        loss: str | None = None,
        loss_options: Mapping[str, Any] | None = None,
        optimizer: str = "adamw",
        learning_rate: float | None = None,
        optimizer_options: Mapping[str, Any] | None = None,
        scheduler: str = "constant",
        warmup_steps: float = 0,
        scheduler_options: Mapping[str, Any] | None = None,
        metrics: Sequence[str] = (),
        encoders: Mapping[str, Any] | None = None,
        classes: Sequence[str] | Vocabulary | str | None = None,
        strict_base_model: bool = False,
        log_graph: bool = False,
        log_histograms: bool = False,
        backend: TrainerBackend | Callable[[TrainArgs], TrainerBackend] | None = None,
        checkpointer: Checkpointer | None = None,
        trainer_config: Mapping[str, Any] | None = None,
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
        """Describes a training. A Tuner's hyperparameters override arguments of the same names.

        Args:
            label_key: Name of the label in the examples (after Transform, if there is one). None: batches are
                features only, and `loss_fn` gets them in place of a label.
            loss: One of `polytrainer.executors.backends.torch.losses`. None: cross_entropy for an integer label
                (binary_cross_entropy where the model has one output), mse for another.
            loss_options: For it, e.g. `{"label_smoothing": 0.1}`.
            optimizer: One of `….torch.optimizers`; fused where there is such a one.
            learning_rate: None: the optimizer's own.
            optimizer_options: For it, e.g. `{"weight_decay": 0.01}`.
            scheduler: One of `….torch.schedulers`, e.g. "cosine" or "plateau".
            warmup_steps: Steps of linear warm-up before it; a float between 0 and 1 is a fraction of all steps.
            scheduler_options: For it.
            metrics: Some of `….torch.metrics`, e.g. `["accuracy", "f1", "auroc"]`; over a whole split, never a mean
                over batches.
            encoders: How features of words become numbers, by name: `Vocabulary`, `Hashing`, or a function of tensors.
            classes: Names of the classes, a Vocabulary of them, or the name of a vocabulary of the transform graph: a
                SavedModel then has a further output `classes`, the likeliest one's name.
            strict_base_model: Whether a `base_model` must match in each of its weights.
            log_graph: Whether TensorBoard gets the model's graph.
            log_histograms: Whether it gets histograms of the weights at each evaluation.
            backend: In place of that of `TrainArgs.strategy` and `precision`: a class, or a function, which is called
                with TrainArgs in each rank; or an object, for one process.
            checkpointer: In place of files in `fn_args.checkpoint_dir`.
            trainer_config: Arguments of `lightning.Trainer`, where `model_fn` returns a LightningModule.
            feature_spec: As in BaseTrainer.
            defaults: As in BaseTrainer; each of them comes with a mask, `<name>_mask`.
            raw_label_key: As in BaseTrainer.
            weight_key: As in BaseTrainer.
            raw_weight_key: As in BaseTrainer.
            class_weights: As in BaseTrainer; `loss_options={"weight": […]}`, PyTorch's own, counts in evaluations, too.
            examples_are: As in BaseTrainer.
            label_vocabulary: As in BaseTrainer; its words are the `classes`, too, where these are not given.
            params: As in BaseTrainer.
            allow_unknown: As in BaseTrainer.
            **arguments: As in BaseTrainer.
        """
        super().__init__(
            label_key,
            feature_spec=feature_spec,
            defaults=defaults,
            raw_label_key=raw_label_key,
            weight_key=weight_key,
            raw_weight_key=raw_weight_key,
            class_weights=class_weights,
            examples_are=examples_are,
            label_vocabulary=label_vocabulary,
            params=params,
            allow_unknown=allow_unknown,
            loss=loss,
            loss_options=dict(loss_options or {}),
            optimizer=optimizer,
            learning_rate=learning_rate,
            optimizer_options=dict(optimizer_options or {}),
            scheduler=scheduler,
            warmup_steps=warmup_steps,
            scheduler_options=dict(scheduler_options or {}),
            metrics=list(metrics),
            encoders=dict(encoders or {}),
            classes=classes,
            strict_base_model=strict_base_model,
            log_graph=log_graph,
            log_histograms=log_histograms,
            backend=backend,
            checkpointer=checkpointer,
            trainer_config=dict(trainer_config or {}),
            **arguments,
        )

    # ---- the hooks

    def input_fn(self, files: Sequence[str], *, training: bool, first_step: int = 0) -> Iterable[Any]:
        """Makes batches of a split: this rank's share of them.

        Args:
            files: Paths of its files.
            training: Shuffled, and of `TrainArgs.batch_size`; else in order, and of `EvalArgs.batch_size`.
            first_step: Batches to pass over. The training itself does not use it: it goes on from the position that
                `state_dict()` of what this returns has told, where it has one.

        Returns:
            Anything that yields the batches of one epoch each time it is iterated over: `(features, label)`,
            `(features, label, weight)`, or without a `label_key` the features alone. By default a `TorchBatches`. One
            that has `state_dict` and `load_state_dict` is resumed at its position; any other, a `DataLoader` that
            shuffles too, by the random numbers that its epoch began with.
        """
        eval_args = self.fn_args.eval_args
        batches = self._batches(
            files,
            drop_last=training and self.fn_args.train_args.drop_last,
            batch_size=self.batch_size if training else eval_args.batch_size or self.batch_size,
            shuffle=training,
            seed=self.seed,
            rank=process_group.rank(),
            world_size=process_group.world_size(),
        )
        if first_step:
            epoch, passed = divmod(first_step, self.schedule.steps_per_epoch)
            batches.load_state_dict({"seed": self.seed, "epoch": epoch, "offset": passed * self.batch_size})
        return batches

    def _batches(self, files: Sequence[str], **options: Any) -> TorchBatches:
        """The examples of some files, read as the schema has them."""
        train_args = self.fn_args.train_args
        return TorchBatches(
            files,
            self._stored_spec,
            label_key=self.label_key,
            weight_key=self.weight_key,
            encoders=self._batch_encoders,
            preprocess=self._transform_layer if self._is_raw else None,
            cache_mb=train_args.data_cache_mb or CACHE_MB,
            mode=train_args.data_mode or "auto",  # type: ignore[arg-type] # one of them: it was checked
            cache_dir=self._cache_dir,
            **options,
        )

    def loss_fn(self, outputs: Any, label: Any, weight: torch.Tensor | None = None) -> Any:
        """The loss of some examples.

        Args:
            outputs: What `predict_fn` returned.
            label: `[batch, …]`; the features, where there is no `label_key`.
            weight: How much each example counts, `[batch]`; given only where there are weights, and then by name. A
                loss_fn of yours needs no such parameter where there are none.

        Returns:
            The mean, a scalar tensor. The mean over rows is computed of a batch in parts, too; where it is over
            anything else (tokens, weighted examples), return `(sum, weight)` instead: the loss is the sum of all
            parts' sums, divided by the sum of their weights.
        """
        return self._sample.loss(outputs, label, weight)

    def optimizer_fn(self, model: nn.Module) -> Any:
        """The optimizer of a model, or a list of several, which all step with each batch."""
        trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        return _named(optimizers.make, self.optimizer, trainable, self.learning_rate, **self.optimizer_options)

    def scheduler_fn(self, optimizer: torch.optim.Optimizer) -> Any:
        """The scheduler of an optimizer's learning rate, or None.

        Its `step()` is called after each step of the optimizer, that of a `ReduceLROnPlateau` after each evaluation,
        with the metric that early stopping monitors, or by which the model is selected, or else the loss.
        """
        total, options = self.schedule.total_steps, dict(self.scheduler_options)
        if self.scheduler == schedulers.PLATEAU:
            options.setdefault("mode", ModelSelection.from_args(self.fn_args.train_args).plateau.mode)
        return _named(schedulers.make, self.scheduler, optimizer, total, self.warmup_steps, **options)

    def train_step(self, model: nn.Module, batch: Any) -> Any:
        """The loss of a batch, with its graph, as `loss_fn` returns it; or a dict with it as `loss`."""
        features, label, weight = self.batch_parts(batch)
        return self._loss(self.predict_fn(model, features), label, weight)

    def eval_step(self, model: nn.Module, batch: Any, metrics: dict[str, Any]) -> Any:
        """The loss of a batch of an evaluation, as `loss_fn` returns it; updates the metrics."""
        return self.evaluated(model, batch, metrics)[0]

    def metrics_fn(self) -> dict[str, Any]:
        """Fresh metrics by name: `torchmetrics.Metric`s."""
        task, num_classes = self._sample.task
        options = {"ignore_index": self._sample.ignore_index, "weighted": self._sample.has_weight}
        return _named(metrics_lib.make, self.metrics, task=task, num_classes=num_classes, **options)  # type: ignore[no-any-return]

    def callbacks(self) -> list[Callback]:
        """Callbacks of your own."""
        return []

    def predict_fn(self, model: nn.Module, features: Mapping[str, Any]) -> Any:
        """What the model says of a batch of features: by default as one dict, or by the names in its `forward`."""
        call = self._calls.get(model)
        if call is None:
            call = self._calls[model] = forward.caller(model, tuple(features))
        return call(features)

    # ---- what is at hand

    @property
    def batch_size(self) -> int:
        """Examples in a training batch, over all ranks."""
        return self.fn_args.train_args.batch_size or DEFAULT_BATCH_SIZE

    @cached_property
    def train_batches(self) -> Any:
        """What is trained on, as `input_fn` made it."""
        return self.input_fn(self.files(self.fn_args.train_files), training=True)

    @cached_property
    def eval_batches(self) -> dict[str, Any]:
        """What is evaluated on while training, by split."""
        by_split = self.fn_args.eval_split_files
        return {name: self.input_fn(self.files(each), training=False) for name, each in by_split.items()}

    @cached_property
    def schedule(self) -> Schedule:
        """How long this training goes on."""
        train_args, batches = self.fn_args.train_args, self.train_batches
        num_examples = getattr(batches, "num_examples", None)
        if num_examples is None and hasattr(batches, "__len__"):
            num_examples = len(batches) * self.batch_size
        if num_examples is None:
            return super().schedule
        return Schedule.of(num_examples, self.batch_size, train_args)

    @property
    def sample(self) -> Any:
        """Some examples as `input_fn` gives them."""
        return self._sample.batch

    def features_and_label(self, batch: Any) -> tuple[Any, Any]:
        """Features and label of a batch; where there is no `label_key`, the features are both."""
        return self.batch_parts(batch)[:2]

    def batch_parts(self, batch: Any) -> tuple[Any, Any, Any]:
        """Features, label and weight of a batch; None where it has no weight.

        Raises:
            TrainingError: If it has other parts.
        """
        if self.label_key is None:
            return batch, batch, None
        if isinstance(batch, (tuple, list)) and len(batch) in _PARTS:
            return (*batch, None)[:3]
        got = f"a {type(batch).__name__}" + (f" of {len(batch)}" if isinstance(batch, (tuple, list)) else "")
        expected = "(features, label), or (features, label, weight)"
        remedy = "Batches of features alone are those of a trainer without a label_key."
        raise TrainingError(Problem("a batch of input_fn", got, expected, remedy))

    def prepared(self, batch: Any, backend: TrainerBackend, *, training: bool = False) -> Any:
        """A batch on the backend's device, in its number format; for training with the weights of its classes, too."""
        if type(self).input_fn is not TorchHooks.input_fn:  # whose weights were looked at when they were read
            check_weight(self.batch_parts(batch)[2])
        if backend.device.type != "cpu":
            batch = moved(batch, backend.device)
        if training and self.class_weights is not None:
            features, label, weight = self.batch_parts(batch)
            batch = features, label, weights_of_labels(label, self._weight_by_class, weight)
        if isinstance(batch, tuple):
            return (backend.of_features(batch[0]), *batch[1:])
        return backend.of_features(batch)

    def metrics_on(self, device: torch.device) -> dict[str, Any]:
        """Fresh metrics on a device."""
        return {name: metric.to(device) for name, metric in self.metrics_fn().items()}

    def evaluated(self, model: nn.Module, batch: Any, metrics: dict[str, Any]) -> tuple[torch.Tensor, Any]:
        """What `eval_step` does by default: the mean loss of a batch and the outputs; updates the metrics."""
        features, label, weight = self.batch_parts(batch)
        outputs = self.predict_fn(model, features)
        if metrics:
            metrics_lib.update(metrics, outputs, label, weight)
        return self._loss(outputs, label, weight), outputs

    def _loss(self, outputs: Any, label: Any, weight: torch.Tensor | None) -> Any:
        if weight is None:
            return self.loss_fn(outputs, label)
        if not self.loss_takes_weight:  # which the examples that were looked at before training did not show
            raise TrainingError(self.loss_without_weight("a batch with weights"))
        return self.loss_fn(outputs, label, weight=weight)

    def loss_without_weight(self, got: str) -> Problem:
        """What is wrong with weights beside a `loss_fn` that cannot take them."""
        expected = "loss_fn(self, outputs, label, weight): a mean over rows, or (sum, sum of the weights)"
        return Problem("loss_fn", f"{got} beside a loss_fn(outputs, label) without a weight", expected)

    @cached_property
    def loss_takes_weight(self) -> bool:
        """Whether `loss_fn` has a parameter for the weights of examples."""
        parameters = inspect.signature(self.loss_fn).parameters.values()
        return any(each.name == "weight" or each.kind is each.VAR_KEYWORD for each in parameters)

    def _label_counts(self) -> dict[int, int]:
        """How many examples of the training splits each label has; every rank calls it."""
        counts: Counter[int] = Counter()
        for batch in self._whole_train_split():
            label = self.batch_parts(batch)[1]
            counts.update(labels_of(label[label != self.loss_options.get("ignore_index", IGNORE_INDEX)]))
        if type(self).input_fn is not TorchHooks.input_fn:  # of one's own: it may give each rank a share
            counts = sum(process_group.gathered(counts), Counter())
        return dict(counts)

    def _whole_train_split(self) -> Iterable[Any]:
        """All training examples, once, whatever this process's share of them is."""
        files = self.files(self.fn_args.train_files)
        if type(self).input_fn is not TorchHooks.input_fn:
            return self.input_fn(files, training=False)
        return self._batches(files, batch_size=LABELS_AT_ONCE, rank=0, world_size=1)

    # ---- inside

    @property
    def _batch_encoders(self) -> dict[str, Any]:
        """How features of words and a label of words become numbers, by name."""
        if self.label_words is None:
            return self.encoders
        return {**self.encoders, str(self.label_key): Vocabulary(self.label_words)}

    @cached_property
    def _label_encoders(self) -> dict[str, Any]:
        own = {name: encoder for name, encoder in self.encoders.items() if name == self.label_key}
        return own or super()._label_encoders

    @cached_property
    def _sample(self) -> Sample:
        return Sample(self)

    @cached_property
    def _calls(self) -> dict[nn.Module, Any]:
        """How models that were called before are called."""
        return {}

    @property
    def _cache_dir(self) -> str | None:
        """Where decoded data may lie: with the checkpoints, so that ranks share it and a resumed training has it."""
        folder = self.fn_args.checkpoint_dir
        return f"{folder}/data" if folder else process_group.shared_folder()

    def _as_table(self, data: Any, where: str) -> tuple[Any | None, list[Problem]]:
        if isinstance(data, (DataLoader, Dataset)):
            return datasets.dataset_table(data, where, self.label_key, self.weight_key)
        return super()._as_table(data, where)

    def _check_sizes(self) -> list[Problem]:
        """Nothing: all of a split is decoded before the first step."""
        return []

    @cached_property
    def _anomalies(self) -> data_checks.Anomalies:
        """NaN and infinity in each split that is decoded."""
        return data_values.find(self)

    def _check_first_batch(self, files: Sequence[str]) -> list[Problem]:
        """Nothing: all of a split is decoded before the first step."""
        return []


def _named(make: Any, *args: Any, **options: Any) -> Any:
    """What is made by name; a name or an option that does not exist is wrong before anything is trained."""
    try:
        return make(*args, **options)
    except ValueError as error:
        raise PreflightError([Problem("the trainer's arguments", str(error), "something that exists")]) from error
