"""`export_keras`: what KerasTrainer publishes, of a model that a `run_fn` trained in a loop of its own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal

import tensorflow as tf

from polytrainer.executors.backends import own_loops
from polytrainer.executors.backends.data_errors import first_batch_error
from polytrainer.executors.backends.keras import formats, inputs, single_examples
from polytrainer.executors.backends.keras.trainer import KerasTrainer
from polytrainer.executors.backends.own_loops import ModelExporter
from polytrainer.executors.errors import PreflightError
from polytrainer.executors.result import TrainResult
from polytrainer.proto.problems import Problem

PredictFn = Callable[[Any, Mapping[str, Any]], Any]


def export_keras(
    fn_args: Any,
    model: Any,
    features: Collection[str] | None = None,
    *,
    label_key: str | None = None,
    weight_key: str | None = None,
    predict_fn: PredictFn | None = None,
    defaults: Mapping[str, Any] | None = None,
    feature_spec: Mapping[str, Any] | None = None,
    raw_label_key: str | None = None,
    raw_weight_key: str | None = None,
    examples_are: Literal["raw", "transformed"] | None = None,
    export_args: Any = None,
) -> TrainResult:
    """Writes a Keras model as KerasTrainer writes one that it has trained.

    ```
    def run_fn(fn_args):
        model = make_model()
        model.fit(...)
        polytrainer.export_keras(fn_args, model, label_key="label")
    ```

    Writes the SavedModel with `serving_default`, `predict` and `transform_features`, the weights by layer, and the
    formats of ExportArgs; compares each with the model on real examples of the eval splits. What was measured becomes
    properties of the node's artifacts, whatever the `run_fn` returns.

    Called on the untrained model, it shows what does not fit before hours are spent; a later call replaces what an
    earlier one wrote.

    Args:
        fn_args: What the `run_fn` was given.
        model: The model, compiled or not. It is called with the features by name; a functional one with its inputs.
        features: Names of those that it is given. None: all but the label and the weight.
        label_key: Name of the label, which a served example may lack. None: it is a feature like others, and not needed
            either if the model does not read it.
        weight_key: Name of the examples' weight, likewise.
        predict_fn: `predict_fn(model, features)`, where the model is to be called in another way, or something is to
            be made of what it returns, by operations of TensorFlow. None: `model(features, training=False)`.
        defaults: As in KerasTrainer, and as the loop read the examples.
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
        if not isinstance(model, tf.keras.Model):
            got = f"{type(model).__module__}.{type(model).__name__}"
            raise PreflightError([Problem("the model of export_keras", got, "a tf.keras.Model")])
        exporter = KerasExporter(
            label_key,
            predict_fn=predict_fn,
            weight_key=weight_key,
            defaults=defaults,
            feature_spec=feature_spec,
            raw_label_key=raw_label_key,
            raw_weight_key=raw_weight_key,
            examples_are=examples_are,
        )
        names = None if features is None else [features] if isinstance(features, str) else list(features)
        exporter.give_only(names)
        exporter.bind(own_loops.export_fn_args(fn_args, export_args))
        if names is not None:
            exporter.check_features(names)
        exporter.check_model(model)
        return own_loops.record(fn_args, exporter, "keras", exporter.save(model))


class KerasExporter(ModelExporter, KerasTrainer):
    """What of KerasTrainer `export_keras` uses."""

    _SHOWN_AS = "export_keras"

    def predict_fn(self, model: Any, features: Mapping[str, Any]) -> Any:
        """What the model says of a batch of features."""
        given = self.given(features)
        return self._predict_fn(model, given) if self._predict_fn else super().predict_fn(model, given)

    def check_model(self, model: Any) -> None:
        """Calls the model, which builds it, and makes what is written of it.

        Raises:
            PreflightError: If it does not take the features, or cannot be written as it is to be.
        """
        if self._predict_fn is None:
            self._check_inputs(model)
            if self.given_features is None and inputs.names(model):
                self.give_only(inputs.names(model))
        batch = next(iter(self.input_fn(self.files(self.fn_args.eval_files), training=False)))
        features = batch[0] if isinstance(batch, tuple) else batch
        try:
            self.predict_fn(model, features)
        except Exception as error:  # whatever a model of the user's may raise
            raise first_batch_error(error, self.given(features), None, None, "keras") from error
        single_examples.check(self, model)
        formats.check(self, model)
        self._check_signatures(model)
