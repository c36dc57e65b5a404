"""The frames of TFRecord files: a length that TensorFlow's reader does not survive is seen before it reads it.

A record is framed by its length (8 bytes, little endian), the masked CRC-32C of that length (4), the data, and theirs:
https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details. Where the checksum of a length is
right, TensorFlow (seen with 2.15) asks for as much memory as it says, and 2^60 bytes end the process by SIGSEGV.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from polytrainer.proto.problems import Problem

MAX_RECORD_BYTES = (1 << 31) - 1  # of a protocol buffer
_HEADER, _FOOTER, _LENGTH = 12, 4, 8
_BLOCK = 1 << 20
_POLYNOMIAL, _MASK_DELTA, _WORD = 0x82F63B78, 0xA282EAD8, 0xFFFFFFFF


def oversized_record(file: str, *, first_only: bool = False) -> Problem | None:
    """The first record whose frame says that it is longer than any example can be; None without one.

    Whatever else is wrong with the file is left to who reads it.

    Args:
        file: Path of a TFRecord file; gzip where its name ends in .gz.
        first_only: Look no further than the first record.
    """
    import zlib

    import tensorflow as tf

    if tf.io.gfile.isdir(file):
        return None
    with _opened(file) as read:
        buffer, number = bytearray(), 0
        try:
            while _fill(buffer, _HEADER, read):
                length = int.from_bytes(buffer[:_LENGTH], "little")
                if length > MAX_RECORD_BYTES:
                    return _problem(file, number, length) if _is_checksum_right(buffer) else None
                if first_only or not _skip(buffer, _HEADER + length + _FOOTER, read):
                    return None
                number += 1
        except (EOFError, OSError, zlib.error):  # a gzip stream that is damaged
            return None
    return None


@contextmanager
def _opened(file: str) -> Iterator[Callable[[int], bytes]]:
    """What reads so many bytes of the file, decompressed."""
    import gzip

    import tensorflow as tf

    with tf.io.gfile.GFile(file, "rb") as raw:
        if not file.endswith(".gz"):
            yield raw.read
            return
        with gzip.GzipFile(fileobj=raw) as stream:
            yield stream.read


def _fill(buffer: bytearray, size: int, read: Callable[[int], bytes]) -> bool:
    """Reads on until the buffer has so many bytes; False if the file ends before."""
    while len(buffer) < size:
        block = read(_BLOCK)
        if not block:
            return False
        buffer += block
    return True


def _skip(buffer: bytearray, size: int, read: Callable[[int], bytes]) -> bool:
    """Drops so many bytes from the buffer, and reads what it lacks."""
    while len(buffer) < size:
        size -= len(buffer)
        buffer.clear()
        block = read(_BLOCK)
        if not block:
            return False
        buffer += block
    del buffer[:size]
    return True


def _is_checksum_right(header: bytearray) -> bool:
    crc = _WORD
    for byte in header[:_LENGTH]:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (_POLYNOMIAL if crc & 1 else 0)
    crc ^= _WORD
    masked = ((crc >> 15 | crc << 17) + _MASK_DELTA) & _WORD
    return masked == int.from_bytes(header[_LENGTH:_HEADER], "little")


def _problem(file: str, number: int, length: int) -> Problem:
    remedy = (
        "Was it written by something else than TensorFlow, or changed since? Run the component that wrote it again."
    )
    return Problem(f"record {number} of {file}", f"a length of {length} bytes", f"at most {MAX_RECORD_BYTES}", remedy)
