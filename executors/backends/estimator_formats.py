"""Estimators → ONNX, TFLite and TensorFlow.js: the graph from features to numbers that they are written from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from polytrainer.executors.data.feature_specs import FeatureSpec
from polytrainer.executors.errors import PreflightError
from polytrainer.executors.export.formats import tensors
from polytrainer.executors.export.formats import write as formats
from polytrainer.executors.export.formats.source import SIGNATURE, Arrays, Source
from polytrainer.executors.export.graph_inputs import needed
from polytrainer.executors.export.signatures import TRANSFORM, Interface, named_outputs

if TYPE_CHECKING:
    from polytrainer.executors.backends.estimator_trainer import EstimatorTrainer

v1 = tf.compat.v1


def check(trainer: EstimatorTrainer, estimator: Any) -> None:
    """Looks, before training, whether the model can be written in the formats that are asked for.

    Raises:
        PreflightError: If it cannot.
    """
    told = trainer.fn_args.export_args
    if not tensors.asked_for(told):
        return
    with _graph(trainer, estimator, None) as (inputs, outputs, session):
        problems = tensors.without_a_form(trainer.feature_spec, inputs, told)
        if problems := problems or formats.problems(_source(trainer, inputs, outputs, session), told):
            raise PreflightError(problems)


def write(trainer: EstimatorTrainer, estimator: Any, checkpoint: str, root: str) -> dict[str, float]:
    """Writes a trained model in those formats; returns the largest differences, as `formats.write` does."""
    told = trainer.fn_args.export_args
    if not tensors.asked_for(told):
        return {}
    with _graph(trainer, estimator, checkpoint) as (inputs, outputs, session):
        return formats.write(_source(trainer, inputs, outputs, session), told, root)


@contextmanager
def _graph(
    trainer: EstimatorTrainer, estimator: Any, checkpoint: str | None
) -> Iterator[tuple[dict[str, Any], dict[str, Any], Any]]:
    """The model as it predicts, in a session; with new weights where there is no checkpoint.

    Yields:
        Placeholders of the features that it takes and tensors of the predictions that are numbers, both by name, and
        the session.
    """
    with tf.Graph().as_default() as graph:
        features, made = _predicting(trainer, estimator)
        outputs = {name: value for name, value in named_outputs(made.predictions).items() if value.dtype != tf.string}
        needed = v1.graph_util.extract_sub_graph(graph.as_graph_def(), [value.op.name for value in outputs.values()])
        nodes = {node.name for node in needed.node}
        inputs = {
            name: value
            for name, value in features.items()
            if any(part.op.name in nodes for part in tf.nest.flatten(value, expand_composites=True))
        }
        session = v1.Session()  # not `with`: within it, nothing is eager, as the converters must be
        _fill(session, made.scaffold or v1.train.Scaffold(), checkpoint)
    try:
        yield inputs, outputs, session
    finally:
        session.close()


def narrowed(trainer: EstimatorTrainer, estimator: Any) -> Interface:
    """What stands between a raw example and the Estimator, which may compute something from some features only.

    Raises:
        TrainingError: If the model's features cannot be made without the raw label.
    """
    between = trainer.interface()
    with tf.Graph().as_default() as graph:
        features, made = _predicting(trainer, estimator)
        exported = [vars(output) for name, output in (made.export_outputs or {}).items() if name != TRANSFORM]
        tensors_of = [part for part in tf.nest.flatten([made.predictions, exported]) if tf.is_tensor(part)]
        return between.of_reading(needed(graph, tensors_of, features))


def _predicting(trainer: EstimatorTrainer, estimator: Any) -> tuple[dict[str, Any], Any]:
    """Placeholders of the features by name and the EstimatorSpec of predictions from them, in the default graph."""
    spec = {name: feature for name, feature in trainer.feature_spec.items() if name != trainer.label_key}
    v1.train.create_global_step()
    features = _placeholders(spec)
    return features, estimator.model_fn(dict(features), None, tf.estimator.ModeKeys.PREDICT, estimator.config)


def _fill(session: Any, scaffold: Any, checkpoint: str | None) -> None:
    """Gives the graph's variables and tables their values."""
    session.run(v1.global_variables_initializer())
    if checkpoint:
        (scaffold.saver or v1.train.Saver()).restore(session, checkpoint)
    session.run([scaffold.local_init_op or v1.local_variables_initializer(), v1.tables_initializer()])


def _placeholders(spec: FeatureSpec) -> dict[str, Any]:
    """One for each feature, in the form that it is parsed into."""

    def of(feature: Any) -> Any:
        if isinstance(feature, tf.io.FixedLenFeature):
            return v1.placeholder(feature.dtype, [None, *feature.shape])
        if isinstance(feature, tf.io.RaggedFeature):
            return v1.ragged.placeholder(feature.dtype, 1)
        return v1.sparse_placeholder(feature.dtype, [None, None])

    return {name: of(feature) for name, feature in spec.items()}


def _source(trainer: EstimatorTrainer, inputs: Mapping[str, Any], outputs: Mapping[str, Any], session: Any) -> Source:
    batches = trainer.input_fn(trainer.files(trainer.fn_args.eval_files), training=False)
    features = tensors.first(batches, inputs, tensors.wanted_examples(trainer.fn_args.export_args))

    def predict(batch: Arrays) -> Arrays:
        found: Arrays = session.run(dict(outputs), {inputs[name]: array for name, array in batch.items()})
        return found

    def write_saved_model(path: str) -> None:
        with session.graph.as_default():
            builder = v1.saved_model.Builder(path)
            signature = v1.saved_model.predict_signature_def(dict(inputs), dict(outputs))
            builder.add_meta_graph_and_variables(
                session, [tf.saved_model.SERVING], {SIGNATURE: signature}, main_op=v1.tables_initializer()
            )
            builder.save()

    return Source(write_saved_model, features, predict, calibration=features)
