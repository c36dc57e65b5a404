"""Penguins as an Estimator: the Estimator, and nothing else. On every TFX line."""

from __future__ import annotations

import tensorflow as tf

from polytrainer import EstimatorTrainer
from polytrainer.pipelines.penguins.features import CATEGORICAL, NUM_CLASSES, NUMERIC, TRANSFORMED_LABEL, transformed


class Penguins(EstimatorTrainer):
    """A network with one hidden layer, over measurements and one-hot words."""

    def model_fn(self):
        """The Estimator."""
        return tf.estimator.DNNClassifier(
            hidden_units=[self.hidden],
            feature_columns=list(self.columns()),
            n_classes=NUM_CLASSES,
            optimizer=lambda: tf.keras.optimizers.legacy.Adam(self.learning_rate),
        )

    def columns(self):
        """Measurements and words as numbers."""
        for name in NUMERIC:
            yield tf.feature_column.numeric_column(transformed(name))
        for name in CATEGORICAL:
            words = self.transform_output.vocabulary_size_by_name(name) + 1  # one more for unknown words
            column = tf.feature_column.categorical_column_with_identity(transformed(name), words)
            yield tf.feature_column.indicator_column(column)


run_fn = Penguins(label_key=TRANSFORMED_LABEL, hidden=16, learning_rate=0.01).run_fn
