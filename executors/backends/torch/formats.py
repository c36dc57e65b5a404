"""PyTorch models → ONNX, TFLite and TensorFlow.js: what of a TorchTrainer's model they are written from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from polytrainer.executors.backends.torch import batch as batch_lib
from polytrainer.executors.backends.torch import serving
from polytrainer.executors.backends.torch.onnx_file import export_onnx
from polytrainer.executors.export.formats import signature, tensors
from polytrainer.executors.export.formats import write as formats
from polytrainer.executors.export.formats.source import Source
from polytrainer.executors.export.signatures import named_outputs
from polytrainer.proto.problems import Problem

if TYPE_CHECKING:
    from polytrainer.executors.backends.torch.trainer import TorchTrainer


def problems(trainer: TorchTrainer, predictor: nn.Module, program: torch.export.ExportedProgram) -> list[Problem]:
    """What keeps an untrained model from being written in those formats, where they are asked for."""
    told = trainer.fn_args.export_args
    if not tensors.asked_for(told):
        return []
    features, _ = trainer.features_and_label(trainer.sample)
    what = " and ".join(tensors.asked_for(told))
    remedy = f"Make it dense in Transform, give it defaults={{name: value}}, or leave {what} out of ExportArgs.formats."
    expected = f"a tensor, which is what {what} take"
    formless = {name: value for name, value in features.items() if not isinstance(value, torch.Tensor)}
    if formless:
        return [
            Problem(f"the feature {name!r}", type(value).__name__, expected, remedy) for name, value in formless.items()
        ]
    return formats.problems(_source(trainer, predictor, program), told)


def write(
    trainer: TorchTrainer, predictor: nn.Module, program: torch.export.ExportedProgram, root: str
) -> dict[str, float]:
    """Writes the trained model in those formats; returns the largest differences, as `formats.write` does."""
    if not tensors.asked_for(trainer.fn_args.export_args):
        return {}
    return formats.write(_source(trainer, predictor, program), trainer.fn_args.export_args, root)


def _source(trainer: TorchTrainer, predictor: nn.Module, program: torch.export.ExportedProgram) -> Source:
    features = _first(trainer, tensors.wanted_examples(trainer.fn_args.export_args))
    outputs = list(serving.outputs_of(predictor, {name: array[:1] for name, array in features.items()}))

    def write_saved_model(path: str) -> None:
        import tensorflow as tf

        from polytrainer.executors.export.aten_to_tf import convert

        with tf.device("CPU:0"):
            module = tf.Module()
            module.model = convert(program)
            signature.save(module, lambda given: named_outputs(module.model(given)), features, path)

    def write_onnx(path: str, opset: int) -> None:
        some = batch_lib.at_least_two({name: torch.from_numpy(array[:16]) for name, array in features.items()})
        export_onnx(predictor, some, outputs, path, opset)

    return Source(write_saved_model, features, lambda batch: serving.outputs_of(predictor, batch), features, write_onnx)


def _first(trainer: TorchTrainer, count: int) -> dict[str, np.ndarray[Any, Any]]:
    """The first examples of the eval splits, by feature, `[count, …]`; of the training splits, where there are none."""
    found: list[dict[str, torch.Tensor]] = []
    for batch in _batches(trainer):
        found.append(trainer.features_and_label(batch)[0])
        if sum(batch_lib.num_rows(features) for features in found) >= count:
            break
    return {name: torch.cat([features[name] for features in found])[:count].numpy() for name in found[0]}


def _batches(trainer: TorchTrainer) -> Iterator[Any]:
    """Batches of a split from its beginning, which is then where it was."""
    for batches in (*trainer.eval_batches.values(), trainer.train_batches):
        if iter(batches) is batches:  # what is looked at would be gone
            continue
        position = batches.state_dict() if batch_lib.has_position(batches) else None
        try:
            yield from batches
        finally:
            if position is not None:
                batches.load_state_dict(position)
        return
    yield trainer.sample
