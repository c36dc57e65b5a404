"""TFRecord files → arrays of decoded examples, by tf.data."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from polytrainer.executors.data import diagnosis
from polytrainer.executors.data.errors import DataError, refuse
from polytrainer.executors.data.order import Slice, mixed
from polytrainer.executors.data.parsing import Parser

if TYPE_CHECKING:
    import tensorflow as tf
    from numpy.typing import NDArray

CHUNK_RECORDS = 4096  # at most; parsed in one call
CHUNK_BYTES = 4 << 20  # at most, about: records may be images
SAMPLE = 1024
FRAME_BYTES = 16  # of length and checksums around each record
MAX_THREADS = 8


class TFRecords:
    """A split of serialized tf.Examples.

    Attributes:
        files: Their paths; gzip where the name ends in .gz.
    """

    counts_fast: ClassVar[bool] = False  # all is read

    def __init__(self, files: Sequence[str], parser: Parser) -> None:
        """Takes the files.

        Raises:
            DataError: If some are compressed and others are not.
        """
        zipped = [file.endswith(".gz") for file in files]
        if any(zipped) and not all(zipped):
            other = files[zipped.index(not zipped[0])]
            raise refuse(
                "files",
                f"compressed and uncompressed ones together, e.g. {files[0]!r} and {other!r}",
                "one kind, .gz or not",
            )
        self.files = list(files)
        self._parser = parser
        self._compression = "GZIP" if zipped[0] else ""

    def chunks(self) -> Iterator[list[NDArray[Any]]]:
        """Every example once, in the order of the files, as the arrays of `packed.parts_of`.

        Raises:
            DataError: If a file is damaged or an example does not fit.
        """
        import tensorflow as tf

        def decode(file: tf.Tensor, records: tf.Tensor) -> tuple[tf.Tensor, ...]:
            return file, tf.size(records), _num_bytes(records), *self._parser(records)

        chunks = self._numbered(self._chunk_records()).map(decode, num_parallel_calls=_threads(), deterministic=True)
        yield from self._checked(_tuned(chunks))

    def count(self) -> int:
        """The number of examples; reads the files to their ends.

        Raises:
            DataError: If a file is damaged.
        """
        import tensorflow as tf

        def measure(file: tf.Tensor, records: tf.Tensor) -> tuple[tf.Tensor, ...]:
            return file, tf.size(records), _num_bytes(records), tf.zeros([tf.size(records), 0], tf.int32)

        return sum(len(rows) for (rows,) in self._checked(_tuned(self._numbered(CHUNK_RECORDS).map(measure))))

    def batches(self, part: Slice, shuffle_buffer: int) -> Iterator[tuple[int, list[NDArray[Any]]]]:
        """A rank's share of each global batch of an epoch, parsed; the others' shares are not.

        Args:
            part: Which examples, in which order.
            shuffle_buffer: Records among which the next one is drawn.

        Yields:
            The size of the global batch, and the arrays of the share.

        Raises:
            DataError: If a file is damaged or an example does not fit.
        """
        import tensorflow as tf

        files = self.files
        if part.shuffle:
            files = [files[number] for number in part.permuted(len(files))]
        records = tf.data.TFRecordDataset(files, self._compression)
        if part.shuffle:
            seed = mixed(part.seed, part.epoch)
            with _no_global_seed():
                records = records.shuffle(shuffle_buffer, seed=seed, reshuffle_each_iteration=False)
        batches = records.skip(part.offset).batch(part.batch_size, drop_remainder=part.drop_last)
        batches = batches.shard(part.workers, part.worker)

        def decode(batch: tf.Tensor) -> tuple[tf.Tensor, ...]:
            size = tf.size(batch)
            each, rest = size // part.world_size, size % part.world_size
            start = part.rank * each + tf.minimum(part.rank, rest)
            return size, *self._parser(batch[start : start + each + tf.cast(part.rank < rest, tf.int32)])

        decoded = _tuned(batches.map(decode, num_parallel_calls=2, deterministic=True))
        iterator = decoded.as_numpy_iterator()
        while True:
            try:
                size, *arrays = next(iterator)
            except StopIteration:
                return
            except diagnosis.failures() as error:
                raise self._explained(error) from error
            yield int(size), arrays

    def estimated_bytes(self, num_examples: int | None) -> int:
        """Of the arrays of all examples, by the size of some."""
        import gzip

        import tensorflow as tf

        sample = self.sample(SAMPLE)
        if not sample:
            return 0
        if len(sample) < SAMPLE:  # these are all
            num_examples = len(sample)
        if num_examples is None:
            content = b"".join(sample)
            stored = len(gzip.compress(content)) if self._compression else len(content)
            num_examples = sum(tf.io.gfile.stat(file).length for file in self.files) * len(sample) // stored
        try:
            arrays = self._parser(tf.constant(sample))
        except diagnosis.failures() as error:
            raise self._explained(error) from error
        return int(sum(array.numpy().nbytes for array in arrays)) * num_examples // len(sample)

    def check(self) -> None:
        """Raises the DataError of the first file that is damaged."""
        for file in self.files:
            diagnosis.check_file(file)

    def sample(self, count: int) -> list[bytes]:
        """Serialized examples from the beginning."""
        import tensorflow as tf

        try:
            return [*tf.data.TFRecordDataset(self.files, self._compression).take(count).as_numpy_iterator()]
        except diagnosis.failures() as error:
            raise self._explained(error) from error

    def _chunk_records(self) -> int:
        """How many records are parsed in one call."""
        largest = max((len(record) for record in self.sample(8)), default=1)
        return max(1, min(CHUNK_RECORDS, CHUNK_BYTES // max(largest, 1)))

    def _numbered(self, size: int) -> tf.data.Dataset:
        """Chunks of records, none across two files, each with the number of its file."""
        import tensorflow as tf

        def chunks_of(number: tf.Tensor, file: tf.Tensor) -> tf.data.Dataset:
            return tf.data.TFRecordDataset(file, self._compression).batch(size).map(lambda records: (number, records))

        return tf.data.Dataset.from_tensor_slices(self.files).enumerate().flat_map(chunks_of)

    def _checked(self, chunks: tf.data.Dataset) -> Iterator[list[NDArray[Any]]]:
        """The arrays of chunks that begin with (file, records, bytes); at the end, was every file read whole?"""
        seen = [[0, 0] for _ in self.files]
        iterator = chunks.as_numpy_iterator()
        while True:
            try:
                file, count, num_bytes, *arrays = next(iterator)
            except StopIteration:
                break
            except diagnosis.failures() as error:
                raise self._explained(error) from error
            seen[file][0] += int(count)
            seen[file][1] += int(num_bytes)
            yield arrays
        for name, (count, num_bytes) in zip(self.files, seen, strict=True):
            if not (count and self._compression and diagnosis.gzip_size_fits(name, num_bytes + count * FRAME_BYTES)):
                diagnosis.check_file(name)

    def _explained(self, error: Any) -> DataError:
        return diagnosis.explain(self.files, self._compression, self._parser, error)


def _num_bytes(records: tf.Tensor) -> tf.Tensor:
    import tensorflow as tf

    return tf.reduce_sum(tf.cast(tf.strings.length(records), tf.int64))


def _threads() -> int:
    return max(2, min(MAX_THREADS, len(os.sched_getaffinity(0))))


def _tuned(chunks: tf.data.Dataset) -> tf.data.Dataset:
    import tensorflow as tf

    options = tf.data.Options()
    options.threading.private_threadpool_size = _threads()  # of its own: faster than a share of the global pool
    return chunks.prefetch(2).with_options(options)


@contextmanager
def _no_global_seed() -> Iterator[None]:
    """TensorFlow mixes its global seed, if somebody has set one, with a shuffle's own: the order would depend on it.

    It is set aside where it is kept; `tf.random.set_seed` would begin the random numbers of others anew.
    """
    from tensorflow.python.eager import context

    state = context.context()
    before, state._seed = state._seed, None
    try:
        yield
    finally:
        state._seed = before
