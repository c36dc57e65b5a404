"""What is wrong with a split that could not be decoded: which feature, which file, which record."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from polytrainer.executors.data import records
from polytrainer.executors.data.encoders import Vocabulary
from polytrainer.executors.data.errors import DataError, refuse
from polytrainer.executors.data.feature_specs import FeatureSpec
from polytrainer.proto.problems import Problem

if TYPE_CHECKING:
    import tensorflow as tf

    from polytrainer.executors.data.parsing import Features, Parser

BATCH = 1024
WORDS_SHOWN = 10
UNKNOWN = "With num_oov=1 the vocabulary has an id for unknown words."
ISIZE_BYTES = 4
KINDS = {"int64": "int64_list", "float32": "float_list", "string": "bytes_list"}
Finding = tuple[str, str, str, str]  # what, got, expected, remedy
MEND = "Mend the data, or the schema that the trainer is given."


def check_file(file: str) -> None:
    """Reads a TFRecord file to its end.

    Raises:
        DataError: If it is damaged.
    """
    seen = records.diagnose(file)
    if isinstance(seen, Problem):
        raise DataError(seen)


def gzip_size_fits(file: str, num_bytes: int) -> bool:
    """Whether a gzip stream ends with the number of bytes that were read from it (RFC 1952, ISIZE).

    TensorFlow takes a stream that is cut at the right place for a shorter file.
    """
    import tensorflow as tf

    size = tf.io.gfile.stat(file).length
    with tf.io.gfile.GFile(file, "rb") as raw:
        raw.seek(max(size - ISIZE_BYTES, 0))
        return int.from_bytes(raw.read(), "little") == num_bytes % (1 << 32)


def failures() -> tuple[type[Exception], ...]:
    """What TensorFlow raises for data that do not fit: also by failing to decode its own message about them."""
    import tensorflow as tf

    return tf.errors.OpError, UnicodeDecodeError


def explain(files: Sequence[str], compression: str, parser: Parser, error: Any) -> DataError:
    """The DataError for an error that tf.data raised: reads again, slowly, for what is to blame."""
    import tensorflow as tf

    try:
        for file in files:
            check_file(file)
            for number, record, raised in _failing(tf.data.TFRecordDataset(file, compression), parser):
                found = _culprit(record, parser.spec) or refused(partial(parser.parse, [record]), parser)
                where, got, expected, remedy = found or ("an example", reason(raised), "one that fits", MEND)
                return refuse(f"{where} in record {number} of {file}", got, expected, remedy)
    except DataError as found:
        return found
    except failures() as failed:
        error = failed
    return refuse("files", reason(error), "data that can be read", f"The files are {list(files)}.")


def _failing(dataset: tf.data.Dataset, parser: Parser) -> Iterable[tuple[int, bytes, Exception]]:
    """The records that cannot be parsed, with their numbers."""
    import tensorflow as tf

    decode = tf.function(parser, input_signature=[tf.TensorSpec([None], tf.string)])
    for position, batch in enumerate(dataset.batch(BATCH)):
        try:
            decode(batch)
            continue
        except failures():
            pass
        for number, record in enumerate(batch):
            try:
                decode(record[tf.newaxis])
            except failures() as error:
                yield position * BATCH + number, record.numpy(), error


def _culprit(record: bytes, spec: FeatureSpec) -> Finding | None:
    """Which feature of an example does not fit, what it has, and what it should."""
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    example = tf.train.Example()
    try:
        with warnings.catch_warnings(record=True) as warned:  # some versions only warn that they did not read all
            warnings.simplefilter("always")
            whole = example.ParseFromString(record) == len(record) and not warned
    except DecodeError:
        whole = False
    if not whole:
        return "an example", f"{len(record)} bytes that are no tf.Example", "a serialized tf.Example", MEND
    for name, feature in spec.items():
        for key, dtype in keys_of(name, feature):
            kind = example.features.feature[key].WhichOneof("kind") if key in example.features.feature else None
            if kind not in (None, KINDS[dtype]):
                return f"feature {key!r}", f"a value in its {kind}", f"{KINDS[dtype]}, as the schema says", MEND
        if isinstance(feature, tf.io.SparseFeature) and (wrong := _wrong_indices(example, feature)):
            return (f"feature {name!r}", *wrong, MEND)
        if isinstance(feature, tf.io.FixedLenFeature):
            count = _length(example, name)
            size = math.prod(feature.shape)
            if count == 0 and feature.default_value is None and size:
                remedy = f"A feature that may be missing needs defaults={{{name!r}: value}}, or Transform fills it in."
                return f"feature {name!r}", "no value", f"{values_text(size)}, or a default for it", remedy
            if count not in (0, size):
                return f"feature {name!r}", values_text(count), values_text(size), MEND
    return None


def _wrong_indices(example: Any, feature: Any) -> tuple[str, str] | None:
    """What a sparse feature's indices are, and what they should be, if they do not fit."""
    count = _length(example, feature.value_key)
    for key, size in index_sizes(feature).items():
        if (found := _length(example, key)) != count:
            return f"{found} indices in {key!r}", f"{count}, as many as values in {feature.value_key!r}"
        for index in example.features.feature[key].int64_list.value if found else ():
            if not 0 <= index < size:
                return f"the index {index} in {key!r}", f"one from 0 to {size - 1}"
    return None


