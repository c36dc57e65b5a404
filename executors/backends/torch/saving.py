"""A trained model → `Format-Torch`: its weights, and the model itself as a program that needs no code of the user's."""

from __future__ import annotations

import copy
import os
import tempfile
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from polytrainer.executors import run_record
from polytrainer.executors.backends.torch import batch as batch_lib
from polytrainer.executors.backends.torch import formats, serving
from polytrainer.executors.backends.torch.hooks import TorchHooks
from polytrainer.executors.backends.torch.modes import evaluating
from polytrainer.executors.backends.torch.precision import Precision
from polytrainer.executors.backends.torch.warm_start import FILE, FOLDER
from polytrainer.executors.data.columns import Ragged, Sparse
from polytrainer.executors.errors import PreflightError, TrainingError
from polytrainer.executors.export import finite, saved_model
from polytrainer.executors.export.parity import difference
from polytrainer.executors.export.signatures import SERVING, named_outputs
from polytrainer.executors.export.torch_program import load_program
from polytrainer.proto import export_args
from polytrainer.proto.problems import Problem

if TYPE_CHECKING:
    from polytrainer.executors.backends.torch.engine import Engine
    from polytrainer.executors.backends.torch.trainer import TorchTrainer

PROGRAM = "model.pt2"


class Predictor(nn.Module):  # type: ignore[misc]
    """A trained model with plain tensors in and float32 tensors out: what is exported.

    Takes features by name; a ragged one as `<name>.values` and `<name>.row_lengths`, the number of values of each
    example.
    """

    def __init__(self, trainer: TorchTrainer, model: nn.Module):
        super().__init__()
        self.model = model
        self._predict = trainer.predict_fn
        self._cast = (trainer.engine.backend if hasattr(trainer, "engine") else _precision(trainer)).of_features
        self._like, _ = trainer.features_and_label(trainer.sample)

    def forward(self, features: dict[str, torch.Tensor]) -> Any:
        """What the model says of them."""
        whole = {name: _whole(name, like, features) for name, like in self._like.items()}
        return _widened(self._predict(self.model, self._cast(whole)))


def whole_model(engine: Engine) -> nn.Module:
    """The trained model with all of its weights, on the CPU, in a module of its own; on rank 0. All ranks call it."""
    plain = engine.backend.plain(engine.model)
    if hasattr(plain, "unshard"):  # FSDP2 changed the module in place: its weights go into one that it did not touch
        weights = engine.backend.model_state(engine.model)
        if engine.backend.rank != 0:
            return plain
        whole = engine.trainer.new_model()
        whole.load_state_dict(weights)
    else:
        whole = copied(plain)
    return whole.to("cpu")


def copied(model: nn.Module) -> nn.Module:
    """A copy of a model; what `compile` made of it is not among it, as it cannot be copied."""
    compiled, model._compiled_call_impl = model._compiled_call_impl, None
    try:
        return copy.deepcopy(model)
    finally:
        model._compiled_call_impl = compiled


def export(trainer: TorchTrainer, model: nn.Module) -> torch.export.ExportedProgram:
    """The model as a program for any number of examples (`torch.export`).

    Raises:
        TrainingError: If torch cannot make a program of it.
    """
    sample = batch_lib.at_least_two(trainer.sample)  # torch takes one example for a fixed size
    features, _ = trainer.features_and_label(sample)
    # features of a batch are views of one tensor, which cannot be saved with the program as its example
    apart = {name: tensor.clone() for name, tensor in flat(features).items()}
    batch = torch.export.Dim("batch", min=1)
    shapes = dict(sizes for name, value in features.items() for sizes in _sizes(name, value, batch))
    try:
        predictor = Predictor(trainer, model)
        with torch.no_grad(), evaluating(predictor):
            return torch.export.export(predictor, (apart,), dynamic_shapes=(shapes,))
    except Exception as error:
        got = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
        expected = "a model that torch.export can make a program of"
        remedy = (
            "Does forward choose its way by values of tensors, or by the number of examples? Torch's error says more."
        )
        raise TrainingError(Problem("torch.export", got, expected, remedy)) from error


def check(trainer: TorchTrainer, model: nn.Module) -> None:
    """Looks, before training, whether the model can be written as it is to be.

    Raises:
        PreflightError: If it cannot.
    """
    # torch.export (2.14) writes names into the Python code of its checks as they are
    if quoted := sorted(name for name in trainer.features_and_label(trainer.sample)[0] if "'" in name or '"' in name):
        remedy = "Rename it, e.g. in Transform."
        raise PreflightError([Problem("names of features", str(quoted), "names without quotes", remedy)])
    if (precision := _precision(trainer)).name == "bf16-true":
        model = precision.of_model(copy.deepcopy(model))  # as it will be once it is trained
    try:
        program = export(trainer, model)
    except TrainingError as error:
        raise PreflightError(error.problems) from error
    if problems := formats.problems(trainer, Predictor(trainer, model), program):
        raise PreflightError(problems)
    if export_args.SAVED_MODEL in export_args.formats(trainer.fn_args.export_args):
        made = serving.servable(trainer, program)
        saved_model.check_serving_signature(made.signatures[SERVING], trainer.raw_rows, made.features.between.raw_spec)
        if type(trainer).input_fn is not TorchHooks.input_fn:
            serving.warn_of_skew(trainer, made.features, flat(trainer.features_and_label(trainer.sample)[0]))


