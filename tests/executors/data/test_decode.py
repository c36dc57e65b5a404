"""TFRecord files that cannot be decoded: what is named, and that none is taken for a shorter one."""

from __future__ import annotations

import gzip
import os
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polytrainer.executors.data.errors import DataError

pytestmark = pytest.mark.line

relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def batches(files, spec, **arguments):
    from polytrainer.executors.data.torch_batches import TorchBatches

    return [*TorchBatches([str(file) for file in files], spec, **{"batch_size": 4, "mode": "cached", **arguments})]


def spec_of(**features):
    return features


@pytest.fixture(params=["cached", "streaming"])
def mode(request):
    return request.param


def fixed(shape=(), dtype="int64", default=None):
    import tensorflow as tf

    return tf.io.FixedLenFeature(shape, tf.as_dtype(dtype), default)


@pytest.mark.parametrize(
    "case",
    [
        (fixed, {}, "no value; expected 1 value, or a default for it"),
        (fixed, {"x": [1, 2]}, "2 values; expected 1 value"),
        (lambda: fixed([3]), {"x": [1, 2]}, "2 values; expected 3 values"),
        (lambda: fixed([2], default=[0, 0]), {"x": [1, 2, 3]}, "3 values; expected 2 values"),
        (fixed, {"x": [1.5]}, "a value in its float_list; expected int64_list, as the schema says"),
        (
            lambda: fixed(dtype="string"),
            {"x": [1]},
            "a value in its int64_list; expected bytes_list, as the schema says",
        ),
        (lambda: fixed(default=0), {"x": [b"w"]}, "a value in its bytes_list; expected int64_list, as the schema says"),
    ],
)
def test_a_value_that_does_not_fit_is_named(splits, tmp_path, mode, case):
    feature, row, message = case[0](), *case[1:]
    good = {"string": [b"w"], "int64": [1]}[feature.dtype.name] * (feature.shape[0] if feature.shape else 1)
    files = [
        splits.write(tmp_path / "a.gz", [{"x": good}] * 3),
        splits.write(tmp_path / "b.gz", [{"x": good}] * 1500 + [row] + [{"x": good}] * 3),
    ]
    with pytest.raises(DataError, match=f"feature 'x' in record 1500 of .*b.gz: got {message}"):
        batches(files, {"x": feature}, mode=mode, num_examples=1507)


def test_a_malformed_example_is_named(splits, tmp_path, mode):
    good = b""
    file = splits.write_raw(tmp_path / "a.gz", [good, good, b"\xff\xff"])
    with pytest.raises(DataError, match=r"an example in record 2 of .*a.gz: got 2 bytes that are no tf.Example"):
        batches([file], {"x": fixed(default=0)}, mode=mode)


def test_a_word_that_no_vocabulary_knows_is_named(splits, tmp_path, mode):
    import tensorflow as tf

    from polytrainer.executors.data.encoders import Vocabulary

    rows = [{"w": [b"a"], "v": [b"b"] * 3}, {"w": [b"b"], "v": [b"b", b"new"]}]
    file = splits.write(tmp_path / "a.gz", rows)
    spec = {"w": fixed(dtype="string"), "v": tf.io.VarLenFeature(tf.string)}
    encode = {name: Vocabulary(["a", "b"]) for name in spec}
    with pytest.raises(
        DataError, match=r"feature 'v' in record 1 of .*: got the word 'new'; expected one of 'a', 'b'. With num_oov=1"
    ):
        batches([file], spec, encoders=encode, mode=mode)


def test_an_index_outside_of_the_size_of_a_sparse_feature_is_named(splits, tmp_path, mode):
    import tensorflow as tf

    file = splits.write(tmp_path / "a.gz", [{"at": [8], "is": [1.0]}, {"at": [9], "is": [1.0]}])
    with pytest.raises(
        DataError, match=r"feature 's' in record 1 of .*a.gz: got the index 9 in 'at'; expected one from 0 to 8"
    ):
        batches([file], {"s": tf.io.SparseFeature("at", "is", tf.float32, 9)}, mode=mode)


def test_what_preprocess_cannot_do_is_named(splits, tmp_path):
    import tensorflow as tf

    file = splits.write(tmp_path / "a.gz", [{"x": [1]}, {"x": [0]}])

    def preprocess(features):
        return {"x": tf.debugging.check_numerics(1 / tf.cast(features["x"], tf.float32), "division by zero")}

    with pytest.raises(DataError, match=r"an example in record 1 of .*a.gz: got division by zero"):
        batches([file], {"x": fixed()}, preprocess=preprocess)


def test_files_of_two_kinds(splits, tmp_path):
    files = [splits.write(tmp_path / name, [{"x": [1]}]) for name in ("a.gz", "b")]
    with pytest.raises(
        DataError, match=r"files: got compressed and uncompressed ones together, e.g. '.*a.gz' and '.*b'"
    ):
        batches(files, {"x": fixed()})


