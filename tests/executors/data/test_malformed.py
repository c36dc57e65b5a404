"""Files with something changed in them are read as they are, or refused in one error that names the file."""

from __future__ import annotations

import gzip
import random
import struct
import tempfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.newest
SEEDS = range(200)
LONG = 1 << 60  # bytes: what TensorFlow's reader does not survive


@pytest.fixture(scope="module")
def content():
    """The bytes of a TFRecord file of 20 examples with a float, an integer and words."""
    import tensorflow as tf

    def example(i):
        features = {
            "x": tf.train.Feature(float_list=tf.train.FloatList(value=[i, i + 0.5])),
            "n": tf.train.Feature(int64_list=tf.train.Int64List(value=[i])),
            "words": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"a", "é".encode()])),
        }
        return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString(deterministic=True)

    return b"".join(framed(example(i)) for i in range(20))


def crc(data):
    """The masked checksum of some bytes: TensorFlow has no function for it, and writes it behind a record."""
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "record")
        with tf.io.TFRecordWriter(str(path)) as writer:
            writer.write(data)
        return path.read_bytes()[-4:]


def framed(record, length=None):
    header = struct.pack("<Q", len(record) if length is None else length)
    return header + crc(header) + record + crc(record)


def changed(content, seed):
    """The content with some bytes changed, removed, doubled or put in: of a record (with its checksum) or anywhere."""
    rng = random.Random(seed)
    if seed % 2:
        length = int.from_bytes(content[:8], "little")
        record = bytearray(content[12 : 12 + length])
        _change(record, rng)
        return framed(bytes(record)) + content[length + 16 :]
    data = bytearray(content)
    _change(data, rng)
    return bytes(data)


def _change(data, rng):
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(data))
        how = rng.choice(["flip", "remove", "double", "insert"])
        if how == "flip":
            data[at] ^= 1 << rng.randrange(8)
        elif how == "remove":
            del data[at : at + rng.randint(1, 20)]
        elif how == "double":
            data[at:at] = data[at : at + rng.randint(1, 20)]
        else:
            data[at:at] = rng.randbytes(rng.randint(1, 8))


def specs():
    import tensorflow as tf

    return {
        "x": tf.io.FixedLenFeature([2], tf.float32),
        "n": tf.io.FixedLenFeature([1], tf.int64),
        "words": tf.io.VarLenFeature(tf.string),
    }


def read_by_tensorflow(path):
    """As Keras' and Estimator's data are looked at before training."""
    from polytrainer.executors.backends.data_checks import _parse_problem
    from polytrainer.executors.data import anomalies, diagnosis, records
    from polytrainer.executors.errors import PreflightError

    if problems := records.inspect([path]).problems:
        raise PreflightError(problems)
    try:
        anomalies.find_anomalies([path], specs())
    except diagnosis.failures() as error:
        raise PreflightError([_parse_problem([path], specs(), error)]) from error


def read_by_torch(path):
    from polytrainer.executors.data.torch_batches import TorchBatches

    spec = {name: feature for name, feature in specs().items() if name != "words"}
    for _ in TorchBatches([path], spec, batch_size=4):
        pass


@pytest.mark.parametrize("read", [read_by_tensorflow, read_by_torch])
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_changed_file_is_read_or_refused_by_name(read, ending, content, tmp_path):
    from polytrainer.executors.data.errors import DataError
    from polytrainer.executors.errors import PreflightError

    outcomes, refusals = {"read": 0, "refused": 0}, {}
    for seed in list(SEEDS)[: 200 if read is read_by_tensorflow and not ending else 40]:
        data = changed(content, seed)
        if ending:
            packed = bytearray(gzip.compress(content if seed % 4 == 0 else data, mtime=0))
            if seed % 4 == 0:
                _change(packed, random.Random(seed))
            data = bytes(packed)
        path = tmp_path / f"{seed}{ending}"
        path.write_bytes(data)
        try:
            read(str(path))
            outcomes["read"] += 1
        except (DataError, PreflightError) as error:
            refusals[str(path)] = str(error)
            outcomes["refused"] += 1
    assert all(path in refusal for path, refusal in refusals.items()), refusals
    assert outcomes["refused"] > 0, outcomes


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_length_that_tensorflow_does_not_survive_is_refused(ending, content, tmp_path):
    from polytrainer.executors.data import records

    path = tmp_path / f"long{ending}"
    data = content + struct.pack("<Q", LONG) + crc(struct.pack("<Q", LONG)) + b"abc"
    path.write_bytes(gzip.compress(data) if ending else data)
    seen = records.diagnose(str(path))
    assert str(seen).startswith(f"record 20 of {path}: got a length of {LONG} bytes; expected at most 2147483647")


def test_what_is_no_tfrecord_file_is_told_as_such(tmp_path):
    from polytrainer.executors.data import records

    (tmp_path / "table.csv").write_text("a,b\n1,2\n" * 100)
    seen = records.diagnose(str(tmp_path / "table.csv"))
    assert "data that cannot be read past the first 0 records" in str(seen)


@pytest.mark.parametrize(
    ("indices", "anomaly", "match"),
    [
        (
            [0, 7],
            "an index outside of the feature",
            r"feature 's' in record 1 of .*: got the index 7 in 'i'; expected one",
        ),
        ([-1, 2], "an index outside of the feature", r"got the index -1 in 'i'; expected one from 0 to 4"),
        ([0, 1, 2], "another number of indices than of values", r"got 3 indices in 'i'; expected 2, as many as values"),
    ],
)
def test_indices_of_a_sparse_feature_that_do_not_fit_are_refused(indices, anomaly, match, splits, tmp_path):
    import tensorflow as tf

    from polytrainer.executors.data.anomalies import find_anomalies
    from polytrainer.executors.data.errors import DataError
    from polytrainer.executors.data.torch_batches import TorchBatches

    path = splits.write(tmp_path / "sparse", [{"i": [0, 1], "v": [1.0, 2.0]}, {"i": indices, "v": [1.0, 2.0]}])
    spec = {"s": tf.io.SparseFeature("i", "v", tf.float32, size=5)}
    [found] = find_anomalies([path], spec)
    assert (found.kind, found.record, found.is_unparsable) == (anomaly, 1, True)
    with pytest.raises(DataError, match=match):
        list(TorchBatches([path], spec, batch_size=2))
