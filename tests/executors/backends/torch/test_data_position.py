"""Data without a position, as a DataLoader, are resumed in the middle of an epoch as if nobody had died, or refused."""

from __future__ import annotations

import os
import random
import signal

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, RandomSampler, WeightedRandomSampler

from polytrainer import TorchTrainer
from polytrainer.executors.backends.torch.callbacks import Callback
from polytrainer.executors.errors import TrainingError

EXAMPLES, BATCH, STEPS = 50, 8, 21  # 7 steps an epoch
ANOTHER = r"input_fn: got other batches than before, of the first 3 of epoch 2; .*state_dict and load_state_dict"


class DiedError(Exception):
    pass


class Numbers(Dataset):
    """Examples whose number is a feature; their label says whether it is odd, or is the same for all but one."""

    def __init__(self, labels="odd", augment=None):
        self.x = torch.randn(EXAMPLES, 2, generator=torch.Generator().manual_seed(1))
        self.y = torch.arange(EXAMPLES) % 2 if labels == "odd" else (torch.arange(EXAMPLES) == 0).long()
        self.augment = augment or (lambda: 0.0)

    def __len__(self):
        return EXAMPLES

    def __getitem__(self, number):
        return {"x": self.x[number] + self.augment(), "number": torch.tensor(number)}, self.y[number]


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.3), nn.Tanh(), nn.Linear(8, 2))

    def forward(self, x):
        return self.layers(x)


class Dying(Callback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, engine, loss):
        if engine.state.step == self.step:
            raise DiedError


class Trainer(TorchTrainer):
    make = dies_at = terminated_at = None

    def model_fn(self):
        return Network()

    def input_fn(self, files, *, training, first_step=0):
        return Trainer.make() if training else DataLoader(Numbers(), BATCH)

    def callbacks(self):
        return [Dying(Trainer.dies_at)]

    def train_step(self, model, batch):
        features = self.batch_parts(batch)[0]
        self.seen.append((self.engine.state.epoch, features["number"].tolist(), features["x"].tolist()))
        return super().train_step(model, batch)

    def evaluated(self, model, batch, metrics):
        if Trainer.terminated_at == self.engine.state.step:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().evaluated(model, batch, metrics)

    def save(self, model=None):
        return {}


def fit(make, small, folder, dies_at=None, **options):
    Trainer.make, Trainer.dies_at = staticmethod(make), dies_at
    trainer = Trainer("label", learning_rate=0.01)
    trainer.seen = []
    told = {"num_steps": STEPS, "batch_size": BATCH, "checkpoint_every_n_steps": 5, "seed": 4, **options}
    try:
        trainer.fit(small.train, small.eval, schema=small.schema, output_dir=str(folder), **told)
    except DiedError:
        return trainer
    return trainer


def outcome(trainer):
    return {name: value.tolist() for name, value in trainer.model.state_dict().items()}, trainer.engine.state.history


def assert_resumed_bit_equal(make, small, tmp_path, dies_at=12, **options):
    """That a training which dies at a step goes on from the checkpoint before it, with the batches that were left."""
    whole = fit(make, small, tmp_path / "whole", **options)
    fit(make, small, tmp_path / "died", dies_at=dies_at, **options)
    resumed = fit(make, small, tmp_path / "died", **options)
    assert 0 < resumed.engine.resumed_from < dies_at
    assert resumed.seen == whole.seen[resumed.engine.resumed_from :]
    assert outcome(resumed) == outcome(whole)


def augmentation():
    return random.random() + np.random.rand() + torch.rand(())


class Shards:
    """A sampler as DistributedSampler: its order follows from the epoch that it is told."""

    def __init__(self):
        self.epoch = 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return EXAMPLES

    def __iter__(self):
        return iter(torch.randperm(EXAMPLES, generator=torch.Generator().manual_seed(self.epoch)).tolist())


def seeded():
    return torch.Generator().manual_seed(9)


