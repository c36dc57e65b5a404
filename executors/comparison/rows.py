"""A row of test results: by what it is known, and what is compared of it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from polytrainer.executors.test_results import keys as result_keys

if TYPE_CHECKING:
    from numpy.typing import NDArray

# label, prediction: bytes of float64, None where there are no numbers; weight; the words of each slice feature; query
Told: TypeAlias = tuple[bytes | None, bytes | None, float, tuple[tuple[str, ...], ...], str | None]


@dataclass(frozen=True)
class Reader:
    """Reads the test results of one split of one model.

    Attributes:
        split: Its name, which is part of a row's key.
        label_key: Feature of the label.
        key_features: Features that together name a row; empty for all that no trainer added.
        query_key: Feature that names the query; empty where there are none.
        weight_key: Feature of the weight; empty for 1.
        slice_features: Features whose values are wanted.
    """

    split: str
    label_key: str
    key_features: tuple[str, ...] = ()
    query_key: str = ""
    weight_key: str = ""
    slice_features: tuple[str, ...] = ()

    def read(self, features: Any) -> tuple[str, Told]:
        """The key of an example, and what is compared of it."""
        weight = numbers(features, self.weight_key) if self.weight_key else None
        told = (
            _packed(numbers(features, self.label_key)),
            _packed(numbers(features, result_keys.PREDICTION)),
            1.0 if not self.weight_key else float(weight[0]) if weight is not None and len(weight) == 1 else -1.0,
            tuple(tuple(words(features, name)) for name in self.slice_features),
            self._query(features),
        )
        return f"{self.split}/{self._key(features)}", told

    def _query(self, features: Any) -> str | None:
        """The query of an example in this split; None unless one value names it."""
        if self.query_key not in features:
            return None
        feature = features[self.query_key]
        values = [*feature.bytes_list.value, *feature.int64_list.value, *feature.float_list.value]
        if len(values) != 1:
            return None
        [value] = values
        return f"{self.split}/{value.decode(errors='replace') if isinstance(value, bytes) else value}"

    def _key(self, features: Any) -> str:
        if self.key_features:
            return ",".join(f"{name}={'|'.join(words(features, name))}" for name in self.key_features)
        added = {*result_keys.ADDED, result_keys.EXAMPLE_WEIGHT, self.label_key}
        added.add(result_keys.stored_label(self.label_key))
        digest = hashlib.blake2b(digest_size=16)
        for name in sorted(features):
            if name not in added and not name.startswith(result_keys.prediction_of("")):
                value = features[name].SerializeToString(deterministic=True)
                digest.update(b"%d %s %d " % (len(name), name.encode(), len(value)))
                digest.update(value)
        return digest.hexdigest()


def class_names(features: Any) -> list[tuple[int, str]]:
    """Numbers of the predicted classes with their names, where the example has them."""
    if result_keys.PREDICTED_CLASS_NAME not in features or result_keys.PREDICTED_CLASS not in features:
        return []
    numbers_of = features[result_keys.PREDICTED_CLASS].int64_list.value
    names = features[result_keys.PREDICTED_CLASS_NAME].bytes_list.value
    return [(number, name.decode(errors="replace")) for number, name in zip(numbers_of, names, strict=False)]


def parsed(record: bytes) -> Any:
    """The features of a serialized tf.Example, by name."""
    from tensorflow.core.example import example_pb2

    return example_pb2.Example.FromString(record).features.feature


def numbers(features: Any, name: str) -> NDArray[Any] | None:
    """A feature's numbers as float64; None if it has none."""
    import numpy as np

    if name not in features:
        return None
    feature = features[name]
    values = feature.int64_list.value or feature.float_list.value
    return np.asarray(values, np.float64) if values else None


def words(features: Any, name: str) -> Sequence[str]:
    """A feature's values as text, each once; none if it is not there."""
    if name not in features:
        return []
    feature = features[name]
    texts = [each.decode(errors="replace") for each in feature.bytes_list.value]
    texts += [str(each) for each in feature.int64_list.value] + [f"{each:.6g}" for each in feature.float_list.value]
    return list(dict.fromkeys(texts))


def group_of(key: str) -> int:
    """A number that is the same for the same row, and otherwise as good as random: below 2**31."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=4).digest(), "big") >> 1


def _packed(values: NDArray[Any] | None) -> bytes | None:
    return None if values is None else values.tobytes()
