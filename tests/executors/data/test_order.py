"""The order of an epoch, and who takes what of it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from polytrainer.executors.data import order


@given(size=st.integers(0, 1000), world_size=st.integers(1, 64))
def test_shares_are_those_of_tensor_split(size, world_size):
    import torch

    parts = torch.arange(size).tensor_split(world_size)
    shares = [order.share(size, rank, world_size) for rank in range(world_size)]
    assert [[*range(*share)] for share in shares] == [part.tolist() for part in parts]


@settings(deadline=None)
@given(count=st.integers(0, 500), seed=st.integers(0, 2**70), epoch=st.integers(0, 1000))
def test_a_permutation_has_everything_once_and_follows_from_seed_and_epoch(count, seed, epoch):
    numbers = order.permutation(count, seed, epoch)
    assert sorted(numbers.tolist()) == [*range(count)]
    assert numbers.tolist() == order.permutation(count, seed, epoch).tolist()


def test_no_two_of_seed_and_epoch_are_mixed_alike():
    seeds = {order.mixed(seed, epoch) for seed in range(100) for epoch in range(100)}
    assert len(seeds) == 10_000
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_each_example_stands_first_about_equally_often():
    first = [int(order.permutation(4, seed, epoch)[0]) for seed in range(40) for epoch in range(10)]
    assert all(60 < first.count(number) < 140 for number in range(4))


@settings(deadline=None)
@given(
    count=st.integers(1, 60),
    batch_size=st.integers(1, 70),
    offset=st.integers(0, 60),
    workers=st.integers(1, 4),
    drop_last=st.booleans(),
)
def test_workers_take_turns(count, batch_size, offset, workers, drop_last):
    def batches(worker, of):
        return [
            *order.Slice(
                count, batch_size, drop_last, True, 0, 0, min(offset, count), worker=worker, workers=of
            ).batches()
        ]

    alone = batches(0, 1)
    together = [batches(worker, workers) for worker in range(workers)]
    assert [together[number % workers][number // workers] for number in range(len(alone))] == alone
    assert sum(map(len, together)) == len(alone)
