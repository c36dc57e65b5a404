"""The files of a split: a shard for each rank, there when all of them are whole."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_SPLIT = "Split-"


def _alone() -> None:
    """Nobody to wait for."""


@dataclass(frozen=True)
class Ranks:
    """Which of several processes this one is.

    Attributes:
        rank: From 0.
        size: How many they are.
        wait: Returns when all of them have called it.
    """

    rank: int = 0
    size: int = 1
    wait: Callable[[], None] = _alone


@contextmanager
def shard(folder: str, split: str, ranks: Ranks | None = None) -> Iterator[Callable[[bytes], None]]:
    """Writes this rank's shard of `Split-<split>`, gzipped TFRecords; yields what takes a record.

    The folder of the split is there when the shards of all ranks are whole, and in place of what an earlier try has
    left there; if one of them fails, it is not.

    Args:
        folder: Of the test results.
        split: Name of the split.
        ranks: Those that write shards; None for this process alone.
    """
    import tensorflow as tf
    from tensorflow.io import gfile

    ranks = ranks or Ranks()
    partial, whole = os.path.join(folder, f"partial-{split}"), os.path.join(folder, _SPLIT + split)
    if ranks.rank == 0:
        for leftover in (partial, whole):
            if gfile.exists(leftover):
                gfile.rmtree(leftover)
        gfile.makedirs(partial)
    ranks.wait()
    path = os.path.join(partial, f"test_results-{ranks.rank:05d}-of-{ranks.size:05d}.gz")
    with tf.io.TFRecordWriter(path, tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
        yield writer.write
    ranks.wait()
    if ranks.rank == 0:
        _rename(partial, whole)
    ranks.wait()


def _rename(partial: str, whole: str) -> None:
    """Renames a folder; file by file where a file system, such as ram://, leaves them behind."""
    from tensorflow.io import gfile

    files = gfile.listdir(partial)
    gfile.rename(partial, whole)
    for name in files:
        if not gfile.exists(os.path.join(whole, name)):
            gfile.makedirs(whole)
            gfile.rename(os.path.join(partial, name), os.path.join(whole, name))


def written_splits(folder: str) -> list[str]:
    """Names of the splits that are whole, sorted."""
    from tensorflow.io import gfile

    names = [name.rstrip("/") for name in gfile.listdir(folder)] if gfile.isdir(folder) else []
    return sorted(name.removeprefix(_SPLIT) for name in names if name.startswith(_SPLIT))