RESUMED = {
    "shuffle": lambda: DataLoader(Numbers(), BATCH, shuffle=True),
    "shuffle with a generator": lambda: DataLoader(Numbers(), BATCH, shuffle=True, generator=seeded()),
    "a random sampler with a generator": lambda: DataLoader(
        Numbers(), BATCH, sampler=RandomSampler(range(EXAMPLES), replacement=True, generator=seeded())
    ),
    "weights": lambda: DataLoader(Numbers(), BATCH, sampler=WeightedRandomSampler(range(1, EXAMPLES + 1), EXAMPLES)),
    "a batch sampler": lambda: DataLoader(
        Numbers(),
        batch_sampler=torch.utils.data.BatchSampler(
            RandomSampler(range(EXAMPLES), generator=seeded()), BATCH, drop_last=False
        ),
    ),
    "set_epoch": lambda: DataLoader(Numbers(), BATCH, sampler=Shards()),
    "augmentation": lambda: DataLoader(Numbers(augment=augmentation), BATCH, shuffle=True),
    "one label but for one": lambda: DataLoader(Numbers("one"), BATCH, shuffle=True),
}


@pytest.mark.parametrize("kind", RESUMED)
@pytest.mark.parametrize("dies_at", [12, 8, 20])  # from a step in an epoch, in the first one, in the last one
def test_a_loader_goes_on_in_the_middle_of_an_epoch(small, tmp_path, kind, dies_at):
    assert_resumed_bit_equal(RESUMED[kind], small, tmp_path, dies_at)


@pytest.mark.parametrize("kind", RESUMED)
def test_a_loader_goes_on_at_the_end_of_an_epoch(small, tmp_path, kind):
    assert_resumed_bit_equal(RESUMED[kind], small, tmp_path, dies_at=16, checkpoint_every_n_steps=0)


@pytest.mark.parametrize("kind", ["shuffle", "shuffle with a generator"])
def test_an_epoch_of_fewer_steps_than_there_are_batches(small, tmp_path, kind):
    options = {"max_steps_per_epoch": 4, "num_steps": 12}
    assert_resumed_bit_equal(RESUMED[kind], small, tmp_path, dies_at=7, **options)
    assert_resumed_bit_equal(RESUMED[kind], small, tmp_path / "end", dies_at=9, checkpoint_every_n_steps=4, **options)


def test_workers(small, tmp_path):
    def make():
        return DataLoader(Numbers(augment=augmentation), BATCH, shuffle=True, num_workers=2)

    assert_resumed_bit_equal(make, small, tmp_path)


def test_evaluations_in_between_draw_numbers_too(small, tmp_path):
    # a DataLoader draws one at each iteration over it, that of an evaluation as well
    assert_resumed_bit_equal(RESUMED["shuffle"], small, tmp_path, eval_every_n_steps=3)


def test_an_evaluation_that_sigterm_ends_draws_its_numbers_again(small, tmp_path, monkeypatch):
    whole = fit(RESUMED["shuffle"], small, tmp_path / "whole")
    monkeypatch.setattr(Trainer, "terminated_at", 7)
    with pytest.raises(TrainingError, match="it is saved at step 7"):
        fit(RESUMED["shuffle"], small, tmp_path / "died")
    monkeypatch.setattr(Trainer, "terminated_at", None)
    assert outcome(fit(RESUMED["shuffle"], small, tmp_path / "died")) == outcome(whole)


def test_each_epoch_has_another_order(small, tmp_path):
    trainer = fit(RESUMED["shuffle with a generator"], small, tmp_path)
    epochs = [[each for epoch, batch, _ in trainer.seen if epoch == number for each in batch] for number in range(3)]
    assert all(sorted(order) == list(range(EXAMPLES)) for order in epochs)
    assert len({tuple(order) for order in epochs}) == 3


class OwnNumbers:
    """Shuffles by random numbers that nobody else knows."""

    def __init__(self, labels="odd"):
        self.data = Numbers(labels)

    def __iter__(self):
        order = np.random.default_rng().permutation(EXAMPLES)
        for start in range(0, EXAMPLES, BATCH):
            rows = [self.data[int(number)] for number in order[start : start + BATCH]]
            yield torch.utils.data.default_collate(rows)


