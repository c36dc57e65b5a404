"""Whether stored examples are raw or transformed: by what they hold, and by what the graph makes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import logging

from polytrainer.executors.data import examples
from polytrainer.executors.data.example_parsing import fill_defaults, parse_examples
from polytrainer.executors.data.feature_specs import FeatureSpec
from polytrainer.proto.examples_are import EXAMPLES_ARE, RAW, TRANSFORMED
from polytrainer.proto.problems import Problem

if TYPE_CHECKING:
    from polytrainer.executors.backends.base import BaseTrainer

_COMPARED = 64  # examples of a split that are looked at
_SEARCHED = 20_000  # among which the raw ones are looked for,
_SEARCHED_BYTES = 64 << 20  # or as many as these are: images are not held by the thousand
_FOUND_AMONG = 16  # raw examples that are looked for
_RELATIVE, _ABSOLUTE = 1e-4, 1e-5  # float32 that was computed in batches of other sizes
_HASH_BUCKETS = 2**24  # numbers for words; float64 holds sums of them exactly


@dataclass(frozen=True)
class TransformGraph:
    """What a transform graph takes and makes.

    Attributes:
        raw_spec: How raw examples are parsed.
        spec: How transformed examples are parsed.
        transform: Raw features by name → transformed ones.
    """

    raw_spec: FeatureSpec
    spec: FeatureSpec
    transform: Callable[[Mapping[str, Any]], Mapping[str, Any]]


def check(trainer: BaseTrainer) -> list[Problem]:
    """Whether a trainer is given what makes its features of raw examples; warns of another Transform's graph."""
    if trainer.examples_are not in (None, *EXAMPLES_ARE):
        return [Problem("examples_are", repr(trainer.examples_are), f"one of {', '.join(EXAMPLES_ARE)}")]
    if trainer.transform_output is None:
        kind = trainer.examples_are or getattr(trainer.fn_args, "examples_are", None)
        return [_without_graph(trainer._shown_name)] if kind == TRANSFORMED else []
    if trainer._is_raw or not trainer.raw_rows:
        return []
    files = trainer.files(trainer.fn_args.eval_files or trainer.fn_args.train_files)
    if not were_made_of(trainer._transform_graph, files, trainer.raw_rows):
        logging.warning(
            "None of the first raw examples, once transformed, is among the stored ones. Is the transform graph that "
            "of the Transform which made the examples? If it draws random numbers or filters examples, all is well."
        )
    return []


def _without_graph(trainer: str) -> Problem:
    got = "examples that Transform made, without its transform_graph"
    expected = "transform_graph, so that the model is served with what it was trained on"
    remedy = (
        "Trainer(transform_graph=transform.outputs['transform_graph']); "
        f'{trainer}(examples_are="raw"), if it is to be served with transformed examples.'
    )
    return Problem("the examples", got, expected, remedy)


def kind_by_content(graph: TransformGraph, files: Sequence[str], raw_files: Sequence[str] = ()) -> str | None:
    """What stored examples are, whatever they are called.

    In this order: which of the two specs parses them; which has names that the other lacks; whether the transform graph
    changes them at all (if it does not, they may be treated as raw); whether the raw examples, once they have been
    through the graph, are found among them.

    Args:
        graph: The transform graph.
        files: Of the examples in question.
        raw_files: Of raw examples from which they may have been made; none if not known.

    Returns:
        "raw" or "transformed"; None where that cannot be told.
    """
    some = examples.first_examples(files, _COMPARED)
    as_raw, as_transformed = _parsed(some, graph.raw_spec), _parsed(some, graph.spec)
    if (as_raw is None) != (as_transformed is None):
        return TRANSFORMED if as_raw is None else RAW
    if kind := _kind_by_names(examples.names(some), set(graph.raw_spec), set(graph.spec)):
        return kind
    if as_raw is None or as_transformed is None:
        return None
    if _are_close(_numbers(_made(graph, as_raw)), _numbers(as_transformed)):
        return RAW
    return _kind_by_raw_rows(graph, files, examples.first_examples(raw_files, _FOUND_AMONG))


def were_made_of(graph: TransformGraph, files: Sequence[str], raw_rows: Sequence[bytes]) -> bool:
    """Whether the first of some raw examples are found among stored ones, once they have been through the graph.

    Args:
        graph: The transform graph.
        files: Of transformed examples, of which the first 20,000, or 64 MiB, are searched.
        raw_rows: Serialized raw examples.
    """
    raw = _parsed(raw_rows[:_FOUND_AMONG], graph.raw_spec)
    stored = _parsed(_searched(files), graph.spec)
    return raw is not None and stored is not None and _num_found(_made(graph, raw), stored) > 0


