"""The default of a feature takes the place of whatever way there is to have no value."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.line
NAN = float("nan")


def record(key=True, kind=True, values=()):
    """A tf.Example with the feature `x`: without the key, with a feature of no kind, with an empty list, or values."""
    import tensorflow as tf

    example = tf.train.Example()
    example.features.feature["y"].float_list.value.append(NAN)
    if key:
        feature = example.features.feature["x"]
        if kind:
            feature.float_list.SetInParent()
        feature.float_list.value.extend(values) if values else None
    return example.SerializeToString()


def parse(records, keep_nan=(), shape=(1,), default=7.0):
    import tensorflow as tf

    from polytrainer.executors.data.example_parsing import parse_examples

    spec = {
        "x": tf.io.FixedLenFeature(shape, tf.float32, [default] * shape[0]),
        "y": tf.io.FixedLenFeature([1], tf.float32),
    }
    return parse_examples(records, spec, keep_nan)


def test_no_key_no_kind_no_value_and_nan_are_missing():
    records = [record(key=False), record(kind=False), record(), record(values=[NAN]), record(values=[2.0])]
    assert parse(records)["x"].numpy().tolist() == [[7.0], [7.0], [7.0], [7.0], [2.0]]


def test_nan_stays_where_there_is_no_default_or_it_is_to_be_kept():
    import numpy as np

    parsed = parse([record(values=[NAN])], keep_nan=["x"])
    assert np.isnan(parsed["x"]).all()
    assert np.isnan(parsed["y"]).all()


def test_the_default_fills_vectors_whole_where_they_are_missing_and_by_element_where_they_are_nan():
    assert parse([record(), record(values=[1.0, NAN])], shape=(2,))["x"].numpy().tolist() == [[7.0, 7.0], [1.0, 7.0]]


def test_another_number_of_values_is_an_error():
    with pytest.raises(Exception, match="wrong number of values"):
        parse([record(values=[1.0, 2.0])])


@pytest.mark.parametrize("made", ["sparse", "ragged", "dense"])
def test_features_that_transform_made_are_filled_in_too(made):
    import tensorflow as tf

    from polytrainer.executors.data.example_parsing import fill_defaults

    ragged = tf.ragged.constant([[], [2.0]]) if made != "dense" else None
    tensor = {
        "sparse": ragged.to_sparse if ragged is not None else None,
        "ragged": lambda: ragged,
        "dense": lambda: tf.constant([[NAN], [2.0]]),
    }
    spec = {"x": tf.io.FixedLenFeature([1], tf.float32, [7.0]), "z": tf.io.FixedLenFeature([1], tf.float32)}
    filled = fill_defaults({"x": tensor[made](), "z": tf.constant([[NAN]])}, spec)
    assert filled["x"].numpy().tolist() == [[7.0], [2.0]]
    assert bool(tf.math.is_nan(filled["z"]))
