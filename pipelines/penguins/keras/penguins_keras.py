"""Penguins in Keras: the model, and nothing else. Works on Keras 2 and Keras 3."""

from __future__ import annotations

import tensorflow as tf

from polytrainer import KerasTrainer
from polytrainer.pipelines.penguins.features import CATEGORICAL, NUM_CLASSES, NUMERIC, TRANSFORMED_LABEL, transformed


class Penguins(KerasTrainer):
    """A network with one hidden layer, over measurements and embedded words."""

    def model_fn(self):
        """Species' probabilities, [batch, 3]."""
        inputs = {name: tf.keras.Input((1,), name=name) for name in map(transformed, NUMERIC)}
        columns = list(inputs.values())
        for name in CATEGORICAL:
            words = self.transform_output.vocabulary_size_by_name(name) + 1  # one more for unknown words
            key = transformed(name)
            inputs[key] = tf.keras.Input((1,), name=key, dtype="int64")
            columns.append(tf.keras.layers.Flatten()(tf.keras.layers.Embedding(words, 2)(inputs[key])))
        hidden = tf.keras.layers.Dense(self.hidden, activation="relu")(tf.keras.layers.Concatenate()(columns))
        model = tf.keras.Model(inputs, tf.keras.layers.Dense(NUM_CLASSES, activation="softmax")(hidden))
        optimizer = tf.keras.optimizers.Adam(self.learning_rate)
        model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model


run_fn = Penguins(label_key=TRANSFORMED_LABEL, hidden=16, learning_rate=0.01).run_fn