def matching_rows(graph: TransformGraph, rows: Sequence[bytes], raw_rows: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    """Pairs of places (row, raw row) where the graph makes of a raw example what a transformed row holds.

    Args:
        graph: The transform graph; only the features of its `spec` are compared.
        rows: Serialized transformed examples.
        raw_rows: Serialized raw examples.
    """
    stored, raw = _parsed(rows, graph.spec), _parsed(raw_rows, graph.raw_spec)
    if stored is None or raw is None:
        return
    numbers = _numbers(_made(graph, raw))
    for place, row in enumerate(_numbers(stored)):
        for raw_place in np.flatnonzero(_rows_equal(numbers, row)):
            yield place, int(raw_place)


def _kind_by_raw_rows(graph: TransformGraph, files: Sequence[str], raw_rows: Sequence[bytes]) -> str | None:
    """Whether more of some raw examples are found among stored ones as they are, or once they are transformed."""
    raw = _parsed(raw_rows, graph.raw_spec) if raw_rows else None
    searched = _searched(files)
    as_raw, as_transformed = _parsed(searched, graph.raw_spec), _parsed(searched, graph.spec)
    if raw is None or as_raw is None or as_transformed is None:
        return None
    untouched, transformed = _num_found(raw, as_raw), _num_found(_made(graph, raw), as_transformed)
    if untouched == transformed:
        return None
    return RAW if untouched > transformed else TRANSFORMED


def _searched(files: Sequence[str]) -> list[bytes]:
    """The stored examples among which raw ones are looked for."""
    found: list[bytes] = []
    size = 0
    for each in islice(examples.all_examples(files), _SEARCHED):
        size += len(each)
        if found and size > _SEARCHED_BYTES:
            break
        found.append(each)
    return found


def _num_found(some: Mapping[str, Any], stored: Mapping[str, Any]) -> int:
    """How many of some examples are among stored ones, by their parsed features."""
    numbers = _numbers(stored)
    return sum(bool(_rows_equal(numbers, row).any()) for row in _numbers(some))


def _kind_by_names(stored: set[str], raw: set[str], transformed: set[str]) -> str | None:
    """By names that one of the two has alone: those that are there, or else those that are missing."""
    only_raw, only_transformed = raw - transformed, transformed - raw
    for one, other in (
        (stored & only_raw, stored & only_transformed),
        (only_transformed - stored, only_raw - stored),
    ):
        if bool(one) != bool(other):
            return RAW if one else TRANSFORMED
    return None


def _parsed(serialized: Sequence[bytes], spec: FeatureSpec) -> dict[str, Any] | None:
    import tensorflow as tf

    try:
        return parse_examples(list(serialized), spec)
    except (tf.errors.InvalidArgumentError, ValueError):
        return None


def _made(graph: TransformGraph, raw: Mapping[str, Any]) -> dict[str, Any]:
    made = fill_defaults(graph.transform(raw), graph.spec)
    return {name: made[name] for name in graph.spec if name in made}


def _numbers(features: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    """Features as a row of numbers for each example, `[examples, numbers]` float64; equal ones have equal rows."""
    columns = [column for name in sorted(features) for column in _columns(features[name])]
    return np.concatenate([np.reshape(column, (len(column), -1)) for column in columns], axis=1)


def _columns(value: Any) -> list[np.ndarray[Any, Any]]:
    """A dense feature itself; of any other how many values each example has, and their sum."""
    import tensorflow as tf

    if isinstance(value, tf.SparseTensor):
        values, counts = _as_numbers(value.values), tf.ones_like(value.indices[:, 0], tf.float64)
        size, row = int(value.dense_shape[0]), value.indices[:, 0]
        return [tf.math.unsorted_segment_sum(each, row, size).numpy() for each in (values, counts)]
    if isinstance(value, tf.RaggedTensor):
        numbers = value.with_flat_values(_as_numbers(value.flat_values))
        axes = list(range(1, numbers.shape.rank))
        ones = numbers.with_flat_values(tf.ones_like(numbers.flat_values))
        return [tf.reduce_sum(each, axis=axes).numpy() for each in (numbers, ones)]
    return [_as_numbers(value).numpy()]


def _as_numbers(value: Any) -> Any:
    import tensorflow as tf

    if value.dtype == tf.string:
        value = tf.strings.to_hash_bucket_fast(value, _HASH_BUCKETS)
    return tf.cast(value, tf.float64)


def _are_close(some: np.ndarray[Any, Any], others: np.ndarray[Any, Any]) -> bool:
    return some.shape == others.shape and bool(_rows_equal(some, others).all())


def _rows_equal(some: np.ndarray[Any, Any], others: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Which rows are equal but for rounding, `[rows]` bool."""
    if some.shape[-1] != others.shape[-1]:
        return np.zeros(len(some), bool)
    same: np.ndarray[Any, Any] = np.isclose(some, others, rtol=_RELATIVE, atol=_ABSOLUTE, equal_nan=True)
    return same.all(axis=-1)  # type: ignore[no-any-return]
