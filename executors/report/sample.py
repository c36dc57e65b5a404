"""A random sample of the test results of a split, in bounded memory, whatever their number."""

from __future__ import annotations

import heapq
import os
from dataclasses import dataclass

from polytrainer.executors.data.files import files_in

MOST_ROWS = 50_000
MOST_BYTES = 32 * 2**20
_BATCH = 64  # rows may be large
_SEED = 0


@dataclass(frozen=True)
class Sample:
    """Rows of a split.

    Attributes:
        rows: Serialized tf.Examples, in the order of their files.
        count: Rows that the split has.
    """

    rows: list[bytes]
    count: int

    @property
    def is_whole(self) -> bool:
        """Whether it is all rows."""
        return len(self.rows) == self.count


def sample(folder: str, split: str, most_rows: int = MOST_ROWS, most_bytes: int = MOST_BYTES) -> Sample:
    """Reads a split of test results once.

    Each row is given a random number, and those with the smallest are kept, which makes each set of that many rows as
    likely as any other; the same rows for the same files.

    Args:
        folder: Of the test results.
        split: Name of the split.
        most_rows: How many to keep at most.
        most_bytes: How many of their bytes to keep at most; large rows are the fewer.
    """
    import numpy as np
    import tensorflow as tf

    files = files_in(os.path.join(folder, f"Split-{split}"))
    random, limit = np.random.default_rng(_SEED), 1.0
    kept: list[tuple[float, int, bytes]] = []  # a heap whose first has the largest number
    count = size = 0
    for batch in tf.data.TFRecordDataset(files, "GZIP").batch(_BATCH).as_numpy_iterator() if files else ():
        drawn = random.random(len(batch))
        for place in np.flatnonzero(drawn < limit):
            if drawn[place] >= limit:  # which has become less since
                continue
            heapq.heappush(kept, (-drawn[place], count + int(place), batch[place]))
            size += len(batch[place])
            while len(kept) > most_rows or (size > most_bytes and len(kept) > 1):
                largest, _, dropped = heapq.heappop(kept)
                size, limit = size - len(dropped), -largest
        count += len(batch)
    return Sample([row for _, _, row in sorted(kept, key=lambda each: each[1])], count)
