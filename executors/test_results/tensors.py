"""TensorFlow's tensors as rows that test results can be written from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def rows(value: Any) -> Any:
    """A row for each example: an array of a dense tensor, a list of lists of a ragged or a sparse one."""
    import numpy as np
    import tensorflow as tf

    if isinstance(value, tf.SparseTensor):
        value = tf.RaggedTensor.from_sparse(value) if value.shape.rank == 2 else tf.sparse.to_dense(value)  # noqa: PLR2004
    if isinstance(value, tf.RaggedTensor):
        return [np.array(list(row.flat_values.numpy()) if isinstance(row, tf.RaggedTensor) else row) for row in value]
    if value.dtype in (tf.bfloat16, tf.float16):
        value = tf.cast(value, tf.float32)
    return value.numpy()


def rows_by_name(features: Any) -> dict[str, Any]:
    """The same of each feature; nothing, where features have no names."""
    return {name: rows(value) for name, value in features.items()} if isinstance(features, Mapping) else {}
