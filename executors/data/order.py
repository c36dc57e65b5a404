"""In which order an epoch's examples come, and which of them a rank takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def mixed(seed: int, epoch: int) -> int:
    """A seed of 63 bits for one epoch.

    Hashed from both numbers (NumPy's SeedSequence): with `seed + epoch`, runs with neighbouring seeds would see one
    another's epochs.
    """
    import numpy as np

    return int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def permutation(count: int, seed: int, epoch: int) -> torch.Tensor:
    """The order of an epoch, int64 `[count]`: the same for all ranks, and at any later time."""
    import torch

    return torch.randperm(count, generator=torch.Generator().manual_seed(mixed(seed, epoch)))


def share(size: int, rank: int, world_size: int) -> tuple[int, int]:
    """Where a rank's part of `size` examples starts and stops; parts differ by one at most (torch.tensor_split)."""
    each, rest = divmod(size, world_size)
    start = rank * each + min(rank, rest)
    return start, start + each + (rank < rest)


@dataclass(frozen=True)
class Slice:
    """The rest of an epoch, as one worker of one rank sees it.

    Attributes:
        count: Examples in an epoch.
        batch_size: Of a global batch, over all ranks.
        drop_last: Whether an incomplete last batch is left out.
        shuffle: Whether the order is other than that of the files.
        seed: Of all epochs.
        epoch: From 0.
        offset: Examples of the epoch already seen, over all ranks.
        rank: Of `world_size`.
        world_size: How many ranks share out each batch.
        worker: Of `workers`.
        workers: How many workers take turns in making a rank's batches.
    """

    count: int
    batch_size: int
    drop_last: bool
    shuffle: bool
    seed: int
    epoch: int
    offset: int
    rank: int = 0
    world_size: int = 1
    worker: int = 0
    workers: int = 1

    @property
    def stop(self) -> int:
        """Where the epoch's last batch stops."""
        rest = (self.count - self.offset) % self.batch_size if self.drop_last else 0
        return self.count - rest

    def batches(self) -> Iterator[tuple[int, int]]:
        """Where each global batch of this worker starts and stops in the epoch's order."""
        first = self.offset + self.worker * self.batch_size
        for start in range(first, self.stop, self.workers * self.batch_size):
            yield start, min(start + self.batch_size, self.count)

    def permuted(self, count: int) -> list[int]:
        """An order of `count` things for this epoch."""
        order: list[int] = permutation(count, self.seed, self.epoch).tolist()
        return order
