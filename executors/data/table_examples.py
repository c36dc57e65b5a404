"""Typed columns → tf.Examples in a file, whose name says its content; and the schema of the columns."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polytrainer.executors.data.table_columns import BYTES, FLOAT, INT, Column

if TYPE_CHECKING:
    from tensorflow_metadata.proto.v0 import schema_pb2

_ROWS_AT_ONCE = 4096


def table_schema(columns: Sequence[Column]) -> schema_pb2.Schema:
    """A schema that has each column as a dense feature of its shape: a value that is missing needs a default."""
    from tensorflow_metadata.proto.v0 import schema_pb2

    types = {INT: schema_pb2.INT, FLOAT: schema_pb2.FLOAT, BYTES: schema_pb2.BYTES}
    schema = schema_pb2.Schema()
    for column in columns:
        feature = schema.feature.add(name=column.name, type=types[column.kind])
        feature.presence.min_fraction, feature.presence.min_count = 1.0, 1
        for size in column.shape:
            feature.shape.dim.add(size=size)
    return schema


def schema_kinds(schema: schema_pb2.Schema) -> dict[str, str]:
    """The kinds that a schema's features have as columns, by name."""
    from tensorflow_metadata.proto.v0 import schema_pb2

    kinds = {schema_pb2.INT: INT, schema_pb2.FLOAT: FLOAT, schema_pb2.BYTES: BYTES}
    return {feature.name: kinds[feature.type] for feature in schema.feature if feature.type in kinds}


def spec_kinds(spec: Mapping[str, Any]) -> dict[str, str] | None:
    """The kinds that the features of a feature spec have as columns; None where one is made of several."""
    import tensorflow as tf

    if any(isinstance(feature, tf.io.SparseFeature) for feature in spec.values()):
        return None
    return {
        name: BYTES if feature.dtype == tf.string else FLOAT if feature.dtype.is_floating else INT
        for name, feature in spec.items()
    }


def serialized_examples(columns: Sequence[Column]) -> Iterator[bytes]:
    """A serialized tf.Example for each row, in order; a missing value is a feature without any, as CsvExampleGen's."""
    import pyarrow as pa
    from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder  # what CsvExampleGen encodes with

    encoder = RecordBatchToExamplesEncoder()
    names = [column.name for column in columns]
    for first in range(0, len(columns[0]), _ROWS_AT_ONCE):
        rows = slice(first, first + _ROWS_AT_ONCE)
        yield from encoder.encode(pa.RecordBatch.from_arrays([_lists(column, rows) for column in columns], names))


def write_examples(columns: Sequence[Column], folder: Path, name: str) -> tuple[str, str]:
    """Writes a table as a file of TFRecords, unless a file with this content is there.

    Args:
        columns: Of the table.
        folder: Where the file goes.
        name: What its name begins with.

    Returns:
        Its path, and a digest of the table.
    """
    import tensorflow as tf

    digest = _digest(columns)
    path, partial = folder / f"{name}-{digest}.tfrecord", folder / f"_partial-{os.getpid()}-{name}"
    if path.exists():
        return str(path), digest
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tf.io.TFRecordWriter(str(partial)) as writer:
            for example in serialized_examples(columns):
                writer.write(example)
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)
    return str(path), digest


def _lists(column: Column, rows: slice) -> Any:
    """Rows of a column as lists, None where a value is missing."""
    import numpy as np
    import pyarrow as pa

    values = column.values[rows]
    present = np.ones(len(values), dtype=bool) if column.missing is None else ~column.missing[rows]
    ends = np.concatenate([[0], np.cumsum(present) * values.shape[1]]).astype(np.int32)
    is_null = np.append(~present, False)
    types = {INT: pa.int64(), FLOAT: pa.float32(), BYTES: pa.binary()}
    return pa.ListArray.from_arrays(
        pa.array(ends, mask=is_null), pa.array(values[present].reshape(-1), types[column.kind])
    )


def _digest(columns: Sequence[Column]) -> str:
    """A short name for all that is in a table."""
    digest = hashlib.sha256()
    for column in columns:
        digest.update(repr((column.name, column.kind, column.shape, len(column))).encode())
        if column.missing is not None:
            digest.update(column.missing.tobytes())
        if column.kind == BYTES:
            words = column.values.reshape(-1).tolist()
            digest.update(repr([len(word) for word in words]).encode())
            digest.update(b"".join(words))
        else:
            digest.update(column.values.tobytes())
    return digest.hexdigest()[:32]
