"""TFRecord files: are they there, and can they be read to their ends?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from polytrainer.executors.data.frames import oversized_record
from polytrainer.proto.problems import Problem

# A preflight that reads everything would double the reading of a large split, one that reads nothing would find a
# truncated file only after hours: whole files up to this many compressed bytes a split, beginnings of the others.
READ_WHOLE_BYTES = 64 << 20
_BATCH = 4096
_FRAME_BYTES = 16  # of length and checksums around each record


@dataclass(frozen=True)
class Inspection:
    """What was seen of a split's files.

    Attributes:
        problems: One for each file that is damaged.
        num_records: Records seen. All there are, if `whole`.
        whole: Whether every file was read to its end.
    """

    problems: tuple[Problem, ...]
    num_records: int
    whole: bool


def inspect(files: Sequence[str], read_whole_bytes: int = READ_WHOLE_BYTES) -> Inspection:
    """Reads each file, to its end as long as the budget lasts, else its first record.

    Args:
        files: Paths of TFRecord files on any file system TensorFlow knows; gzip where the name ends in .gz.
        read_whole_bytes: Compressed bytes to read whole. The rest is looked at by its first record.
    """
    import tensorflow as tf

    problems: list[Problem] = []
    num_records, budget, whole = 0, read_whole_bytes, True
    for file in files:
        size = tf.io.gfile.stat(file).length
        all_of_it = size <= budget
        budget -= size if all_of_it else 0
        whole &= all_of_it
        seen = diagnose(file, first_only=not all_of_it)
        if isinstance(seen, Problem):
            problems.append(seen)
        else:
            num_records += seen
    return Inspection(tuple(problems), num_records, whole)


def oversized_records(files: Sequence[str], read_whole_bytes: int = READ_WHOLE_BYTES) -> list[Problem]:
    """Of each file, what would end the process of whoever reads it; looked for as far as `inspect` reads."""
    import tensorflow as tf

    problems, budget = [], read_whole_bytes
    for file in files:
        size = tf.io.gfile.stat(file).length
        if problem := oversized_record(file, first_only=size > budget):
            problems.append(problem)
        budget -= size if size <= budget else 0
    return problems


def diagnose(file: str, *, first_only: bool = False) -> int | Problem:
    """The number of records that can be read from a file, or what is wrong with it.

    Args:
        file: Path of a TFRecord file; gzip where its name ends in .gz.
        first_only: Read no further than the first record.
    """
    import tensorflow as tf

    remedy = "Was the component that wrote it killed, or the copy cut short? Run that component again."
    if tf.io.gfile.stat(file).length == 0:
        return Problem(file, "a file of 0 bytes", "TFRecords, gzipped (an empty shard has 20 bytes)", remedy)
    if problem := oversized_record(file, first_only=first_only):
        return problem
    gzipped = file.endswith(".gz")
    records = tf.data.TFRecordDataset([file], compression_type="GZIP" if gzipped else "")
    seen = num_bytes = 0
    try:
        for batch in records.take(1).batch(1) if first_only else records.batch(_BATCH):
            seen += int(batch.shape[0])
            num_bytes += int(tf.reduce_sum(tf.strings.length(batch)))
    except tf.errors.OpError as error:
        return Problem(
            file,
            f"data that cannot be read past the first {seen // _BATCH * _BATCH} records ({_reason(error.message)})",
            "gzipped TFRecords" if gzipped else "TFRecords that are not compressed, by the file's name",
            remedy,
        )
    if gzipped and not first_only and (cut := _cut_short(file, num_bytes + seen * _FRAME_BYTES)):
        return Problem(file, f"a gzip stream cut short after {seen} records ({cut})", "a whole file", remedy)
    return seen


def _cut_short(file: str, num_bytes: int) -> str | None:
    """What is wrong with the end of a gzip stream that TensorFlow takes for the end of the data; None if nothing is.

    TensorFlow reads a stream that stops at a record's boundary, or within its first 18 bytes, as a shorter file.
    A whole stream ends with the number of bytes that went in, modulo 2^32 (RFC 1952, ISIZE); only where that does not
    fit (several streams in one file do that too) is it read again, by Python's gzip.
    """
    import gzip
    import zlib

    import tensorflow as tf

    with tf.io.gfile.GFile(file, "rb") as raw:
        raw.seek(max(tf.io.gfile.stat(file).length - 4, 0))
        if num_bytes and int.from_bytes(raw.read(), "little") == num_bytes % (1 << 32):
            return None
    try:
        with tf.io.gfile.GFile(file, "rb") as raw, gzip.GzipFile(fileobj=raw) as stream:
            while stream.read(1 << 20):
                pass
    except (EOFError, OSError, zlib.error) as error:
        return str(error)
    return None


def _reason(message: str) -> str:
    """TensorFlow's message without the names of the graph's nodes."""
    return (
        re.sub(r"\{\{.*?\}\}|\[Op:.*?\]|\[\[.*?\]\]", "", message).strip().splitlines()[0].strip() or "no reason given"
    )
