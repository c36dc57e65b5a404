"""tf.Examples made for a feature spec."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def stored_names(file: str) -> set[str]:
    """Names of the features in the first example of a file, TFRecords or Parquet."""
    import tensorflow as tf

    from polytrainer.executors.data.dataset import first_records
    from polytrainer.executors.data.parquet import MAGIC

    with tf.io.gfile.GFile(file, "rb") as raw:
        if raw.read(len(MAGIC)) == MAGIC:
            from pyarrow import parquet

            raw.seek(0)
            return set(parquet.read_schema(raw).names)
    [first] = first_records([file], 1)
    return set(tf.train.Example.FromString(first).features.feature)


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