def refused(parse: Callable[[], Features], parser: Parser) -> Finding | None:
    """What is wrong with an example that has all the values it should: none but a word that a vocabulary lacks."""
    try:
        return _unknown_word(parser.prepared(parse()), parser)
    except failures():
        return None


def _unknown_word(features: Features, parser: Parser) -> Finding | None:
    """Which feature of prepared ones has a word that its vocabulary lacks."""
    import tensorflow as tf

    for name, encoder in parser.encoders.items():
        if not isinstance(encoder, Vocabulary):
            continue
        words = features[name]
        if isinstance(words, tf.RaggedTensor):
            words = words.flat_values
        elif isinstance(words, tf.SparseTensor):
            words = words.values
        word = encoder.unknown(words.numpy().reshape(-1))
        if word is not None:
            known = ", ".join(map(repr, encoder.words[:WORDS_SHOWN])) + (
                ", …" if len(encoder.words) > WORDS_SHOWN else ""
            )
            return f"feature {name!r}", f"the word {word.decode(errors='replace')!r}", f"one of {known}", UNKNOWN
    return None


def keys_of(name: str, feature: Any) -> list[tuple[str, str]]:
    """The keys of a tf.Example that a feature is parsed from, with their dtypes."""
    import tensorflow as tf

    if isinstance(feature, tf.io.SparseFeature):
        return [(feature.value_key, feature.dtype.name), *((key, "int64") for key in index_sizes(feature))]
    if isinstance(feature, tf.io.RaggedFeature):
        partitions = [partition.key for partition in feature.partitions if hasattr(partition, "key")]
        return [(feature.value_key or name, feature.dtype.name), *((key, "int64") for key in partitions)]
    return [(name, feature.dtype.name)]


def index_sizes(feature: Any) -> dict[str, int]:
    """The size of each dimension of a `tf.io.SparseFeature`, by the key of its indices."""
    keys = [feature.index_key] if isinstance(feature.index_key, str) else feature.index_key
    sizes = [feature.size] if isinstance(feature.size, int) else feature.size
    return dict(zip(keys, sizes, strict=True))


def _length(example: Any, key: str) -> int:
    if key not in example.features.feature:
        return 0
    feature = example.features.feature[key]
    kind = feature.WhichOneof("kind")
    return len(getattr(feature, kind).value) if kind else 0


def values_text(count: int) -> str:
    """A number of values, in words."""
    return "1 value" if count == 1 else f"{count} values"


def reason(error: Any) -> str:
    """TensorFlow's message without the graph around it."""
    message = str(getattr(error, "message", error))
    told = re.sub(r"\{\{.*?\}\}|\[Op:.*?\]|\[\[.*?\]\]", "", message.partition("\t [[")[0])
    lines = [" ".join(line.split()) for line in told.splitlines() if line.strip()] or ["no reason given"]
    return lines[-1] if lines[0].startswith("Graph execution error") else lines[0]
