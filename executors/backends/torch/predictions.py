"""What a PyTorch model says of the examples of a split, as test results have it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from absl import logging
from torch import nn

from polytrainer.executors.backends.torch import batch as batch_lib
from polytrainer.executors.backends.torch import losses, serving
from polytrainer.executors.backends.torch.backend import TrainerBackend
from polytrainer.executors.backends.torch.modes import evaluating
from polytrainer.executors.data.encoders import Vocabulary
from polytrainer.executors.distributed import process_group
from polytrainer.executors.export.signatures import named_outputs
from polytrainer.executors.test_results import keys
from polytrainer.executors.test_results.readings import MAIN, Reading
from polytrainer.executors.test_results.results import Results
from polytrainer.executors.test_results.shards import Ranks

if TYPE_CHECKING:
    from polytrainer.executors.backends.torch.trainer import TorchTrainer

_READINGS = {
    "binary_cross_entropy": Reading("multilabel", "sigmoid"),
    "cross_entropy": Reading("multiclass", "softmax"),
    "multi_margin": Reading("multiclass"),
    "multilabel": Reading("multilabel", "sigmoid"),
    "nll": Reading("multiclass", "exp"),
}


def ranks() -> Ranks:
    """The ranks of this training, each of which writes its share of the examples."""
    return Ranks(process_group.rank(), process_group.world_size(), process_group.wait_for_all)


def tell(
    trainer: TorchTrainer, backend: TrainerBackend, model: nn.Module, batches: Iterable[Any], told: Observer
) -> None:
    """Goes through the batches once, without metrics; every rank does.

    Args:
        trainer: With `predict_fn`.
        backend: Where the model is.
        model: As `backend.wrap` returned it.
        batches: This rank's share of them.
        told: Is told of each.
    """
    plain = backend.plain(model)
    backend.sync_buffers(model)
    with torch.inference_mode(), evaluating(plain):
        for batch in batches:
            is_empty = batch_lib.num_rows(batch) == 0  # this rank still takes part in what ranks do together
            prepared = trainer.prepared(trainer.sample if is_empty else batch, backend)
            with backend.computing():
                outputs = trainer.predict_fn(plain, trainer.features_and_label(prepared)[0])
            told(batch, None if is_empty else outputs)


class Observer:
    """Tells test results of each batch that an evaluation has gone through.

    Args:
        trainer: Whose loss says how outputs are read.
        batches: What the evaluation iterates over.
        results: To tell.
    """

    def __init__(self, trainer: TorchTrainer, batches: Any, results: Results):
        self._trainer, self._batches, self._results = trainer, batches, results
        self._names, self._warned = class_names(trainer), False

    def __call__(self, batch: Any, outputs: Any) -> None:
        """Takes a batch as `input_fn` gave it, and what `predict_fn` said of it; None of one without an example."""
        told, features = {}, None
        if outputs is not None:
            given, label, weight = self._trainer.batch_parts(batch)
            found, key = self._of_rows(_arrays(outputs), batch_lib.num_rows(batch)), self._trainer.label_key
            reading = reading_of(self._trainer, outputs, label)
            told = Reading(reading.task, reading.activation, class_names=self._names).of(found)
            if key is not None and isinstance(label, torch.Tensor):
                told[key] = _array(label)
            if isinstance(weight, torch.Tensor) and weight.numel() == batch_lib.num_rows(batch):
                told[keys.EXAMPLE_WEIGHT] = _array(weight)
            if not self._results.has_stored and isinstance(given, Mapping):
                features = {name: _array(each) for name, each in given.items() if isinstance(each, torch.Tensor)}
        count = 0 if outputs is None else batch_lib.num_rows(batch)
        self._results.add(told, features, getattr(self._batches, "global_size", None), count)

    def _of_rows(self, outputs: Mapping[str, Any], count: int) -> dict[str, Any]:
        """Those of the outputs that have a row for each example."""
        found = {name: value for name, value in outputs.items() if value.shape[:1] == (count,)}
        if len(found) < len(outputs) and not self._warned:
            self._warned = True
            missing = ", ".join(sorted(set(outputs) - set(found)))
            logging.warning("The test results are without %s: not a row for each example.", missing)
        return found


def reading_of(trainer: TorchTrainer, outputs: Any, label: Any) -> Reading:
    """How outputs are read: by the name of the loss; where it is the user's own, at most as scores of classes."""
    name = trainer._sample.loss_name
    if name is not None:
        return _READINGS.get(name, Reading())
    try:
        scores = losses.logits_of(outputs)
    except ValueError:
        return Reading()
    if trainer.label_key is None or not isinstance(label, torch.Tensor) or label.is_floating_point():
        return Reading()
    width = scores.shape[1] if scores.ndim > 1 else 1
    return Reading("multiclass" if width > 1 and scores.numel() == label.numel() * width else None)


def class_names(trainer: TorchTrainer) -> list[bytes] | None:
    """Names of the classes: those of `classes`, or the words of the label; None where nobody knows."""
    encoder = trainer.encoders.get(trainer.label_key or "")
    if trainer.classes is None and isinstance(encoder, Vocabulary):
        return [word.encode() for word in encoder.words]
    return serving.class_names(trainer)


def _arrays(outputs: Any) -> dict[str, Any]:
    """Outputs with a row for each example, by name; the one that the loss is about alone, where there is one."""
    try:
        return {MAIN[0]: _array(losses.logits_of(outputs))}
    except ValueError:
        found = {name: value for name, value in named_outputs(outputs).items() if isinstance(value, torch.Tensor)}
        return {name: _array(value) for name, value in found.items() if value.ndim}


def _array(tensor: torch.Tensor) -> Any:
    tensor = tensor.detach()
    if tensor.dtype in (torch.float16, torch.bfloat16):  # the latter has no name in NumPy
        tensor = tensor.float()
    return tensor.cpu().numpy()
