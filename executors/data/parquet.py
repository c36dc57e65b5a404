"""Parquet files → the same arrays that TFRecord files with the same values would give."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from polytrainer.executors.data import arrow_lists
from polytrainer.executors.data.diagnosis import MEND, failures, keys_of, reason, refused
from polytrainer.executors.data.errors import DataError, refuse
from polytrainer.executors.data.order import Slice, mixed, share
from polytrainer.executors.data.parsing import Features, Parser

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray
    from pyarrow import parquet

MAGIC = b"PAR1"
CHUNK_ROWS = 16384
_BUFFER = 1 << 20  # bytes that are read at once from afar


class _Readable(io.RawIOBase):
    """A file on any file system that TensorFlow knows, as a file object of Python's, which pyarrow asks for."""

    def __init__(self, file: str):
        import tensorflow as tf

        self._file = tf.io.gfile.GFile(file, "rb")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return int(self._file.tell())

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._file.seek(offset, whence)
        return self.tell()

    def readinto(self, buffer: Any) -> int:
        found = self._file.read(len(buffer))
        buffer[: len(found)] = found
        return len(found)


def opened(file: str) -> parquet.ParquetFile:
    """A Parquet file, local or at any address that TensorFlow knows."""
    from pyarrow import parquet

    return parquet.ParquetFile(io.BufferedReader(_Readable(file), _BUFFER) if "://" in file else file)


class ParquetFiles:
    """A split of Parquet files, with a column for each feature: scalars, or lists; null where a value is missing.

    Attributes:
        files: Their paths.
    """

    counts_fast: ClassVar[bool] = True  # footers are read

    def __init__(self, files: Sequence[str], parser: Parser) -> None:
        """Takes the files."""
        import tensorflow as tf

        self.files = list(files)
        self._parser = parser
        self._keys = {
            key: dtype for name, feature in parser.parse_spec.items() for key, dtype in keys_of(name, feature)
        }
        self._arrays = tf.function(
            lambda parsed, count: parser.arrays(parser.finish(parsed), count),
            input_signature=[parser.parsed_as, tf.TensorSpec([], tf.int32)],
            autograph=False,
        )

    def chunks(self) -> Iterator[list[NDArray[Any]]]:
        """Every example once, in the order of the files, as the arrays of `packed.parts_of`.

        Raises:
            DataError: If a file is damaged or a row does not fit.
        """
        for file in self.files:
            first = 0
            for table in self._tables(file, CHUNK_ROWS):
                yield self._decoded(table, file, first)
                first += table.num_rows

    def count(self) -> int:
        """The number of examples, as the files' footers say."""
        return sum(self._opened(file).metadata.num_rows for file in self.files)

    def estimated_bytes(self, num_examples: int | None) -> int:
        """Of the arrays of all examples, by the size of some."""
        arrays = next(self.chunks(), None)
        if not arrays or not len(arrays[0]):
            return 0
        return sum(array.nbytes for array in arrays) * (num_examples or self.count()) // len(arrays[0])

    def batches(self, part: Slice, shuffle_buffer: int) -> Iterator[tuple[int, list[NDArray[Any]]]]:
        """A rank's share of each global batch of an epoch; only this is converted.

        Args:
            part: Which examples, in which order: that of the files, in which blocks of rows are shuffled.
            shuffle_buffer: Rows in a block.

        Yields:
            The size of the global batch, and the arrays of the share.

        Raises:
            DataError: If a file is damaged or a row does not fit.
        """
        import pyarrow as pa

        rows, position = None, 0  # rows not yet given out, and how many of the epoch came before them
        batches = part.batches()
        start, stop = next(batches, (0, 0))
        for block in self._blocks(part, shuffle_buffer):
            rows = block if rows is None else pa.concat_tables([rows, block])
            while start < stop <= position + rows.num_rows:
                first, last = share(stop - start, part.rank, part.world_size)
                yield stop - start, self._share(rows.slice(start + first - position, last - first))
                start, stop = next(batches, (0, 0))
            keep = max(start - position, 0) if start < stop else rows.num_rows
            position, rows = position + min(keep, rows.num_rows), rows.slice(keep)

    def _share(self, rows: pa.Table) -> list[NDArray[Any]]:
        try:
            return self._decoded(rows, "", 0)
        except DataError:
            for _ in self.chunks():  # in the order of the files, where the row has a number
                pass
            raise

    def _blocks(self, part: Slice, size: int) -> Iterator[pa.Table]:
        """The rows of all files, shuffled within blocks of at least a size."""
        import numpy as np

        files = [self.files[number] for number in part.permuted(len(self.files))] if part.shuffle else self.files
        random = np.random.default_rng(mixed(part.seed, part.epoch))
        tables = (table for file in files for table in self._tables(file, size))
        block: list[pa.Table] = []
        for table in tables:
            block.append(table)
            if not part.shuffle or sum(part.num_rows for part in block) >= size:
                yield _shuffled(block, random if part.shuffle else None)
                block = []
        if block:
            yield _shuffled(block, random if part.shuffle else None)

    def _opened(self, file: str) -> Any:
        import pyarrow as pa

        try:
            made = opened(file)
            _ = made.schema_arrow.names  # which are not looked at before
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise _damaged(file, error) from error
        return made

    def _tables(self, file: str, size: int) -> Iterator[pa.Table]:
        """A file in tables of at most a size, each feature a column of lists, see `arrow_lists`."""
        import pyarrow as pa

        opened = self._opened(file)
        keys = [key for key in self._keys if key in opened.schema_arrow.names]
        batches, first = opened.iter_batches(size, columns=keys), 0
        while True:
            try:
                batch = next(batches, None)
            except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # a name may be damaged, too
                raise _damaged(file, error) from error
            if batch is None:
                break
            yield arrow_lists.table(batch, self._keys, file, first)
            first += batch.num_rows
        if first != opened.metadata.num_rows:
            raise _damaged(file, f"{first} of {opened.metadata.num_rows} rows")

    def _decoded(self, table: pa.Table, file: str, first: int) -> list[NDArray[Any]]:

        try:
            arrays = self._arrays(self._parsed(table, file, first), table.num_rows)
        except failures() as error:
            raise self._explained(table, file, first, error) from error
        return [array.numpy() for array in arrays]

    def _parsed(self, table: pa.Table, file: str, first: int) -> Features:
        """What tf.io.parse_example would make of the same values."""
        return {
            name: arrow_lists.parsed(name, feature, table, f"of {file}", first)
            for name, feature in self._parser.parse_spec.items()
        }

    def _explained(self, table: pa.Table, file: str, first: int, error: Any) -> DataError:
        """The DataError for an error that TensorFlow raised: tries row by row."""
        for number in range(table.num_rows):
            row = table.slice(number, 1)
            try:
                self._arrays(self._parsed(row, file, first + number), 1)
            except failures() as found:
                cause = refused(partial(self._parsed, row, file, first), self._parser)
                where, got, expected, remedy = cause or ("a row", reason(found), "one that fits", MEND)
                return refuse(f"{where} in row {first + number} of {file}", got, expected, remedy)
        return refuse(file, reason(error), "rows that fit", MEND)


def _shuffled(tables: list[pa.Table], random: np.random.Generator | None) -> pa.Table:
    import pyarrow as pa

    block = pa.concat_tables(tables)
    return block if random is None else block.take(random.permutation(block.num_rows))


def _damaged(file: str, seen: object) -> DataError:
    got = f"data that cannot be read ({str(seen).splitlines()[0]})"
    return refuse(file, got, "a whole Parquet file", "Run the component that wrote it again.")