def save(trainer: TorchTrainer, model: nn.Module) -> dict[str, float]:
    """Writes a trained model in all formats that are asked for, each after it was seen to say what the model says.

    Returns:
        The largest differences, by format.

    Raises:
        TrainingError: If one is too large.
    """
    root = os.path.dirname(trainer.fn_args.serving_model_dir)
    predictor, program = Predictor(trainer, model), export(trainer, model)
    with tempfile.TemporaryDirectory() as folder:  # nothing of a model's size is held in memory beside the model
        _save_weights(model, path := os.path.join(folder, FILE))
        run_record.write_file(os.path.join(root, FOLDER, FILE), path)
        parity = {"torch": _save_program(program, trainer, predictor, path := os.path.join(folder, PROGRAM))}
        run_record.write_file(os.path.join(root, FOLDER, PROGRAM), path)
    parity |= formats.write(trainer, predictor, program, root)
    if export_args.SAVED_MODEL in export_args.formats(trainer.fn_args.export_args):
        return {**parity, "saved_model": serving.save(trainer, predictor, program)}
    run_record.write_file(os.path.join(trainer.fn_args.serving_model_dir, PROGRAM), os.path.join(root, FOLDER, PROGRAM))
    serving.save_preprocessing(trainer, flat(trainer.features_and_label(trainer.sample)[0]))
    return parity


def _save_weights(model: nn.Module, path: str) -> None:
    from safetensors.torch import save_file

    tensors: dict[str, torch.Tensor] = {}
    storages: set[int] = set()
    for name, value in model.state_dict().items():
        if isinstance(value, torch.Tensor):
            storage = value.untyped_storage().data_ptr()
            tensors[name] = value.clone() if storage in storages else value.contiguous()  # tied ones have each a copy
            storages.add(storage)
    save_file(tensors, path)


def _precision(trainer: TorchTrainer) -> Precision:
    return Precision(trainer.fn_args.train_args.precision, torch.device("cpu"))


def flat(features: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Features as plain tensors."""
    return dict(part for name, value in features.items() for part in _parts(name, value))


def _parts(name: str, value: Any) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(value, torch.Tensor):
        yield name, value
        return
    yield from _parts(f"{name}.values", value.values)
    if isinstance(value, Sparse):
        yield f"{name}.columns", value.columns
    yield f"{name}.row_lengths", value.row_splits.diff()  # not the splits: their number is not that of examples


def _whole(name: str, like: Any, parts: Mapping[str, torch.Tensor]) -> Any:
    """What `flat` made parts of, in its first form."""
    if isinstance(like, torch.Tensor):
        return parts[name]
    values = _whole(f"{name}.values", like.values, parts)
    splits = torch.nn.functional.pad(parts[f"{name}.row_lengths"].cumsum(0), (1, 0))
    return (
        Ragged(values, splits)
        if isinstance(like, Ragged)
        else Sparse(values, parts[f"{name}.columns"], splits, like.size)
    )


def _widened(outputs: Any) -> Any:
    """Outputs in float32 where they are in half precision, which is for the computation."""
    if isinstance(outputs, torch.Tensor):
        return outputs.float() if outputs.dtype in (torch.float16, torch.bfloat16) else outputs
    if isinstance(outputs, Mapping):
        return {name: _widened(value) for name, value in outputs.items()}
    if isinstance(outputs, (list, tuple)) and not hasattr(outputs, "_fields"):
        return type(outputs)(_widened(value) for value in outputs)
    return outputs


def _sizes(name: str, value: Any, batch: Any) -> Iterator[tuple[str, dict[int, Any]]]:
    """Which dimensions of the parts of a feature may have any size: that of the batch, or one of its own."""
    for part, tensor in _parts(name, value):
        whole_rows = part in (name, f"{name}.row_lengths")
        yield part, {0: batch if whole_rows else torch.export.Dim.AUTO} if tensor.ndim else {}


def _save_program(
    program: torch.export.ExportedProgram, trainer: TorchTrainer, predictor: nn.Module, path: str
) -> float:
    """Writes the program, reads it back, and returns how far what it says of examples is from what the model says."""
    torch.export.save(program, path)
    loaded = load_program(path, path).module()
    told, worst = trainer.fn_args, 0.0
    tolerance = export_args.tolerance(told.export_args, told.train_args.precision)
    for count in (1, batch_lib.num_rows(trainer.sample)):
        some = batch_lib.rows(trainer.sample, 0, count)
        features = flat(trainer.features_and_label(some)[0])
        with torch.no_grad(), evaluating(predictor):
            said, says = named_outputs(predictor(features)), named_outputs(loaded(features))
        finite.check_predictions("torch.export", _arrays(said), finite.usable_rows(_arrays(features), count))
        worst = max(worst, difference(_arrays(said), _arrays(says)))
    if not worst <= tolerance:
        got = f"a program that says something else of examples, by {worst:.2g}"
        remedy = "Does the model keep state that is not in its buffers, or draw at random when it predicts?"
        raise TrainingError(Problem("torch.export", got, f"a difference of at most {tolerance:g}", remedy))
    return worst


def _arrays(outputs: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    return {name: value.numpy() for name, value in outputs.items()}
