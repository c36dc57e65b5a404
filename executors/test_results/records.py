"""Examples as they were read, and features added to them → serialized tf.Examples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Features = Mapping[str, Any]


def record(example: Any, added: Features, *, kept: tuple[str, str] | None = None) -> bytes:
    """An example with further features, which replace those of the same names.

    Args:
        example: A serialized tf.Example, a tf.train.Example, or values by name: a number, a word, or an array or list
            of them, of any shape; it is written row by row.
        added: Values by name.
        kept: A name among those added, and the name under which the example's own feature of that name is kept.
    """
    import tensorflow as tf

    result = tf.train.Example()
    if isinstance(example, bytes):
        result.ParseFromString(example)
    elif isinstance(example, Mapping):
        _add(result, example)
    else:
        result.CopyFrom(example)
    features = result.features.feature
    if kept and kept[0] in added and kept[0] in features:
        features[kept[1]].CopyFrom(features[kept[0]])
    _add(result, added)
    # the same bytes for the same example: the order of features is another in each process
    return result.SerializeToString(deterministic=True)  # type: ignore[no-any-return]


def _add(example: Any, features: Features) -> None:
    for name, value in features.items():
        feature = example.features.feature[name]
        feature.Clear()
        words = list(_words(value))
        if words:
            feature.bytes_list.value.extend(words)
        else:
            _add_numbers(feature, name, value)


def _add_numbers(feature: Any, name: str, value: Any) -> None:
    import numpy as np

    array = np.asarray(value)
    if array.dtype.kind in "iub":
        feature.int64_list.value.extend(array.astype(np.int64).ravel())
    elif array.dtype.kind == "f":
        feature.float_list.value.extend(array.astype(np.float32).ravel())
    elif array.size:
        raise TypeError(f"{name}: got {type(value).__name__} of {array.dtype}; expected numbers, bytes or str.")


def _words(value: Any) -> Iterator[bytes]:
    """The words in a value; none if it holds numbers. Not by NumPy, whose bytes end before zeros."""
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, str):
        yield value.encode()
    elif isinstance(value, (list, tuple)) or getattr(getattr(value, "dtype", None), "kind", None) in ("O", "S", "U"):
        for each in value if isinstance(value, (list, tuple)) or value.ndim else [value.item()]:
            yield from _words(each)
