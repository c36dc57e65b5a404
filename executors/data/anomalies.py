"""Values of a split that a training cannot use: missing, NaN, infinite; counted, and found by file and record."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from polytrainer.executors.data.diagnosis import index_sizes, keys_of
from polytrainer.executors.data.example_parsing import parse_examples, ragged_feature
from polytrainer.executors.data.feature_specs import FeatureSpec, has_default

if TYPE_CHECKING:
    import tensorflow as tf

MISSING, WRONG_SIZE, NAN, INFINITE = "no value", "another number of values", "NaN", "an infinite value"
OUTSIDE, UNEQUAL = "an index outside of the feature", "another number of indices than of values"  # of sparse features
BATCH = 4096
# A pass over everything costs seconds of a CPU for a million examples; a split of hundreds of GiB is not read twice.
READ_BYTES = 1 << 30

Features = Mapping[str, Any]


@dataclass(frozen=True)
class Anomaly:
    """Examples of a split in which a feature has values of one kind that do not fit.

    Attributes:
        feature: Its name.
        kind: MISSING, WRONG_SIZE, NAN, INFINITE, OUTSIDE or UNEQUAL.
        count: Examples in which it is so.
        file: Path of the file with the first of them.
        record: Number of the first one in that file, from 0.
        required: Whether each example must have a value for it.
    """

    feature: str
    kind: str
    count: int
    file: str
    record: int
    required: bool = True

    @property
    def is_unparsable(self) -> bool:
        """Whether these examples cannot be parsed as the spec has them."""
        return self.kind in (WRONG_SIZE, OUTSIDE, UNEQUAL) or (self.kind == MISSING and self.required)

    def __str__(self) -> str:
        examples = "1 example" if self.count == 1 else f"{self.count} examples"
        return f"{self.kind} in {examples}, first in record {self.record} of {self.file}"


def find_anomalies(
    files: Sequence[str], spec: FeatureSpec, transform: Callable[[Features], Features] | None = None
) -> list[Anomaly]:
    """Reads files of TFRecords once and looks at each value, up to `READ_BYTES` of compressed files.

    Args:
        files: Paths of TFRecord files; gzip where a name ends in .gz.
        spec: The features as they are stored. NaN in a feature with a default counts as missing, and fits.
        transform: From these to what a model is given; NaN and infinity are then looked for in what it returns.

    Returns:
        One for each feature and kind, in the order of the features.
    """
    search = _Search(files, spec)
    search.run(partial(_parsed, spec), partial(_size_flags, spec), None if transform else partial(_finite_flags, spec))
    if transform is not None and not any(anomaly.is_unparsable for anomaly in search.found.values()):
        search.run(lambda batch: transform(parse_examples(batch, spec)), lambda _: {}, _made_flags)
    return list(search.found.values())


Flags = dict[tuple[str, str], Any]  # feature and kind → in which examples of a batch, bool [batch]


class _Search:
    """Counts what flags say of all batches."""

    def __init__(self, files: Sequence[str], spec: FeatureSpec) -> None:
        self.found: dict[tuple[str, str], Anomaly] = {}
        self._files, self._spec = files, spec

    def run(
        self,
        parse: Callable[[tf.Tensor], Features],
        size_flags: Callable[[Features], Flags],
        finite_flags: Callable[[Features], Flags] | None,
    ) -> None:
        """Looks at each batch; at each of its values only where not all of them are finite."""
        import tensorflow as tf

        keys: dict[bool, list[tuple[str, str]]] = {}

        def counted(flags: Flags, of_values: bool) -> tuple[tf.Tensor, tf.Tensor]:
            keys[of_values] = list(flags)
            if not flags:
                return tf.zeros([0], tf.int64), tf.zeros([0], tf.int64)
            stacked = tf.cast(tf.stack(list(flags.values())), tf.int32)
            return tf.reduce_sum(tf.cast(stacked, tf.int64), 1), tf.argmax(stacked, 1)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)  # type: ignore[untyped-decorator]
        def glance(batch: tf.Tensor) -> tuple[tf.Tensor, ...]:
            features = parse(batch)
            return batch, *counted(size_flags(features), False), _all_finite(features)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)  # type: ignore[untyped-decorator]
        def look(batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            assert finite_flags is not None
            return counted(finite_flags(parse(batch)), True)

        for file in _within_budget(self._files):
            records = tf.data.TFRecordDataset([file], "GZIP" if file.endswith(".gz") else "").batch(BATCH)
            glanced = records.map(glance, num_parallel_calls=2, deterministic=True).prefetch(2)
            for number, (batch, counts, firsts, is_finite) in enumerate(glanced):
                self._add(keys[False], counts, firsts, file, number)
                if finite_flags is not None and not is_finite:
                    value_counts, value_firsts = look(batch)
                    self._add(keys[True], value_counts, value_firsts, file, number)

    def _add(
        self, keys: Sequence[tuple[str, str]], counts: tf.Tensor, firsts: tf.Tensor, file: str, number: int
    ) -> None:
        numbers, records = counts.numpy(), firsts.numpy() + number * BATCH
        for position in numbers.nonzero()[0].tolist():
            name, kind = key = keys[position]
            count, seen = int(numbers[position]), self.found.get(key)
            if seen is None:
                required = _is_required(self._spec.get(name))
                self.found[key] = Anomaly(name, kind, count, file, int(records[position]), required)
            else:
                self.found[key] = replace(seen, count=seen.count + count)


def _within_budget(files: Sequence[str]) -> Iterable[str]:
    import tensorflow as tf
    from absl import logging

    budget = READ_BYTES
    for number, file in enumerate(files):
        budget -= tf.io.gfile.stat(file).length
        if budget < 0 and number:
            logging.info("The values of %d of %d files are not looked at before training.", len(files) - number, number)
            return
        yield file


def _parsed(spec: FeatureSpec, batch: tf.Tensor) -> Features:
    """Each key of the examples that a spec reads, ragged."""
    import tensorflow as tf

    stored = {key: dtype for name, feature in spec.items() for key, dtype in keys_of(name, feature)}
    return tf.io.parse_example(batch, {key: ragged_feature(key, dtype) for key, dtype in stored.items()})  # type: ignore[no-any-return]


def _size_flags(spec: FeatureSpec, parsed: Features) -> Flags:
    import tensorflow as tf

    flags: Flags = {}
    for name, feature in spec.items():
        if isinstance(feature, tf.io.SparseFeature):
            flags |= _index_flags(name, feature, parsed)
        if isinstance(feature, (tf.io.SparseFeature, tf.io.RaggedFeature)):
            continue
        lengths = parsed[name].row_lengths()
        if isinstance(feature, tf.io.FixedLenFeature):
            size = math.prod(feature.shape)
            flags[name, WRONG_SIZE] = (lengths != size) & (lengths != 0)
        if not has_default(feature):
            flags[name, MISSING] = lengths == 0
    return flags


def _index_flags(name: str, feature: Any, parsed: Features) -> Flags:
    """Of a sparse feature: whether each value has an index in each dimension, and each index is within it."""
    import tensorflow as tf

    sizes = index_sizes(feature)
    count = parsed[feature.value_key].row_lengths()
    unequal = tf.reduce_any(tf.stack([parsed[key].row_lengths() != count for key in sizes]), 0)
    outside = [_rows_with(parsed[key], partial(_is_outside, size)) for key, size in sizes.items()]
    return {(name, UNEQUAL): unequal, (name, OUTSIDE): tf.reduce_any(tf.stack(outside), 0)}


def _is_outside(size: int, index: tf.Tensor) -> tf.Tensor:
    return (index < 0) | (index >= size)


def _finite_flags(spec: FeatureSpec, parsed: Features) -> Flags:
    flags: Flags = {}
    for name, feature in spec.items():
        for key, _ in keys_of(name, feature):
            if parsed[key].dtype.is_floating:
                flags |= _not_finite(name, parsed[key], nan=not has_default(feature))
    return flags


def _made_flags(features: Features) -> Flags:
    flags: Flags = {}
    for name, values in features.items():
        if values.dtype.is_floating:
            flags |= _not_finite(name, values)
    return flags


def _all_finite(features: Features) -> tf.Tensor:
    import tensorflow as tf

    flat = [_flat(values) for values in features.values() if values.dtype.is_floating]
    return (
        tf.reduce_all(tf.math.is_finite(tf.concat([tf.cast(each, tf.float32) for each in flat], 0))) if flat else True
    )


def _flat(values: Any) -> tf.Tensor:
    import tensorflow as tf

    values = values.flat_values if isinstance(values, tf.RaggedTensor) else values
    return tf.reshape(values.values if isinstance(values, tf.SparseTensor) else values, [-1])


def _not_finite(name: str, values: Any, *, nan: bool = True) -> Flags:
    import tensorflow as tf

    kinds = {INFINITE: tf.math.is_inf, **({NAN: tf.math.is_nan} if nan else {})}
    return {(name, kind): _rows_with(values, test) for kind, test in kinds.items()}


def _rows_with(values: Any, test: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    """Which examples have a value for which a test is true."""
    import tensorflow as tf

    if isinstance(values, tf.RaggedTensor):
        rows, count = values.value_rowids(), values.nrows()
        flat = values.flat_values
        rows = rows if values.ragged_rank == 1 else tf.gather(rows, _outer_rows(values.values))
    elif isinstance(values, tf.SparseTensor):
        rows, count, flat = values.indices[:, 0], values.dense_shape[0], values.values
    else:
        return tf.reduce_any(test(tf.reshape(values, [tf.shape(values)[0], -1])), 1)
    hits = test(flat)
    hits = tf.reduce_any(hits, list(range(1, hits.shape.rank))) if hits.shape.rank > 1 else hits
    return (
        tf.scatter_nd(tf.boolean_mask(rows, hits)[:, tf.newaxis], tf.ones_like(tf.boolean_mask(rows, hits)), [count])
        > 0
    )


def _outer_rows(values: tf.RaggedTensor) -> tf.Tensor:
    """The row of a nested RaggedTensor that each of its flat values belongs to."""
    import tensorflow as tf

    rows = values.value_rowids()
    return rows if values.ragged_rank == 1 else tf.gather(rows, _outer_rows(values.values))


def _is_required(feature: Any) -> bool:
    import tensorflow as tf

    return isinstance(feature, tf.io.FixedLenFeature) and not has_default(feature)
