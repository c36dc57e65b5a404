"""Arrow columns → lists of the types a tf.Example has → what tf.io.parse_example makes of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from polytrainer.executors.data.diagnosis import KINDS, MEND, keys_of, values_text
from polytrainer.executors.data.errors import refuse

if TYPE_CHECKING:
    import pyarrow as pa
    import tensorflow as tf
    from numpy.typing import NDArray


def table(batch: pa.RecordBatch, keys: Mapping[str, str], file: str, first: int) -> pa.Table:
    """The same rows with a column for each key: lists of int64, float32 or bytes, empty where a value is missing.

    Args:
        batch: Rows of a file.
        keys: The columns there are to be, with their dtypes.
        file: Where the rows are from.
        first: The number of the first one.

    Raises:
        DataError: If a column has another type, or a null within a list.
    """
    import pyarrow as pa

    columns = {}
    for key, dtype in keys.items():
        column = batch.column(key) if key in batch.schema.names else pa.nulls(batch.num_rows)
        columns[key] = _lists(column, key, dtype, file, first)
    return pa.table(columns)


def parsed(name: str, feature: Any, rows: pa.Table, of_file: str, first: int) -> Any:
    """A feature of rows that `table` made: a Tensor, SparseTensor or RaggedTensor.

    Raises:
        DataError: If a row does not have as many values as a dense feature needs.
    """
    import tensorflow as tf
    from tensorflow.python.ops import parsing_config

    if isinstance(feature, tf.io.FixedLenFeature):
        return _dense(name, feature, rows, of_file, first)
    splits_dtype = feature.row_splits_dtype if isinstance(feature, tf.io.RaggedFeature) else tf.int64
    tensors: dict[str, Any] = {}
    for key, dtype in keys_of(name, feature):
        lengths, values = _numpy(rows.column(key))
        splits = tf.concat([[0], tf.cumsum(tf.constant(lengths, splits_dtype))], 0)
        tensors[key] = tf.RaggedTensor.from_row_splits(tf.constant(values, tf.as_dtype(dtype)), splits, validate=False)
    if not isinstance(feature, tf.io.RaggedFeature):
        tensors = {key: tensor.to_sparse() for key, tensor in tensors.items()}
    # by what tf.io.parse_example itself does after parsing
    return parsing_config._construct_tensors_for_composite_features({name: feature}, tensors)[name]


def _dense(name: str, feature: Any, rows: pa.Table, of_file: str, first: int) -> tf.Tensor:
    import numpy as np
    import tensorflow as tf

    lengths, values = _numpy(rows.column(name))
    size = math.prod(feature.shape)
    missing = (lengths == 0) & (feature.default_value is not None)
    wrong = np.flatnonzero((lengths != size) & ~missing)
    if len(wrong):
        number = int(wrong[0])
        got = values_text(int(lengths[number])) if lengths[number] else "no value"
        hint = "" if lengths[number] else ", or a default for it"
        where = f"feature {name!r} in row {first + number} {of_file}"
        raise refuse(where, got, values_text(size) + hint, MEND)
    if missing.any():
        default = np.broadcast_to(np.asarray(feature.default_value, values.dtype), feature.shape)
        filled = np.empty((len(lengths), size), values.dtype)
        filled[missing] = default.reshape(-1)
        filled[~missing] = values.reshape(-1, size)
        values = filled
    return tf.reshape(tf.constant(values, feature.dtype), [len(lengths), *feature.shape])


def _numpy(lists: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """The lengths and the values of lists."""
    import numpy as np
    import pyarrow as pa

    joined = lists.combine_chunks()
    if isinstance(joined, pa.ChunkedArray):  # of no chunks, or in some versions of one
        joined = pa.concat_arrays(joined.chunks) if joined.num_chunks else pa.array([], joined.type)
    return np.diff(joined.offsets.to_numpy()), joined.flatten().to_numpy(zero_copy_only=False)


def _lists(column: pa.Array, key: str, dtype: str, file: str, first: int) -> pa.Array:
    import numpy as np
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    lengths, values = _lengths_and_values(column)
    where = f"feature {key!r}"
    if not _fits(values.type, dtype):
        raise refuse(f"{where} of {file}", f"a column of {column.type}", f"{KINDS[dtype]}, as the schema says", MEND)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    if values.null_count:
        null = int(np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))[0])
        row = first + int(np.searchsorted(offsets, null, "right")) - 1
        raise refuse(f"{where} in row {row} of {file}", "a null within a list", "lists of values", MEND)
    stored = {"int64": pa.int64(), "float32": pa.float32(), "string": pa.large_binary()}[dtype]
    try:
        values = values.cast(stored, safe=dtype != "float32")
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise refuse(f"{where} of {file}", str(error).splitlines()[0], f"values of {dtype}", MEND) from error
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), values)


def _lengths_and_values(column: pa.Array) -> tuple[NDArray[Any], pa.Array]:
    """How many values each row has, none where it is null, and all of them."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    present = column.is_valid().to_numpy(zero_copy_only=False)
    if pa.types.is_fixed_size_list(column.type):
        lengths, values = present * column.type.list_size, column.flatten()
        if len(values) != lengths.sum():  # some versions keep what is behind a null
            values = values.filter(pa.array(np.repeat(present, column.type.list_size)))
        return lengths, values
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        return pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False), column.flatten()
    return present.astype(np.int64), column.drop_null()


def _fits(kind: pa.DataType, dtype: str) -> bool:
    """Whether values of a type are written to the list of a tf.Example that a dtype is read from."""
    import pyarrow as pa

    types = pa.types
    if types.is_null(kind):
        return True
    if dtype == "int64":
        return bool(types.is_integer(kind) or types.is_boolean(kind))
    if dtype == "float32":
        return bool(types.is_floating(kind))
    return bool(
        types.is_string(kind) or types.is_large_string(kind) or types.is_binary(kind) or types.is_large_binary(kind)
    )
