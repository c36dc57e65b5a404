"""Which reader fits a split's files, and a split that is read anew in every epoch."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from polytrainer.executors.data.decode import TFRecords
from polytrainer.executors.data.errors import DataError, refuse
from polytrainer.executors.data.order import Slice
from polytrainer.executors.data.packed import Arrays, grouped
from polytrainer.executors.data.parquet import MAGIC, ParquetFiles
from polytrainer.executors.data.parsing import Parser

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Source(Protocol):
    """Files of one format."""

    files: list[str]
    counts_fast: ClassVar[bool]

    def chunks(self) -> Iterator[list[NDArray[Any]]]:
        """Every example once, in the order of the files."""

    def count(self) -> int:
        """The number of examples."""

    def estimated_bytes(self, num_examples: int | None) -> int:
        """Of all examples, decoded."""

    def batches(self, part: Slice, shuffle_buffer: int) -> Iterator[tuple[int, list[NDArray[Any]]]]:
        """The size of each global batch, and a rank's share of it."""


def open_source(files: Sequence[str], parser: Parser) -> Source:
    """The reader for files, by their first bytes.

    Raises:
        DataError: If a file is not there, or they are of several formats.
    """
    import tensorflow as tf

    formats = []
    for file in files:
        try:
            with tf.io.gfile.GFile(file, "rb") as raw:
                formats.append(raw.read(len(MAGIC)) == MAGIC)
        except tf.errors.OpError as error:
            raise refuse("files", f"{file!r}, which cannot be opened", "files that are there", error.message) from error
    if not any(formats):
        return TFRecords(files, parser)
    if not all(formats):
        got = f"Parquet ({files[formats.index(True)]!r}) and other files ({files[formats.index(False)]!r}) together"
        raise refuse("files", got, "one format in a split")
    return ParquetFiles(files, parser)


def num_bytes(files: Sequence[str]) -> int:
    """Of all files together."""
    import tensorflow as tf

    return sum(tf.io.gfile.stat(file).length for file in files)


class StreamedSplit:
    """A split of which each epoch is read from its files."""

    def __init__(self, source: Source, parser: Parser, num_examples: int | None, shuffle_buffer: int) -> None:
        """Counts the examples, if their number is not given."""
        self.columns = parser.columns
        self.num_examples = source.count() if num_examples is None or source.counts_fast else num_examples
        self._source = source
        self._shuffle_buffer = shuffle_buffer

    def batches(self, part: Slice) -> Iterator[tuple[int, int, Arrays]]:
        """Where each global batch starts and stops in the epoch's order, and this rank's share of it."""
        read = self._source.batches(part, self._shuffle_buffer)
        for start, stop in part.batches():
            size, arrays = next(read, (0, []))
            if size != stop - start:
                raise self._other_number()
            yield start, stop, grouped(self.columns, [array.copy() for array in arrays])
        if next(read, None):
            raise self._other_number()

    def _other_number(self) -> DataError:
        actual = self._source.count()  # raises where the cause is a damaged file
        return refuse("num_examples", self.num_examples, f"{actual}, the number of examples in the files")


class Forks:
    """Whether this process was forked from one in which TensorFlow was already at work: there it would hang."""

    inherited = False

    @classmethod
    def note(cls) -> None:
        """Called in every forked child."""
        context = sys.modules.get("tensorflow.python.eager.context")
        current = getattr(context, "_context", None)
        cls.inherited = current is not None and bool(getattr(current, "_initialized", True))


os.register_at_fork(after_in_child=Forks.note)
