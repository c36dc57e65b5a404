"""tf.Examples made for a feature spec."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

_PARQUET_ROWS = 256  # held in memory at a time


def stored_names(file: str) -> set[str]:
    """Names of the features in the first example of a file, TFRecords or Parquet."""
    from polytrainer.executors.data.dataset import first_records

    if is_parquet(file):
        from polytrainer.executors.data.parquet import opened

        return set(opened(file).schema_arrow.names)
    return names(first_records([file], 1))


def names(serialized: Iterable[bytes]) -> set[str]:
    """Names of the features in examples."""
    import tensorflow as tf

    return {name for each in serialized for name in tf.train.Example.FromString(each).features.feature}


def first_examples(files: Sequence[str], count: int) -> list[bytes]:
    """Up to `count` serialized examples from the beginning of files of TFRecords or Parquet."""
    return list(islice(all_examples(files), count))


def all_examples(files: Sequence[str]) -> Iterator[bytes]:
    """Every serialized example of files of TFRecords or Parquet, in their order, one at a time."""
    import tensorflow as tf

    for file in files:
        if is_parquet(file):
            from polytrainer.executors.data.parquet import opened

            for batch in opened(file).iter_batches(batch_size=_PARQUET_ROWS):
                yield from (_example(row) for row in batch.to_pylist())
        else:
            yield from tf.data.TFRecordDataset([file], "GZIP" if file.endswith(".gz") else "").as_numpy_iterator()


def is_parquet(file: str) -> bool:
    """Whether a file is Parquet, by its first bytes."""
    import tensorflow as tf

    from polytrainer.executors.data.parquet import MAGIC

    with tf.io.gfile.GFile(file, "rb") as raw:
        return bool(raw.read(len(MAGIC)) == MAGIC)


def _example(row: Mapping[str, Any]) -> bytes:
    import tensorflow as tf

    example = tf.train.Example()
    for name, value in row.items():
        values = list(_scalars(value))
        if not values:
            continue
        feature = example.features.feature[name]
        if isinstance(values[0], (str, bytes)):
            feature.bytes_list.value.extend(each.encode() if isinstance(each, str) else each for each in values)
        elif isinstance(values[0], float):
            feature.float_list.value.extend(values)
        else:
            feature.int64_list.value.extend(int(each) for each in values)
    return example.SerializeToString()  # type: ignore[no-any-return]


def _scalars(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for each in value:
            yield from _scalars(each)
    elif value is not None:
        yield value


def filler(spec: Mapping[str, Any]) -> bytes:
    """A serialized example with zeros and empty words for each feature that must be there: for want of a real one."""
    import tensorflow as tf

    example = tf.train.Example()
    for name, feature in spec.items():
        if not isinstance(feature, tf.io.FixedLenFeature) or feature.default_value is not None:
            continue
        values = example.features.feature[name]
        size = math.prod(feature.shape)
        if feature.dtype == tf.string:
            values.bytes_list.value.extend([b""] * size)
        elif feature.dtype.is_floating:
            values.float_list.value.extend([0.0] * size)
        else:
            values.int64_list.value.extend([0] * size)
    return example.SerializeToString()  # type: ignore[no-any-return]