def test_no_examples(splits, tmp_path, mode):
    with pytest.raises(DataError, match=r"files: got no examples in .*; expected at least one"):
        batches([splits.write(tmp_path / "a.gz", [])], {"x": fixed()}, mode=mode)


def test_no_file(tmp_path):
    with pytest.raises(DataError, match=r"files: got '.*/a.gz', which cannot be opened; expected files that are there"):
        batches([tmp_path / "a.gz"], {"x": fixed()})


def test_an_empty_shard_among_others_is_none_the_worse(splits, tmp_path, mode):
    files = [splits.write(tmp_path / f"{k}.gz", [{"x": [k]}] * (k % 2)) for k in range(4)]
    assert [batch["x"].tolist() for batch in batches(files, {"x": fixed()}, mode=mode)] == [[1, 3]]


@pytest.fixture(scope="module")
def shard(splits, tmp_path_factory):
    """Examples that hardly compress."""
    draw = random.Random(1)
    rows = [{"x": [draw.randrange(2**59, 2**60) for _ in range(20)]} for _ in range(200)]
    return splits.write(tmp_path_factory.mktemp("shard") / "shard.gz", rows)


def test_a_file_that_is_cut_short_is_named(shard, tmp_path, mode):
    with open(shard, "rb") as file:  # noqa: PTH123
        whole = file.read()
    (tmp_path / "cut.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cut.gz: got .*; expected"):
        batches([shard, tmp_path / "cut.gz"], {"x": fixed([20])}, mode=mode, batch_size=400)


def test_a_file_that_is_cut_short_is_found_by_the_number_of_examples_when_streaming(shard, tmp_path):
    with open(shard, "rb") as file:  # noqa: PTH123
        content = gzip.decompress(file.read())
    record = int.from_bytes(content[:8], "little") + 16
    assert len(content) == record * 200
    (tmp_path / "cut").write_bytes(content[: record * 100])  # at a record's boundary: no reader can see it
    with pytest.raises(DataError, match="num_examples: got 200; expected 100"):
        batches([tmp_path / "cut"], {"x": fixed([20])}, mode="streaming", num_examples=200)


@settings(relaxed, max_examples=25)
@given(data=st.data())
def test_no_damage_leaves_fewer_examples_unnoticed(shard, tmp_path, data):
    with open(shard, "rb") as file:  # noqa: PTH123
        content = bytearray(file.read())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(
            st.one_of(st.integers(0, len(content) - 1), st.integers(max(len(content) - 30, 0), len(content) - 1))
        )
        match data.draw(st.sampled_from(["change", "cut", "insert", "remove"])):
            case "change":
                content[place] ^= data.draw(st.integers(1, 255))
            case "cut":
                del content[place + 1 :]
            case "insert":
                content[place:place] = data.draw(st.binary(min_size=1, max_size=4))
            case "remove":
                del content[place : place + data.draw(st.integers(1, 40))]
        content = content or bytearray(1)
    (tmp_path / "damaged.gz").write_bytes(content)
    try:
        got = batches([tmp_path / "damaged.gz"], {"x": fixed([20])}, batch_size=1000)
    except DataError:
        return
    assert sum(len(batch["x"]) for batch in got) == 200


@settings(relaxed, max_examples=15)
@given(content=st.binary(max_size=60), name=st.sampled_from(["fuzzed", "fuzzed.gz"]), parquet=st.booleans())
def test_arbitrary_bytes_are_an_error_and_no_crash(tmp_path, content, name, parquet):
    (tmp_path / name).write_bytes(b"PAR1" * parquet + content)
    with pytest.raises(DataError, match=name):
        batches([tmp_path / name], {"x": fixed(default=0)})


@settings(relaxed, max_examples=15)
@given(records=st.lists(st.binary(max_size=12), min_size=1, max_size=4))
def test_arbitrary_records_are_an_error_or_examples(splits, tmp_path, records):
    file = splits.write_raw(tmp_path / "records.gz", records)
    try:
        got = batches([file], {"x": fixed(default=0)})
    except DataError as error:
        assert "in record" in str(error)  # noqa: PT017
        return
    assert sum(len(batch["x"]) for batch in got) == len(records)


def test_large_records_are_parsed_in_small_chunks(splits, tmp_path):
    rows = [{"x": [os.urandom(1 << 20)]} for _ in range(12)]
    file = splits.write(tmp_path / "large", rows)
    got = batches([file], {"x": fixed(dtype="string")}, shuffle=True)
    images = [image for batch in got for image in splits.rows_of(batch["x"], words=True)]
    assert sorted(images) == sorted(row["x"][0] for row in rows)
