"""Parquet files: the same as the same values in tf.Examples."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.line

relaxed = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # to shrink takes minutes
)

NAMES = {
    "i": int,
    "f": float,
    "w": bytes,
    "d": int,
    "v": float,
    "vw": bytes,
    "l": int,
    "r": bytes,
    "at": int,
    "is": float,
}
INTS, FLOATS, WORDS = st.integers(-(2**63), 2**63 - 1), st.floats(width=32), st.binary(max_size=5)


def spec_of_all():
    import tensorflow as tf

    return {
        "i": tf.io.FixedLenFeature([], tf.int64),
        "f": tf.io.FixedLenFeature([2], tf.float32),
        "w": tf.io.FixedLenFeature([1], tf.string, "none"),
        "d": tf.io.FixedLenFeature([2, 1], tf.int64, [[4], [5]]),
        "v": tf.io.VarLenFeature(tf.float32),
        "vw": tf.io.VarLenFeature(tf.string),
        "ragged": tf.io.RaggedFeature(tf.string, value_key="r", partitions=[tf.io.RaggedFeature.RowLengths("l")]),
        "sparse": tf.io.SparseFeature("at", "is", tf.float32, 9),
    }


@st.composite
def rows_of_all(draw):
    lengths = draw(st.lists(st.integers(0, 2), max_size=3))
    at = draw(st.lists(st.integers(0, 8), max_size=3, unique=True))

    def exactly(values, count):
        return draw(st.lists(values, min_size=count, max_size=count))

    return {
        "i": exactly(INTS, 1),
        "f": exactly(FLOATS, 2),
        "w": draw(st.lists(WORDS, max_size=1)),
        "d": exactly(INTS, 2) if draw(st.booleans()) else [],
        "v": draw(st.lists(FLOATS, max_size=3)),
        "vw": draw(st.lists(WORDS, max_size=3)),
        "l": lengths,
        "r": exactly(WORDS, sum(lengths)),
        "at": at,
        "is": exactly(FLOATS, len(at)),
    }


def batches(files, spec, **arguments):
    from polytrainer.executors.data.torch_batches import TorchBatches

    return [*TorchBatches([str(file) for file in files], spec, **{"batch_size": 3, "mode": "cached", **arguments})]


def plain(splits, got):
    return repr([[splits.rows_of(value) for value in batch.values()] for batch in got])  # repr: nan is not nan


@settings(relaxed, max_examples=6)
@given(
    rows=st.lists(rows_of_all(), min_size=1, max_size=9),
    raw=st.booleans(),
    mode=st.sampled_from(["cached", "streaming"]),
)
def test_it_is_what_tf_examples_give(splits, tmp_path, rows, raw, mode):
    spec = spec_of_all()
    preprocess = dict if raw else None  # with one, features are parsed in other ways
    records = splits.write(tmp_path / "rows.gz", rows)
    parquet = splits.write_parquet(tmp_path / "rows", rows, NAMES)
    got, wanted = (batches([file], spec, preprocess=preprocess, mode=mode) for file in (parquet, records))
    assert [[*batch] for batch in got] == [[*batch] for batch in wanted]
    assert plain(splits, got) == plain(splits, wanted)


def one_column(path, array, name="x"):
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table({name: array}), str(path))
    return path


def test_columns_of_every_form(tmp_path, splits):
    import pyarrow as pa
    import tensorflow as tf

    ints = tf.io.VarLenFeature(tf.int64)
    words = tf.io.VarLenFeature(tf.string)
    floats = tf.io.VarLenFeature(tf.float32)
    for array, feature, wanted in [
        (pa.array([1, None, 3], pa.int8()), ints, [[1], [], [3]]),
        (pa.array([True, None, False]), ints, [[1], [], [0]]),
        (pa.array([[1], None, []], pa.large_list(pa.uint32())), ints, [[1], [], []]),
        (pa.array([[1, 2], [3, 4]], pa.list_(pa.int64(), 2)), ints, [[1, 2], [3, 4]]),
        (pa.array([None, None], pa.null()), ints, [[], []]),
        (pa.array([0.5, None], pa.float64()), floats, [[0.5], []]),
        (pa.array(["a", None, "ä"]), words, [[b"a"], [], ["ä".encode()]]),
        (pa.array(["a", "b", "a"]).dictionary_encode(), words, [[b"a"], [b"b"], [b"a"]]),
        (pa.array([["a"], ["b", ""]], pa.list_(pa.large_string())), words, [[b"a"], [b"b", b""]]),
    ]:
        [batch] = batches([one_column(tmp_path / "x", array)], {"x": feature})
        assert splits.rows_of(batch["x"], words=feature is words) == wanted, array.type


def test_a_null_among_lists_of_one_size():
    import pyarrow as pa

    from polytrainer.executors.data import arrow_lists

    # in memory: Arrow itself cannot write this to Parquet, though others can
    rows = pa.record_batch([pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int64(), 2))], ["x"])
    assert arrow_lists.table(rows, {"x": "int64"}, "x", 0)["x"].to_pylist() == [[1, 2], [], [3, 4]]


def test_a_column_that_is_not_there_is_missing_everywhere(tmp_path):
    import pyarrow as pa
    import tensorflow as tf

    file = one_column(tmp_path / "x", pa.array([1, 2]))
    spec = {"x": tf.io.FixedLenFeature([], tf.int64), "y": tf.io.FixedLenFeature([], tf.int64, 7)}
    [batch] = batches([file], spec)
    assert (batch["y"].tolist(), batch["y_mask"].tolist()) == ([7, 7], [False, False])


@pytest.fixture(scope="module")
def numbered(splits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("numbered")
    rows = [{"n": [k]} for k in range(23)]
    return [splits.write_parquet(folder / name, part, {"n": int}) for name, part in (("a", rows[:9]), ("b", rows[9:]))]


def numbers(files, **arguments):
    import tensorflow as tf

    from polytrainer.executors.data.torch_batches import TorchBatches

    made = TorchBatches(files, {"n": tf.io.FixedLenFeature([], tf.int64)}, **{"mode": "streaming", **arguments})
    return lambda steps=None: [batch["n"].tolist() for batch in itertools.islice(made, steps)], made


@settings(relaxed, max_examples=8)
@given(
    batch_size=st.integers(1, 30),
    world_size=st.integers(1, 3),
    shuffle=st.booleans(),
    drop_last=st.booleans(),
    shuffle_buffer=st.sampled_from([1, 5, 100]),
)
def test_streaming_ranks_share_out_every_row_once(numbered, world_size, **arguments):
    batch_size, drop_last, shuffle = (arguments[name] for name in ("batch_size", "drop_last", "shuffle"))
    whole = numbers(numbered, **arguments)[0]()
    together = [numbers(numbered, rank=rank, world_size=world_size, **arguments)[0]() for rank in range(world_size)]
    assert [[*itertools.chain(*share)] for share in zip(*together, strict=True)] == whole
    seen = [*itertools.chain(*whole)]
    assert len(set(seen)) == len(seen) == (23 - 23 % batch_size if drop_last else 23)
    assert shuffle or seen == [*range(len(seen))]


@settings(relaxed, max_examples=8)
@given(batch_size=st.integers(1, 12), steps=st.integers(1, 20), shuffle=st.booleans())
def test_streaming_can_be_taken_up_anywhere(numbered, batch_size, steps, shuffle):
    read, made = numbers(numbered, batch_size=batch_size, shuffle=shuffle, shuffle_buffer=8)
    seen: list[list[int]] = []
    while len(seen) < steps:
        seen += read(steps - len(seen))
    state = made.state_dict()
    read, made = numbers(numbered, batch_size=batch_size, shuffle=shuffle, shuffle_buffer=8)
    made.load_state_dict(state)
    assert sorted([*[*itertools.chain(*seen)][state["epoch"] * 23 :], *itertools.chain(*read())]) == [*range(23)]


def test_epochs_differ_in_their_order_and_the_same_ones_agree(numbered):
    arguments = {"batch_size": 23, "shuffle": True, "shuffle_buffer": 8}
    read, again = (numbers(numbered, **arguments)[0] for _ in range(2))
    first, second = read(), read()
    assert first != second
    assert [again(), again()] == [first, second]


@pytest.mark.parametrize("mode", ["cached", "streaming"])
@pytest.mark.parametrize(
    ("values", "feature", "message"),
    [
        ([[1], [1, 2]], {}, "feature 'x' in row 1 of .*x: got 2 values; expected 1 value"),
        ([[1], None], {}, "feature 'x' in row 1 of .*x: got no value; expected 1 value, or a default for it"),
        ([[1], [2, None]], {}, "feature 'x' in row 1 of .*x: got a null within a list; expected lists of values"),
        ([1.5, 2.5], {}, "feature 'x' of .*x: got a column of double; expected int64_list, as the schema says"),
        ([[[1]], [[2]]], {}, "feature 'x' of .*x: got a column of list<.*; expected int64_list"),
        (["a", "new"], {"dtype": "string"}, "feature 'x' in row 1 of .*x: got the word 'new'; expected one of 'a'"),
    ],
)
def test_a_row_that_does_not_fit_is_named(tmp_path, mode, values, feature, message):
    import pyarrow as pa
    import tensorflow as tf

    from polytrainer.executors.data.encoders import Vocabulary

    dtype = tf.as_dtype(feature.get("dtype", "int64"))
    encode = {"x": Vocabulary(["a"])} if dtype == tf.string else None
    file = one_column(tmp_path / "x", pa.array(values))
    with pytest.raises(ValueError, match=message):
        batches([file], {"x": tf.io.FixedLenFeature([], dtype)}, encoders=encode, mode=mode, shuffle=True)


def test_parquet_and_tfrecords_do_not_mix(splits, tmp_path):
    import pyarrow as pa
    import tensorflow as tf

    files = [one_column(tmp_path / "x", pa.array([1])), splits.write(tmp_path / "y.gz", [{"x": [1]}])]
    with pytest.raises(
        ValueError, match=r"files: got Parquet .*x.* and other files .*y.gz.* together; expected one format"
    ):
        batches(files, {"x": tf.io.FixedLenFeature([], tf.int64)})


def test_no_rows(tmp_path):
    import pyarrow as pa
    import tensorflow as tf

    file = one_column(tmp_path / "x", pa.array([], pa.int64()))
    with pytest.raises(ValueError, match="files: got no examples"):
        batches([file], {"x": tf.io.FixedLenFeature([], tf.int64)})


@settings(relaxed, max_examples=20)
@given(data=st.data())
def test_a_damaged_file_is_named_or_all_of_it_is_read(numbered, tmp_path, data):
    import tensorflow as tf

    with open(numbered[1], "rb") as file:  # noqa: PTH123
        content = bytearray(file.read())
    place = data.draw(st.integers(4, len(content) - 1))
    if data.draw(st.booleans()):
        del content[place:]
    else:
        content[place] ^= data.draw(st.integers(1, 255))
    (tmp_path / "damaged").write_bytes(content)
    try:
        got = batches([tmp_path / "damaged"], {"n": tf.io.VarLenFeature(tf.int64)})
    except ValueError as error:
        assert "damaged" in str(error)  # noqa: PT017
        return
    assert sum(len(batch["n"].row_splits) - 1 for batch in got) == 14


def test_a_file_at_an_address_is_read_as_a_local_one(splits, tmp_path):
    import tensorflow as tf

    from polytrainer.executors.data.examples import first_examples, stored_names
    from polytrainer.executors.data.parquet import opened

    rows = [{"n": [number], "w": [b"a", b"b"][: number % 3]} for number in range(9)]
    local = splits.write_parquet(tmp_path / "rows.parquet", rows, {"n": int, "w": bytes})
    address = f"file://{local}"
    assert opened(address).read().equals(opened(local).read())
    assert stored_names(address) == {"n", "w"}
    tfrecords = splits.write(tmp_path / "rows.gz", rows)
    parse = tf.train.Example.FromString
    wanted = [*map(parse, first_examples([tfrecords], 9))]
    assert [*map(parse, first_examples([address], 5))] == wanted[:5]
    assert [*map(parse, first_examples([local, tfrecords], 12))] == [*wanted, *wanted[:3]]


@pytest.mark.parametrize("name", [b"list", b"n"])
def test_a_damaged_name_is_a_damaged_file_where_it_matters(numbered, tmp_path, name):
    import tensorflow as tf

    length = bytes([0x18, len(name)])  # as Parquet's footer has it before a name
    content = Path(numbered[0]).read_bytes()
    damaged = tmp_path / "damaged"
    damaged.write_bytes(content.replace(length + name, length + b"\xd3" + name[1:]))
    assert damaged.read_bytes() != content
    try:
        got = batches([damaged], {"n": tf.io.FixedLenFeature([], tf.int64)})
    except ValueError as error:
        assert "damaged" in str(error)  # noqa: PT017
        return
    assert sum(len(batch["n"]) for batch in got) == 9  # older versions of pyarrow do not look at every name
