"""Joined rows on disk: what all models say of an example, as a small tf.Example that TFMA reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from numpy.typing import NDArray

LABEL = "__label__"
WEIGHT = "__weight__"
GROUP = "__group__"
_PREDICTION = "__prediction__"


def prediction_key(name: str) -> str:
    """The feature of what a model says."""
    return _PREDICTION + name


def row(
    label: NDArray[Any],
    predictions: Mapping[str, NDArray[Any]],
    weight: float,
    group: int,
    slices: Mapping[str, Sequence[str]],
) -> bytes:
    """A serialized row."""
    from tensorflow.core.example import example_pb2

    example = example_pb2.Example()
    features = example.features.feature
    features[LABEL].float_list.value.extend(label.tolist())
    features[WEIGHT].float_list.value.append(weight)
    features[GROUP].int64_list.value.append(group)
    for name, prediction in predictions.items():
        features[prediction_key(name)].float_list.value.extend(prediction.tolist())
    for name, words in slices.items():
        if words:
            features[name].bytes_list.value.extend(word.encode() for word in words)
    return bytes(example.SerializeToString())


def models(records: Sequence[bytes]) -> set[str]:
    """The models whose predictions all of these rows have."""
    from polytrainer.executors.comparison.rows import parsed

    of_rows = [{each for each in parsed(record) if each.startswith(_PREDICTION)} for record in records]
    return {each[len(_PREDICTION) :] for each in set.intersection(*of_rows)}


class Batch(NamedTuple):
    """Rows as arrays.

    Attributes:
        labels: `[rows, outputs]` of float64.
        predictions: `[models, rows, outputs]` of float64.
        weights: `[rows]` of float64.
        groups: `[rows]` of int64.
        slices: For each slice feature the words of each row.
    """

    labels: NDArray[Any]
    predictions: NDArray[Any]
    weights: NDArray[Any]
    groups: NDArray[Any]
    slices: Mapping[str, Sequence[Sequence[str]]]


def batch(records: Sequence[bytes], names: Sequence[str], slice_features: Sequence[str]) -> Batch:
    """Parses rows.

    Args:
        records: As `row` made them.
        names: The models whose predictions are wanted, in this order.
        slice_features: The features whose words are wanted.
    """
    import numpy as np

    from polytrainer.executors.comparison.rows import parsed

    features = [parsed(record) for record in records]

    def floats(name: str) -> NDArray[Any]:
        return np.array([each[name].float_list.value for each in features], np.float64)

    words = {
        name: [[word.decode() for word in each[name].bytes_list.value] if name in each else [] for each in features]
        for name in slice_features
    }
    groups = np.array([each[GROUP].int64_list.value[0] for each in features], np.int64)
    predictions = np.array([floats(prediction_key(name)) for name in names])
    return Batch(floats(LABEL), predictions, floats(WEIGHT)[:, 0], groups, words)