@pytest.mark.parametrize("labels", ["odd", "one"])
def test_what_shuffles_by_numbers_of_its_own_is_refused_with_the_remedy(small, tmp_path, labels):
    # with "one", most batches have the same labels: the features tell
    fit(lambda: OwnNumbers(labels), small, tmp_path, dies_at=12)
    with pytest.raises(TrainingError, match=ANOTHER):
        fit(lambda: OwnNumbers(labels), small, tmp_path)
    assert fit(lambda: OwnNumbers(labels), small, tmp_path, resume=False).engine.resumed_from is None


def test_augmentation_by_numbers_of_its_own_goes_on_in_the_same_order(small, tmp_path):
    def make():
        return DataLoader(Numbers(augment=lambda: float(np.random.default_rng().random())), BATCH, shuffle=True)

    whole = fit(make, small, tmp_path / "whole")
    fit(make, small, tmp_path / "died", dies_at=12)
    resumed = fit(make, small, tmp_path / "died")
    assert [batch for _, batch, _ in resumed.seen] == [batch for _, batch, _ in whole.seen[10:]]


def test_fewer_batches_than_were_seen_are_refused(small, tmp_path):
    class Shrinking(OwnNumbers):
        def __iter__(self):
            return iter(list(DataLoader(self.data, BATCH))[: 7 if Trainer.dies_at else 1])

    fit(Shrinking, small, tmp_path, dies_at=12)
    with pytest.raises(TrainingError, match="got other batches than before"):
        fit(Shrinking, small, tmp_path)


class Positioned:
    """Batches that know where they are, as torchdata's StatefulDataLoader: a new epoch begins when it is iterated over.

    Its state at the end of an epoch is one of the epoch that has ended; what loads it yields nothing more of that.
    """

    def __init__(self):
        self.data, self.epoch, self.offset, self.loaded = Numbers(), -1, 0, False

    def __iter__(self):
        torch.rand(())  # as a DataLoader draws the seed of its workers
        if not self.loaded:
            self.epoch, self.offset = self.epoch + 1, 0
        self.loaded = False
        return self.rest()

    def rest(self):
        order = torch.randperm(EXAMPLES, generator=torch.Generator().manual_seed(self.epoch)).tolist()
        while self.offset < EXAMPLES:
            rows = [self.data[number] for number in order[self.offset : self.offset + BATCH]]
            self.offset += BATCH
            yield torch.utils.data.default_collate(rows)

    def state_dict(self):
        return {"epoch": self.epoch, "offset": self.offset}

    def load_state_dict(self, state):
        self.epoch, self.offset, self.loaded = state["epoch"], state["offset"], state["epoch"] >= 0


@pytest.mark.parametrize("options", [{}, {"checkpoint_every_n_steps": 0}, {"checkpoint_every_n_steps": 7}])
@pytest.mark.parametrize("limit", [0, 4])
def test_data_with_a_position_go_on_from_it(small, tmp_path, options, limit):
    assert_resumed_bit_equal(Positioned, small, tmp_path, dies_at=16, max_steps_per_epoch=limit, **options)


def test_an_empty_epoch_right_after_a_state_of_the_end_of_one_is_none(small, tmp_path):
    class AtItsEnd(Positioned):
        def __iter__(self):  # nothing happens before the first batch is asked for
            if not self.loaded:
                self.epoch, self.offset = self.epoch + 1, 0
            self.loaded = False
            yield from self.rest()

    assert_resumed_bit_equal(AtItsEnd, small, tmp_path, dies_at=16, checkpoint_every_n_steps=0)


def test_data_that_are_used_up_after_an_epoch_are_refused(small, tmp_path):
    def make():
        return iter(DataLoader(Numbers(), BATCH))

    with pytest.raises(TrainingError, match=r"got no batch in epoch 2; .*used up after one epoch"):
        fit(make, small, tmp_path)
