"""Penguins in Keras: a plain TFX module, `run_fn(fn_args)`. Works on Keras 2 and Keras 3."""

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


def run_fn(fn_args):
    """Trains, and saves the model with its transform graph inside."""
    tf.keras.utils.set_random_seed(fn_args.train_args.seed)
    transform = tft.TFTransformOutput(fn_args.transform_graph_path)
    batch_size = fn_args.train_args.batch_size
    model = _model(transform)
    history = model.fit(
        _batches(fn_args, fn_args.train_files, transform, batch_size, shuffle=True),
        epochs=fn_args.train_args.num_epochs,
        validation_data=_batches(fn_args, fn_args.eval_files, transform, batch_size, shuffle=False),
        callbacks=[tf.keras.callbacks.TensorBoard(log_dir=fn_args.model_run_dir)],
        verbose=2,
    )
    tf.saved_model.save(model, fn_args.serving_model_dir, signatures=_signatures(model, transform))
    return {"accuracy": history.history["val_accuracy"][-1], "loss": history.history["val_loss"][-1]}


def _batches(fn_args, files, transform, batch_size, *, shuffle):
    options = tfxio.TensorFlowDatasetOptions(
        batch_size=batch_size,
        label_key=TRANSFORMED_LABEL,
        num_epochs=1,
        shuffle=shuffle,
        shuffle_seed=fn_args.train_args.seed,
    )
    return fn_args.data_accessor.tf_dataset_factory(files, options, transform.transformed_metadata.schema)


def _model(transform):
    inputs, columns = {}, []
    for name in map(transformed, NUMERIC):
        inputs[name] = tf.keras.Input((1,), name=name, dtype="float32")
        columns.append(inputs[name])
    for name in CATEGORICAL:
        vocabulary = transform.vocabulary_size_by_name(name) + 1  # one more for unknown words
        key = transformed(name)
        inputs[key] = tf.keras.Input((1,), name=key, dtype="int64")
        columns.append(tf.keras.layers.Flatten()(tf.keras.layers.Embedding(vocabulary, 2)(inputs[key])))
    hidden = tf.keras.layers.Dense(16, activation="relu")(tf.keras.layers.Concatenate()(columns))
    model = tf.keras.Model(inputs, tf.keras.layers.Dense(NUM_CLASSES, activation="softmax")(hidden))
    model.compile(tf.keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def _signatures(model, transform):
    model.transform_layer = transform.transform_features_layer()  # attached, so that it is saved with the model
    examples = [tf.TensorSpec([None], tf.string, name="examples")]
    raw_spec = transform.raw_feature_spec()
    raw_spec_without_label = {name: spec for name, spec in raw_spec.items() if name != LABEL}

    @tf.function(input_signature=examples)
    def serving_default(examples):
        features = model.transform_layer(tf.io.parse_example(examples, raw_spec_without_label))
        return {"probabilities": model({name: features[name] for name in model.input_names})}

    @tf.function(input_signature=examples)
    def transform_features(examples):
        return model.transform_layer(tf.io.parse_example(examples, raw_spec))

    model.input_names = [transformed(name) for name in (*NUMERIC, *CATEGORICAL)]
    return {"serving_default": serving_default, "transform_features": transform_features}
