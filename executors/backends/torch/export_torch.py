"""`export_torch`: what TorchTrainer publishes, of a model that a `run_fn` trained in a loop of its own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import nn

from polytrainer.executors.backends import own_loops
from polytrainer.executors.backends.own_loops import ModelExporter
from polytrainer.executors.backends.torch import data_values, saving
from polytrainer.executors.backends.torch.features import Features
from polytrainer.executors.backends.torch.forward import inner_module
from polytrainer.executors.backends.torch.trainer import TorchTrainer
from polytrainer.executors.data.encoders import Vocabulary
from polytrainer.executors.errors import PreflightError
from polytrainer.executors.result import TrainResult
from polytrainer.proto.problems import Problem

PredictFn = Callable[[Any, Mapping[str, Any]], Any]


def export_torch(
    fn_args: Any,
    model: nn.Module,
    features: Features | Collection[str] | None = None,
    *,
    label_key: str | None = None,
    weight_key: str | None = None,
    predict_fn: PredictFn | None = None,
    classes: Sequence[str] | Vocabulary | str | None = None,
    encoders: Mapping[str, Any] | None = None,
    defaults: Mapping[str, Any] | None = None,
    feature_spec: Mapping[str, Any] | None = None,
    raw_label_key: str | None = None,
    raw_weight_key: str | None = None,
    examples_are: Literal["raw", "transformed"] | None = None,
    export_args: Any = None,
) -> TrainResult:
    """Writes a PyTorch model as TorchTrainer writes one that it has trained.

    ```
    def run_fn(fn_args):
        model = train(...)
        polytrainer.export_torch(fn_args, model, features=["x1", "x2"], label_key="label")
    ```

    Writes the SavedModel with `serving_default`, `predict` and `transform_features`, the `torch.export` program, the
    weights, and the formats of ExportArgs; compares each with the model on real examples of the eval splits. What was
    measured becomes properties of the node's artifacts, whatever the `run_fn` returns.

    Called on the untrained model, it shows what does not fit before hours are spent; a later call replaces what an
    earlier one wrote. The model stays as it is, on its device and in its mode.

    Args:
        fn_args: What the `run_fn` was given.
        model: The model. Its `forward` takes what that of a TorchTrainer's does: one dict of features, or features by
            the names of its parameters. The weights may be on any device; DistributedDataParallel is taken off.
        features: Names of those that it is given. Or a `Features` layer: one that is part of the model says the names;
            any other is put before the model, which then takes its tensor. None: all but the label and the weight.
        label_key: Name of the label, which a served example may lack. None: it is a feature like others, and not needed
            either if the model does not read it.
        weight_key: Name of the examples' weight, likewise.
        predict_fn: `predict_fn(model, features)`, where the model is to be called in another way, or something is to
            be made of what it returns.
        classes: As in TorchTrainer.
        encoders: As in TorchTrainer, and as the loop read the examples.
        defaults: Likewise.
        feature_spec: Likewise.
        raw_label_key: Likewise.
        raw_weight_key: Likewise.
        examples_are: Likewise.
        export_args: In place of `fn_args.export_args`: ExportArgs, or a dict.

    Returns:
        `parity` by format, and `serving_rows`.

    Raises:
        TrainingError: If features and model do not fit each other, the model cannot be written in a format, says
            something else there, or is not finite. Nothing is published then.
    """
    with own_loops.publishing(fn_args):
        whole = _whole_model(model)
        whole, names = _with_features(whole, features)
        exporter = TorchExporter(
            label_key,
            predict_fn=predict_fn,
            weight_key=weight_key,
            classes=classes,
            encoders=encoders,
            defaults=defaults,
            feature_spec=feature_spec,
            raw_label_key=raw_label_key,
            raw_weight_key=raw_weight_key,
            examples_are=examples_are,
        )
        exporter.give_only(names)
        exporter.bind(own_loops.export_fn_args(fn_args, export_args, _precision(whole)))
        if names is not None:
            exporter.check_features(names)
        exporter.sample_call(whole)
        data_values.check_weights(whole)
        saving.check(exporter, whole)
        return own_loops.record(fn_args, exporter, "pytorch", exporter.save(whole))


class TorchExporter(ModelExporter, TorchTrainer):
    """What of TorchTrainer `export_torch` uses."""

    _SHOWN_AS = "export_torch"

    def batch_parts(self, batch: Any) -> tuple[Any, Any, Any]:
        """Features that the model is given, label and weight of a batch."""
        features, label, weight = super().batch_parts(batch)
        given = self.given(features)
        return given, given if label is features else label, weight

    def predict_fn(self, model: nn.Module, features: Mapping[str, Any]) -> Any:
        """What the model says of a batch of features."""
        return self._predict_fn(model, features) if self._predict_fn else super().predict_fn(model, features)

    def sample_call(self, model: nn.Module) -> None:
        """Calls the model on some examples.

        Raises:
            PreflightError: If it does not take them.
        """
        self._sample.call(model)


def _whole_model(model: Any) -> nn.Module:
    """A copy of the model on the CPU, without what wraps it."""
    if not isinstance(model, nn.Module):
        got = f"{type(model).__module__}.{type(model).__name__}"
        raise PreflightError([Problem("the model of export_torch", got, "a torch.nn.Module")])
    return saving.copied(inner_module(model)).to("cpu")


def _with_features(model: nn.Module, features: Any) -> tuple[nn.Module, list[str] | None]:
    """The model that takes features by name, and the names; None for all."""
    if features is None:
        return model, None
    if not isinstance(features, Features):
        return model, [features] if isinstance(features, str) else list(features)
    is_part = any(isinstance(module, Features) and module.names == features.names for module in model.modules())
    return model if is_part else nn.Sequential(saving.copied(features).to("cpu"), model), list(features.names)


def _precision(model: nn.Module) -> str:
    """Number format that the features are to have, by that of the weights."""
    formats = {weight.dtype for weight in model.parameters() if weight.is_floating_point()}
    return "bf16-true" if formats == {torch.bfloat16} else ""
