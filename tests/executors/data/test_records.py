"""Reading TFRecord files to see whether they can be read."""

from __future__ import annotations

import gzip
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polytrainer.executors.data import records
from polytrainer.proto.problems import Problem


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    """A gzipped TFRecord file of 5,000 records of 100 random bytes."""
    import tensorflow as tf

    path = tmp_path_factory.mktemp("shard") / "shard.gz"
    with tf.io.TFRecordWriter(str(path), tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
        for _ in range(5000):
            writer.write(os.urandom(100))
    return path


def test_a_whole_file_is_counted(shard):
    assert records.diagnose(str(shard)) == 5000


def test_only_the_first_record_is_read_where_that_is_asked_for(shard, tmp_path):
    cut = tmp_path / "cut.gz"
    cut.write_bytes(shard.read_bytes()[:100_000])
    assert records.diagnose(str(cut), first_only=True) == 1
    assert isinstance(records.diagnose(str(cut)), Problem)


def test_several_gzip_streams_in_one_file_are_whole(shard, tmp_path):
    twice = tmp_path / "twice.gz"
    twice.write_bytes(shard.read_bytes() * 2)
    assert records.diagnose(str(twice)) == 10_000


def test_an_empty_stream_is_an_empty_shard(tmp_path):
    (tmp_path / "empty.gz").write_bytes(gzip.compress(b""))
    assert records.diagnose(str(tmp_path / "empty.gz")) == 0


def test_a_file_that_is_not_compressed(shard, tmp_path):
    plain = tmp_path / "plain"
    plain.write_bytes(gzip.decompress(shard.read_bytes()))
    assert records.diagnose(str(plain)) == 5000


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_cut_goes_unseen(shard, tmp_path, data):
    """TensorFlow itself takes many of these for a shorter, or an empty, file."""
    whole = shard.read_bytes()
    length = data.draw(
        st.one_of(st.integers(0, 40), st.integers(len(whole) - 40, len(whole) - 1), st.integers(0, len(whole) - 1))
    )
    (tmp_path / "cut.gz").write_bytes(whole[:length])
    seen = records.diagnose(str(tmp_path / "cut.gz"))
    assert isinstance(seen, Problem), f"cut to {length} of {len(whole)} bytes: {seen} records"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200), name=st.sampled_from(["fuzzed.gz", "fuzzed"]))
def test_arbitrary_bytes_never_crash_the_check(tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    assert isinstance(records.diagnose(str(tmp_path / name)), (int, Problem))


def test_beyond_the_budget_only_beginnings_are_read(shard, tmp_path):
    cut = tmp_path / "cut.gz"
    cut.write_bytes(shard.read_bytes()[:100_000])
    seen = records.inspect([str(shard), str(cut)], read_whole_bytes=shard.stat().st_size)
    assert (seen.problems, seen.num_records, seen.whole) == ((), 5001, False)


def test_every_damaged_file_is_reported(tmp_path):
    files = [str(tmp_path / f"{number}.gz") for number in range(2)]
    for file in files:
        with open(file, "wb"):  # noqa: PTH123
            pass
    assert [problem.where for problem in records.inspect(files).problems] == files
