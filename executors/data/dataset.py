"""Split files → tf.data batches of parsed features, in an order that follows from a seed and a step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from polytrainer.executors.data.example_parsing import parse_examples
from polytrainer.executors.data.feature_specs import FeatureSpec

if TYPE_CHECKING:
    import tensorflow as tf

SHUFFLE_BUFFER = 10_000  # records; exact for a split up to this size


def count_examples(files: Sequence[str]) -> int:
    """Reads the files once and counts their records."""
    import numpy as np

    return int(_records(files).batch(4096).reduce(np.int64(0), lambda count, batch: count + _length(batch)).numpy())


def first_records(files: Sequence[str], count: int) -> list[bytes]:
    """Up to `count` serialized records from the beginning."""
    return [record.numpy() for record in _records(files).take(count)]


def epoch(files: Sequence[str], spec: FeatureSpec, batch_size: int) -> tf.data.Dataset:
    """Every example once, in the order of the files; the last batch may be smaller.

    Yields:
        Features by name, `[batch, …]`.
    """
    return _parsed(_records(files).batch(batch_size), spec)


def endless_epochs(
    files: Sequence[str],
    spec: FeatureSpec,
    batch_size: int,
    *,
    seed: int,
    first_step: int,
    steps_per_epoch: int,
    drop_last: bool = False,
) -> tf.data.Dataset:
    """Epoch after epoch, each shuffled in its own way, from any step on.

    The order within epoch `e` follows from `seed + e` alone, so that a training that is resumed at `first_step` sees
    the batches that it would have seen next, and none twice; only the epoch it is in is skipped through.

    Args:
        files: Paths of TFRecord files.
        spec: How to parse them.
        batch_size: Examples in a batch; the last of an epoch may be smaller.
        seed: Of the shuffle.
        first_step: Batches already seen, over all epochs.
        steps_per_epoch: Batches in an epoch; where there are more, the rest is left out.
        drop_last: Whether an incomplete last batch is left out.

    Yields:
        Features by name, `[batch, …]`.
    """
    import tensorflow as tf

    def shuffled(number: tf.Tensor) -> tf.data.Dataset:
        records = _records(files).shuffle(SHUFFLE_BUFFER, seed=seed + number, reshuffle_each_iteration=False)
        return records.batch(batch_size, drop_remainder=drop_last).take(steps_per_epoch)

    first_epoch, skipped = divmod(first_step, steps_per_epoch)
    batches = tf.data.Dataset.range(first_epoch, tf.int64.max).flat_map(shuffled).skip(skipped)
    return _parsed(batches, spec)


def _parsed(batches: tf.data.Dataset, spec: FeatureSpec) -> tf.data.Dataset:
    """Parses whole batches: a call a batch, where TFX's own reader makes one a record."""
    import tensorflow as tf

    options = tf.data.Options()
    options.threading.private_threadpool_size = 2  # a small pool of its own is faster than a share of the global one
    # workers of a cluster share out batches: there is often one file only, which cannot be shared out
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    parsed = batches.map(lambda batch: parse_examples(batch, spec), num_parallel_calls=2, deterministic=True)
    return parsed.prefetch(2).with_options(options)


def _records(files: Sequence[str]) -> tf.data.Dataset:
    import tensorflow as tf

    compressed = [file.endswith(".gz") for file in files]
    if all(compressed) or not any(compressed):
        return tf.data.TFRecordDataset(list(files), compression_type="GZIP" if all(compressed) else "")
    raise ValueError(f"files: got compressed and uncompressed ones together; expected one kind: {list(files)}")


def _length(batch: Any) -> Any:
    import tensorflow as tf

    return tf.shape(batch, tf.int64)[0]
