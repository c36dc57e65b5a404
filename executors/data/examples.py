"""tf.Examples made for a feature spec."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


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
