"""Preprocessing of the penguins, the same for all three frameworks."""

from __future__ import annotations

import tensorflow as tf
import tensorflow_transform as tft

from polytrainer.pipelines.penguins.features import CATEGORICAL, LABEL, NUMERIC, transformed


def preprocessing_fn(inputs):
    """Scales measurements, turns words into numbers; a missing measurement becomes the mean, a missing word unknown."""
    outputs = {transformed(LABEL): tft.compute_and_apply_vocabulary(inputs[LABEL], vocab_filename=LABEL)}
    for name in NUMERIC:
        scaled = tft.scale_to_z_score(inputs[name])  # of the values that are there; their mean is 0
        outputs[transformed(name)] = _dense(scaled, 0.0)
    for name in CATEGORICAL:
        words = _dense(inputs[name], "")  # the empty word is in no vocabulary
        outputs[transformed(name)] = tft.compute_and_apply_vocabulary(words, num_oov_buckets=1, vocab_filename=name)
    return outputs


def _dense(column, default):
    """[batch, 1], with a default where the value is missing. Columns that miss none come dense."""
    if not isinstance(column, tf.SparseTensor):
        return column
    shape = [column.dense_shape[0], 1]
    return tf.sparse.to_dense(tf.SparseTensor(column.indices, column.values, shape), default)
