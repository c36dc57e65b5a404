"""Splits on disk, and batches as plain Python."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest

KINDS = {int: "int64_list", float: "float_list", bytes: "bytes_list"}


def write(path, rows):
    """Writes rows (name → list of values, none where a feature is missing) as tf.Examples; gzipped by the name."""
    import tensorflow as tf

    options = tf.io.TFRecordOptions(compression_type="GZIP" if str(path).endswith(".gz") else "")
    with tf.io.TFRecordWriter(str(path), options) as writer:
        for row in rows:
            example = tf.train.Example()
            for name, values in row.items():
                if values:
                    getattr(example.features.feature[name], KINDS[type(values[0])]).value.extend(values)
            writer.write(row if isinstance(row, bytes) else example.SerializeToString())
    return str(path)


def write_raw(path, records):
    """Writes serialized records."""
    import tensorflow as tf

    options = tf.io.TFRecordOptions(compression_type="GZIP" if str(path).endswith(".gz") else "")
    with tf.io.TFRecordWriter(str(path), options) as writer:
        for record in records:
            writer.write(record)
    return str(path)


def write_parquet(path, rows, names, *, row_group_size=4):
    """Writes the same rows to Parquet: a column of lists for each name, null where a row has no value."""
    import pyarrow as pa
    from pyarrow import parquet

    types = {int: pa.int64(), float: pa.float32(), bytes: pa.binary()}
    columns = {
        name: pa.array([row.get(name) or None for row in rows], pa.list_(types[kind])) for name, kind in names.items()
    }
    parquet.write_table(pa.table(columns), str(path), row_group_size=row_group_size)
    return str(path)


def rows_of(value, words=False):
    """A feature of a batch as a list with an entry for each example; `words` makes bytes of the innermost uint8."""
    if hasattr(value, "size") and hasattr(value, "columns"):
        values, columns, splits = rows_of(value.values, words), value.columns.tolist(), value.row_splits.tolist()
        pairs = [*zip(columns, values, strict=True)] if words else [*zip(columns, value.values.tolist(), strict=True)]
        return [pairs[start:stop] for start, stop in itertools.pairwise(splits)]
    if hasattr(value, "row_splits"):
        splits = value.row_splits.tolist()
        innermost = words and not hasattr(value.values, "row_splits")
        inner = bytes(value.values.tolist()) if innermost else rows_of(value.values, words)
        return [inner[start:stop] for start, stop in itertools.pairwise(splits)]
    return value.tolist()


def parsed(files, spec):
    """What tf.io.parse_example makes of all records of files, as `rows_of` would say it."""
    import tensorflow as tf

    records = [*tf.data.TFRecordDataset(files, "GZIP" if files[0].endswith(".gz") else "").as_numpy_iterator()]
    result = {}
    for name, value in tf.io.parse_example(tf.constant(records, tf.string), spec).items():
        if isinstance(spec[name], tf.io.SparseFeature):
            rows = [[] for _ in records]
            for (row, *columns), element in zip(
                value.indices.numpy().tolist(), value.values.numpy().tolist(), strict=True
            ):
                rows[row].append((columns[0] if len(columns) == 1 else columns, element))
            result[name] = rows
        elif isinstance(value, tf.SparseTensor):
            result[name] = tf.RaggedTensor.from_sparse(value).to_list()
        else:
            result[name] = value.to_list() if isinstance(value, tf.RaggedTensor) else value.numpy().tolist()
    return result


@pytest.fixture(scope="session")
def splits():
    """write, write_raw, write_parquet, rows_of, parsed."""
    return SimpleNamespace(
        write=write, write_raw=write_raw, write_parquet=write_parquet, rows_of=rows_of, parsed=parsed
    )


@pytest.fixture(scope="session")
def numbered(tmp_path_factory):
    """Two files with the numbers 0 to 22, the spec that reads them, and a folder for what is decoded from them."""
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("numbered")
    files = [
        write(folder / "a.gz", [{"n": [number]} for number in range(10)]),
        write(folder / "b.gz", [{"n": [number]} for number in range(10, 23)]),
    ]
    return SimpleNamespace(files=files, spec={"n": tf.io.FixedLenFeature([], tf.int64)}, folder=str(folder / "cache"))
