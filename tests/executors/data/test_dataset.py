"""Split files as batches: every type of feature, every example once, an order that can be taken up anywhere."""

from __future__ import annotations

from itertools import chain

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


def write(path, rows):
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(path), tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
        for row in rows:
            example = tf.train.Example()
            for name, values in row.items():
                feature = example.features.feature[name]
                kind = {int: feature.int64_list, float: feature.float_list, bytes: feature.bytes_list}[type(values[0])]
                kind.value.extend(values)
            writer.write(example.SerializeToString())
    return str(path)


def spec_of(text, defaults=None):
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    from polytrainer.executors.data import feature_specs

    return feature_specs.from_schema(text_format.Parse(text, schema_pb2.Schema()), defaults)


@pytest.fixture(scope="module")
def numbered(tmp_path_factory):
    """Two files with the numbers 0 to 22."""
    folder = tmp_path_factory.mktemp("numbered")
    return [
        write(folder / "a.gz", [{"n": [number]} for number in range(10)]),
        write(folder / "b.gz", [{"n": [number]} for number in range(10, 23)]),
    ]


def number_spec():
    import tensorflow as tf

    return {"n": tf.io.FixedLenFeature([], tf.int64)}


def numbers(dataset):
    return [batch["n"].numpy().tolist() for batch in dataset]


def stream(files, seed=1, batch_size=4, first_step=0, steps=100):
    from polytrainer.executors.data import dataset

    batches = dataset.endless_epochs(
        files, number_spec(), batch_size, seed=seed, first_step=first_step, steps_per_epoch=-(-23 // batch_size)
    )
    return numbers(batches.take(steps))


def test_an_epoch_has_every_example_once_and_the_last_batch_may_be_smaller(numbered):
    from polytrainer.executors.data import dataset

    batches = numbers(dataset.epoch(numbered, number_spec(), 4))
    assert [len(batch) for batch in batches] == [4, 4, 4, 4, 4, 3]
    assert [*chain.from_iterable(batches)] == list(range(23))


def test_examples_are_counted(numbered):
    from polytrainer.executors.data import dataset

    assert dataset.count_examples(numbered) == 23


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch_size=st.integers(1, 30), first_step=st.integers(0, 60), seed=st.integers(0, 2**31))
def test_a_stream_can_be_taken_up_at_any_step(numbered, batch_size, first_step, seed):
    whole = stream(numbered, seed, batch_size, 0, first_step + 8)
    assert stream(numbered, seed, batch_size, first_step, 8) == whole[first_step:]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch_size=st.integers(1, 30), seed=st.integers(0, 2**31))
def test_each_epoch_of_a_stream_has_every_example_once(numbered, batch_size, seed):
    steps = -(-23 // batch_size)
    batches = stream(numbered, seed, batch_size, 0, 2 * steps)
    for number in range(2):
        assert sorted(chain.from_iterable(batches[number * steps : (number + 1) * steps])) == list(range(23))


def test_epochs_and_seeds_differ_in_their_order(numbered):
    first, second = stream(numbered, batch_size=23, steps=2)
    assert first != second
    assert stream(numbered, seed=2, batch_size=23, steps=1) != [first]


def test_compressed_and_plain_files_do_not_mix(numbered):
    from polytrainer.executors.data import dataset

    with pytest.raises(ValueError, match="compressed and uncompressed ones together"):
        dataset.epoch([*numbered, "plain"], number_spec(), 4)


def test_every_type_a_schema_can_describe(tmp_path):
    import tensorflow as tf

    from polytrainer.executors.data import dataset

    spec = spec_of("""
        feature { name: "matrix" type: FLOAT presence { min_fraction: 1 } shape { dim { size: 2 } dim { size: 2 } } }
        feature { name: "bytes" type: BYTES presence { min_fraction: 1 } shape { dim { size: 1 } } }
        feature { name: "sparse" type: INT }
        feature { name: "ragged" type: FLOAT }
        represent_variable_length_as_ragged: false
    """)
    rows = [
        {"matrix": [1.0, 2.0, 3.0, 4.0], "bytes": [b"\xff"], "sparse": [7, 8]},
        {"matrix": [0.0] * 4, "bytes": [b""]},
    ]
    [batch] = dataset.epoch([write(tmp_path / "rows.gz", rows)], spec, 4)
    assert batch["matrix"].numpy().tolist() == [[[1.0, 2.0], [3.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]]]
    assert batch["bytes"].numpy().tolist() == [[b"\xff"], [b""]]
    assert isinstance(batch["sparse"], tf.SparseTensor)
    assert tf.sparse.to_dense(batch["sparse"]).numpy().tolist() == [[7, 8], [0, 0]]


def test_ragged_where_the_schema_says_so(tmp_path):
    import tensorflow as tf

    from polytrainer.executors.data import dataset

    spec = spec_of('feature { name: "r" type: INT } represent_variable_length_as_ragged: true')
    [batch] = dataset.epoch([write(tmp_path / "r.gz", [{"r": [1, 2, 3]}, {}])], spec, 4)
    assert isinstance(batch["r"], tf.RaggedTensor)
    assert batch["r"].to_list() == [[1, 2, 3], []]


def test_a_default_makes_a_feature_dense(tmp_path):
    from polytrainer.executors.data import dataset

    spec = spec_of('feature { name: "s" type: FLOAT } feature { name: "w" type: BYTES }', {"s": -1.0, "w": "none"})
    [batch] = dataset.epoch([write(tmp_path / "s.gz", [{"s": [2.0]}, {"w": [b"word"]}])], spec, 4)
    assert batch["s"].numpy().tolist() == [[2.0], [-1.0]]
    assert batch["w"].numpy().tolist() == [[b"none"], [b"word"]]


def test_a_default_for_no_feature_is_an_error():
    with pytest.raises(ValueError, match=r"defaults: got \['z'\]; expected names of features, which are \['s'\]"):
        spec_of('feature { name: "s" type: FLOAT }', {"z": 0.0})
