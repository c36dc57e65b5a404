"""What is published answers with numbers: the weights are finite, and so are the predictions of real examples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from polytrainer.executors.errors import TrainingError
from polytrainer.proto.problems import Problem

_SHOWN = 5
_REMEDY = (
    "Is there a NaN in the data that the loss does not show (ReLU makes 0 of it), or is the learning rate too high?"
)


def check_weights(weights: Iterable[tuple[str, Any]], others: Iterable[tuple[str, Any]] = ()) -> None:
    """Refuses a trained model that has weights which are not numbers.

    Args:
        weights: Arrays by name, which must be finite.
        others: Arrays by name in which only NaN is refused: statistics, masks, counters may be infinite.

    Raises:
        TrainingError: If there are some; names them.
    """
    counts = {name: count for name, array in weights if (count := _count(array, np.isfinite, expected=True))}
    counts |= {name: count for name, array in others if (count := _count(array, np.isnan, expected=False))}
    if not counts:
        return
    shown = ", ".join(f"{count} of {name}" for name, count in [*counts.items()][:_SHOWN])
    more = f", and of {len(counts) - _SHOWN} more" if len(counts) > _SHOWN else ""
    got = f"{sum(counts.values())} weights that are NaN or infinite: {shown}{more}"
    raise TrainingError(Problem("the trained model", got, "finite numbers", _REMEDY))


def check_predictions(where: str, outputs: Mapping[str, Any], usable: Sequence[bool]) -> None:
    """Refuses a model whose predictions of real examples are not numbers.

    Args:
        where: What predicts.
        outputs: Its outputs by name, `[examples, …]`.
        usable: For each example, whether its own values are finite: of one that has a NaN, NaN may be predicted.

    Raises:
        TrainingError: If there are some; names the outputs.
    """
    rows = np.asarray(usable, bool)
    for name, value in outputs.items():
        finite = _is_finite(np.asarray(value))
        if finite.ndim and len(finite) == len(rows):
            bad = int((~finite.reshape(len(rows), -1).all(1) & rows).sum())
        else:  # of no example in particular
            bad = len(rows) if rows.all() and not finite.all() else 0
        if bad:
            got = f"predictions {name!r} that are not finite, for {bad} of {len(rows)} examples"
            raise TrainingError(Problem(where, got, "finite numbers", _REMEDY))


def usable_examples(serialized: Sequence[bytes]) -> list[bool]:
    """For each serialized tf.Example, whether all of its floats are finite."""
    import tensorflow as tf

    examples = map(tf.train.Example.FromString, serialized)
    return [
        all(np.isfinite(feature.float_list.value).all() for feature in example.features.feature.values())
        for example in examples
    ]


def usable_rows(arrays: Mapping[str, Any], count: int) -> list[bool]:
    """For each of some examples, whether its values in dense arrays `[count, …]` are finite."""
    usable = np.ones(count, bool)
    for value in arrays.values():
        array = np.asarray(value)
        if array.dtype.kind == "f" and len(array) == count:
            usable &= np.isfinite(array).reshape(count, -1).all(1)
    return [bool(each) for each in usable]


def _is_finite(values: Any) -> Any:
    return np.isfinite(values) if values.dtype.kind in "fc" else np.ones(values.shape, bool)


def _count(array: Any, test: Any, *, expected: bool) -> int:
    """The number of values for which a test is not as expected; those of half precision as float32."""
    values = np.asarray(array)
    if values.dtype.name == "bfloat16":
        values = values.astype(np.float32)
    return int((test(values) != expected).sum()) if values.dtype.kind in "fc" else 0
