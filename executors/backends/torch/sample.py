"""Some examples, looked at before any training: does the model take them, and what is it to learn?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from polytrainer.executors.backends.data_errors import text_label
from polytrainer.executors.backends.torch import batch as batch_lib
from polytrainer.executors.backends.torch import label_shapes, losses
from polytrainer.executors.backends.torch import metrics as metrics_lib
from polytrainer.executors.backends.torch.modes import evaluating
from polytrainer.executors.data.columns import Ragged
from polytrainer.executors.errors import PreflightError
from polytrainer.proto.problems import Problem

if TYPE_CHECKING:
    from polytrainer.executors.backends.torch.hooks import TorchHooks

_ROWS = 16
_STEPS = ("loss_fn", "train_step", "eval_step")


class Sample:
    """Examples as `input_fn` gives them, and what a model makes of them.

    Attributes:
        batch: Some examples.
        outputs: What the model that was looked at makes of them.
        loss_name: Of the loss by name; None where `loss_fn` is the user's.
        has_weight: Whether its examples have weights.
    """

    def __init__(self, trainer: TorchHooks):
        self._trainer = trainer
        sources = _splits(trainer)
        self.batch: Any = next((found for source in sources if (found := _first_rows(source)) is not None), None)
        if self.batch is None:
            raise PreflightError([Problem("input_fn", "no batch", "batches with examples")])
        self.outputs: Any = None
        self.loss_name: str | None = None
        self._labels_are_classes = False

    def look_at(self, model: nn.Module) -> None:
        """Calls a model once, so that what does not fit shows now; makes the parameters of lazy modules.

        Raises:
            PreflightError: If the model does not take the features, or the loss the outputs and the label.
        """
        self._check_weights()
        with self._clear_errors(), torch.no_grad(), evaluating(model):
            self.outputs = self._predict(model)
            self._check_class_weights()
            self._find_loss()
        self._trainer.metrics_fn()

    def call(self, model: nn.Module) -> None:
        """Calls a model once, without a loss.

        Raises:
            PreflightError: If it does not take the features.
        """
        with self._clear_errors(), torch.no_grad(), evaluating(model):
            self.outputs = self._predict(model)

    def _predict(self, model: nn.Module) -> Any:
        features, _, _ = self._trainer.batch_parts(self.batch)
        return self._trainer.predict_fn(model, features)

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        """Says of an error of a model or a loss what they were called with."""
        features, _, _ = self._trainer.batch_parts(self.batch)
        try:
            yield
        except PreflightError:
            raise
        except ValueError as error:  # ours say it all
            raise PreflightError([Problem("the model", str(error), "one that fits the data")]) from error
        except Exception as error:
            got = f"{type(error).__name__} when it was first called: {error}"
            expected = f"outputs for {', '.join(_described(name, value) for name, value in features.items())}"
            remedy = (
                "A forward whose parameters have names of features gets these, any other gets all of them as a dict."
            )
            raise PreflightError([Problem("the model", got, expected, remedy)]) from error

    @cached_property
    def loss(self) -> losses.Loss:
        """The loss by name."""
        assert self.loss_name is not None
        return losses.make(self.loss_name, ignores=not self._labels_are_classes, **self._trainer.loss_options)

    @property
    def task(self) -> tuple[str | None, int | None]:
        """What metrics are of: "binary", "multiclass", "multilabel" or "regression", and the number of classes."""
        if self._trainer.label_key is None:
            return None, None
        return metrics_lib.task_of(self.outputs, self._label, self.loss_name)

    @property
    def ignore_index(self) -> int | None:
        """The label that the loss ignores, and so do metrics by name; None if it ignores none."""
        if self.loss_name is None:
            return losses.IGNORE_INDEX  # a loss of the user's: it is no class in any case
        if self.loss_name not in losses.IGNORING or self._labels_are_classes:
            return None
        return int(self._trainer.loss_options.get("ignore_index", losses.IGNORE_INDEX))

    # ---- inside

    @property
    def _label(self) -> torch.Tensor:
        return self._trainer.batch_parts(self.batch)[1]

    @property
    def has_weight(self) -> bool:
        """Whether the examples have weights."""
        return self._trainer.batch_parts(self.batch)[2] is not None

    def _find_loss(self) -> None:
        """Chooses the loss by name, unless `loss_fn` is the user's."""
        from polytrainer.executors.backends.torch.hooks import TorchHooks

        trainer = self._trainer
        own = [name for name in _STEPS if getattr(type(trainer), name) is not getattr(TorchHooks, name)]
        if trainer.loss is None and "loss_fn" in own:
            if not self.has_weight:
                label_shapes.check(trainer.loss_fn, self.outputs, self._label)
            return
        if trainer.label_key is not None and _is_text(self._label):
            raise PreflightError([text_label(trainer.label_key, "torch")])
        try:
            self.loss_name = trainer.loss or self._fitting_loss()
            self._check_label_range()
            _, label, weight = trainer.batch_parts(self.batch)
            self.loss(self.outputs, label, weight)
        except ValueError:
            if trainer.loss is not None or own != list(_STEPS[1:]):
                raise
            self.loss_name = None  # nobody asks for it

    def _fitting_loss(self) -> str:
        if self._trainer.label_key is None:
            remedy = "Say loss=…, or write loss_fn."
            raise ValueError(f"neither a label_key nor a loss to choose by it. {remedy}")
        if self._label.is_floating_point():
            return "mse"
        logits = losses.logits_of(self.outputs)
        return "cross_entropy" if logits.ndim > 1 and logits.shape[1] > 1 else "binary_cross_entropy"

    def _check_label_range(self) -> None:
        """Finds a label that is the number of no class, in whatever example."""
        trainer = self._trainer
        if self.loss_name not in losses.IGNORING or self._label.is_floating_point():
            return
        if "ignore_index" in trainer.loss_options:
            return
        classes = losses.logits_of(self.outputs).shape[1]
        splits = (trainer.train_batches, *trainer.eval_batches.values())
        ranges = [batches.range_of(trainer.label_key) if hasattr(batches, "range_of") else None for batches in splits]
        for lowest, highest in filter(None, ranges):
            if lowest == losses.IGNORE_INDEX and highest < classes:
                continue
            if not 0 <= lowest <= highest < classes:
                got = f"values from {lowest} to {highest}"
                expected = f"values from 0 to {classes - 1}: the model has {classes} outputs"
                raise PreflightError([Problem(f"the label {trainer.label_key!r}", got, expected)])
        self._labels_are_classes = all(each is not None and each[0] >= 0 for each in ranges)

    def _check_class_weights(self) -> None:
        """Whether labels are the numbers of classes, and not values of their own for each output."""
        label = self._label
        if self._trainer.class_weights is None or not isinstance(label, torch.Tensor):
            return
        try:
            outputs = losses.logits_of(self.outputs)
        except ValueError:  # a loss of the user's will know what it is about
            return
        if label.numel() > len(label) and label.shape == outputs.shape:
            got = f"a label {list(label.shape)}, with a value for each output"
            remedy = 'Of several labels, loss_options={"pos_weight": […]} weighs those that are 1.'
            expected = "the number of a class for each example, or each position of it"
            raise PreflightError([Problem("class_weights", got, expected, remedy)])

    def _check_weights(self) -> None:
        """Whether weights can reach the loss."""
        from polytrainer.executors.backends.torch.hooks import TorchHooks

        trainer = self._trainer
        weights = [name for name in ("weight_key", "class_weights") if getattr(trainer, name) is not None]
        if not (self.has_weight or weights):
            return
        steps = _STEPS[1:] if self.has_weight else _STEPS[1:2]  # class weights are for training alone
        gives_weight = any(getattr(type(trainer), name) is getattr(TorchHooks, name) for name in steps)
        if gives_weight and not trainer.loss_takes_weight:
            raise PreflightError([trainer.loss_without_weight(", ".join(weights) or "batches with weights")])


def _is_text(value: Any) -> bool:
    """Whether a feature is bytes, which are rows of uint8."""
    while isinstance(value, Ragged):
        value = value.values
        if isinstance(value, torch.Tensor):
            return bool(value.dtype == torch.uint8)
    return False


def _splits(trainer: TorchHooks) -> Iterator[Any]:
    """Batches of each split; those that are trained on last, and not made where nobody needs them."""
    yield from trainer.eval_batches.values()
    yield trainer.train_batches


def _first_rows(batches: Any) -> Any:
    """The first examples of a split; None if it has none, or if looking would take them away."""
    if iter(batches) is batches:
        return None
    batch = batch_lib.first(batches)
    if batch is None or batch_lib.num_rows(batch) == 0:
        return None
    return batch_lib.rows(batch, 0, _ROWS)


def _described(name: str, value: Any) -> str:
    """A feature as a person would note it down: `image [16, 8, 8] float32`."""
    if not isinstance(value, torch.Tensor):
        return f"{name} ({type(value).__name__})"
    return f"{name} {list(value.shape)} {str(value.dtype).removeprefix('torch.')}"
