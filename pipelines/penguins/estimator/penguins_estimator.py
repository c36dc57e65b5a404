"""Penguins as an Estimator: `trainer_fn(fn_args, schema)`, the contract of TFX up to 1.15, on every line."""

from __future__ import annotations

import tensorflow as tf
import tensorflow_transform as tft
from tfx_bsl.public import tfxio

from polytrainer.pipelines.penguins.features import (
    CATEGORICAL,
    LABEL,
    NUM_CLASSES,
    NUMERIC,
    TRANSFORMED_LABEL,
    transformed,
)


def trainer_fn(fn_args, schema):
    """Describes the Estimator, its data and its export."""
    del schema  # the transform graph knows the raw features
    transform = tft.TFTransformOutput(fn_args.transform_graph_path)
    train_args = fn_args.train_args

    def batches(files, num_epochs, shuffle):
        options = tfxio.TensorFlowDatasetOptions(
            batch_size=train_args.batch_size,
            label_key=TRANSFORMED_LABEL,
            num_epochs=num_epochs,
            shuffle=shuffle,
            shuffle_seed=train_args.seed,
        )
        return fn_args.data_accessor.tf_dataset_factory(files, options, transform.transformed_metadata.schema)

    # a FinalExporter exports at max_steps, and never where there is none
    max_steps = train_args.num_epochs * fn_args.num_examples["train"] // train_args.batch_size
    estimator = tf.estimator.DNNClassifier(
        hidden_units=[16],
        feature_columns=list(_columns(transform)),
        n_classes=NUM_CLASSES,
        optimizer=lambda: tf.keras.optimizers.legacy.Adam(0.01),
        config=tf.estimator.RunConfig(
            model_dir=fn_args.serving_model_dir, tf_random_seed=train_args.seed, save_summary_steps=50
        ),
    )
    exporter = tf.estimator.FinalExporter("penguins", lambda: _receiver(transform))
    return {
        "estimator": _with_transform_signature(estimator),
        "train_spec": tf.estimator.TrainSpec(lambda: batches(fn_args.train_files, None, True), max_steps=max_steps),
        "eval_spec": tf.estimator.EvalSpec(
            lambda: batches(fn_args.eval_files, 1, False), steps=None, exporters=[exporter], throttle_secs=0
        ),
    }


def _columns(transform):
    for name in NUMERIC:
        yield tf.feature_column.numeric_column(transformed(name))
    for name in CATEGORICAL:
        words = transform.vocabulary_size_by_name(name) + 1  # one more for unknown words
        column = tf.feature_column.categorical_column_with_identity(transformed(name), words)
        yield tf.feature_column.indicator_column(column)


def _receiver(transform):
    """Serialized raw tf.Examples in; the label may be missing, and is then unknown."""
    examples = tf.compat.v1.placeholder(tf.string, [None], name="examples")
    raw_spec = {
        name: tf.io.FixedLenFeature(spec.shape, spec.dtype, [""]) if name == LABEL else spec
        for name, spec in transform.raw_feature_spec().items()
    }
    features = transform.transform_raw_features(tf.io.parse_example(examples, raw_spec))
    return tf.estimator.export.ServingInputReceiver(features, {"examples": examples})


def _with_transform_signature(estimator):
    """Adds the signature `transform_features`, from which TFMA takes the label as the model saw it."""

    def model_fn(features, labels, mode, config):
        spec = estimator.model_fn(features, labels, mode, config)
        if mode == tf.estimator.ModeKeys.PREDICT:
            label = tf.estimator.export.PredictOutput({TRANSFORMED_LABEL: features[TRANSFORMED_LABEL]})
            spec = spec._replace(export_outputs={**spec.export_outputs, "transform_features": label})
        return spec

    return tf.estimator.Estimator(model_fn, config=estimator.config)
