"""The name of what decoding a split yields."""

from __future__ import annotations

import os


class Keyed:
    """A preprocess that says what it does."""

    def __init__(self, cache_key):
        self.cache_key = cache_key

    def __call__(self, features):
        return features


def test_the_key_is_of_all_that_decoding_depends_on(splits, tmp_path):
    import tensorflow as tf

    from polytrainer.executors.data import fingerprint
    from polytrainer.executors.data.encoders import Hashing

    def file(name, rows):
        return splits.write(tmp_path / name, rows)

    a, b = file("a", [{"n": [1]}]), file("b", [{"n": [1]}])
    spec = {"n": tf.io.FixedLenFeature([], tf.int64)}
    long = [0] * 2000
    keys = [
        fingerprint.key_of([a], spec, {}),
        fingerprint.key_of([b], spec, {}),
        fingerprint.key_of([a, b], spec, {}),
        fingerprint.key_of([b, a], spec, {}),
        fingerprint.key_of([a], {"n": tf.io.FixedLenFeature([1], tf.int64)}, {}),
        fingerprint.key_of([a], {"n": tf.io.FixedLenFeature([], tf.int64, 0)}, {}),
        fingerprint.key_of([a], {"n": tf.io.VarLenFeature(tf.int64)}, {}),
        fingerprint.key_of([a], {"n": tf.io.FixedLenFeature([2000], tf.int64, long)}, {}),
        fingerprint.key_of([a], {"n": tf.io.FixedLenFeature([2000], tf.int64, [*long[1:], 1])}, {}),
        fingerprint.key_of([a], spec, {"n": Hashing(3)}),
        fingerprint.key_of([a], spec, {"n": Hashing(4)}),
        fingerprint.key_of([a], spec, {"": Keyed("v1")}),
        fingerprint.key_of([a], spec, {"": Keyed("v2")}),
    ]
    assert len(set(keys)) == len(keys)
    assert fingerprint.key_of([a], spec, {}) == keys[0]
    os.utime(a, ns=(1, 1))
    assert fingerprint.key_of([a], spec, {}) != keys[0]
    assert fingerprint.key_of([a], spec, {"": lambda features: features}) is None


def test_a_file_elsewhere_keeps_its_address(splits):
    import tensorflow as tf

    from polytrainer.executors.data import fingerprint

    spec = {"n": tf.io.FixedLenFeature([], tf.int64)}
    file = splits.write("ram://folder/a", [{"n": [1]}])  # a file system of TensorFlow's, as gs:// is
    assert fingerprint.key_of([file], spec, {}) == fingerprint.key_of([file], spec, {})
