"""Epochs: each of them is ended and counted, and has as many steps as it may have."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

import pytest
import torch
from torch import nn

from polytrainer import TorchTrainer
from polytrainer.executors.backends.torch.callbacks import Callback


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Linear(2, 2)

    def forward(self, x):
        return self.layers(x)


class Ends(Callback):
    def __init__(self):
        self.calls, self.begun = [], []

    def on_epoch_begin(self, engine):
        self.begun.append(engine.state.step)

    def on_epoch_end(self, engine):
        self.calls.append((engine.state.step, engine.state.epoch))


class DiesError(Exception):
    pass


class Dies(Callback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, engine, loss):
        if engine.state.step == self.step:
            raise DiesError


@pytest.fixture
def fit(small, tmp_path):
    """Trains with 7 steps an epoch: `fit(…)` returns the trainer, its `ends`, the batches it has `seen`, and `rows`."""

    def run(dies_at=None, folder="out", **options):
        class Mine(TorchTrainer):
            ends, seen = Ends(), []

            def model_fn(self):
                return Network()

            def callbacks(self):
                return [self.ends, Dies(dies_at)]

            def train_step(self, model, batch):
                self.seen.append((self.engine.state.epoch, batch[0]["x"].tolist()))
                return super().train_step(model, batch)

            def save(self, model=None):
                return {}

        own = {name: options.pop(name) for name in ("learning_rate", "scheduler") if name in options}
        trainer = Mine("label", **{"learning_rate": 0.01, **own})
        told = {"batch_size": 16, "seed": 1, **options}
        try:
            trainer.fit(small.train, small.eval, schema=small.schema, output_dir=str(tmp_path / folder), **told)
        except DiesError:
            return trainer
        with Path(tmp_path / folder / "model_run/logs/metrics.csv").open(newline="") as file:
            trainer.rows = [(int(row["step"]), float(row["epoch"])) for row in csv.DictReader(file)]
        return trainer

    return run


@pytest.mark.parametrize("epochs", [1, 3])
def test_each_epoch_is_ended_the_last_one_too(fit, epochs):
    trainer = fit(num_epochs=epochs)
    assert trainer.ends.calls == trainer.rows == [(7, 1), (14, 2), (21, 3)][:epochs]
    assert trainer.ends.begun == [0, 7, 14][:epochs]


def test_an_epoch_that_ends_with_the_training_is_ended_but_not_counted(fit):
    trainer = fit(num_steps=10)
    assert trainer.ends.calls == [(7, 1), (10, 1)]
    assert trainer.rows == [(7, 1), (10, 10 / 7)]
    assert trainer.engine.state.epoch == 1


def test_the_epoch_of_an_evaluation_is_that_of_its_step_in_the_middle_of_one_at_its_end_and_after_a_resume(fit):
    options = {"num_epochs": 2, "eval_every_n_steps": 3, "checkpoint_every_n_steps": 4}
    trainer = fit(folder="whole", **options)
    assert trainer.rows == [(step, step / 7) for step in (3, 6, 9, 12, 14)]
    assert trainer.ends.calls == [(7, 1), (14, 2)]
    fit(dies_at=10, folder="died", **options)
    assert fit(folder="died", **options).rows == trainer.rows
    assert fit(num_epochs=1, eval_every_n_steps=7, folder="at the end").rows == [(7, 1)]


def test_every_row_has_the_learning_rate_of_each_parameter_group(fit):
    trainer = fit(num_epochs=2, scheduler="linear", learning_rate=0.4)
    assert [row["learning_rate"] for row in trainer.engine.state.history] == pytest.approx([0.2, 0.0])


def test_evaluations_every_other_epoch(fit):
    trainer = fit(num_epochs=3, eval_every_n_epochs=2)
    assert trainer.rows == [(14, 2), (21, 3)]
    assert trainer.ends.calls == [(7, 1), (14, 2), (21, 3)]


def test_early_stopping_in_an_epoch_ends_it(fit):
    stopping = {"metric": "loss", "patience": 1, "min_delta": 10.0}
    trainer = fit(num_epochs=3, eval_every_n_steps=3, early_stopping=stopping)
    assert trainer.rows == [(3, 3 / 7), (6, 6 / 7)]
    assert trainer.ends.calls == [(6, 0)]


def test_early_stopping_at_the_end_of_an_epoch_counts_it(fit):
    stopping = {"metric": "loss", "patience": 1, "min_delta": 10.0}
    trainer = fit(num_epochs=5, early_stopping=stopping)
    assert trainer.ends.calls == trainer.rows == [(7, 1), (14, 2)]


def test_max_steps_per_epoch_is_the_length_of_an_epoch(fit):
    trainer = fit(num_epochs=3, max_steps_per_epoch=4)
    assert trainer.ends.calls == trainer.rows == [(4, 1), (8, 2), (12, 3)]
    orders = [[x for number, batch in trainer.seen if number == epoch for x in batch] for epoch in range(3)]
    assert [len(order) for order in orders] == [64, 64, 64]
    for one, other in itertools.combinations(orders, 2):
        assert one != other  # another order, and other examples
        assert set(map(tuple, one)) != set(map(tuple, other))


def test_max_steps_per_epoch_may_be_more_than_there_are(fit):
    assert fit(num_epochs=2, max_steps_per_epoch=100).ends.calls == [(7, 1), (14, 2)]


@pytest.mark.parametrize("every", [3, 4, 0])
@pytest.mark.parametrize("mode", ["cached", "streaming"])
def test_max_steps_per_epoch_is_resumed_in_an_epoch_and_at_its_end(fit, every, mode):
    options = {"num_epochs": 3, "max_steps_per_epoch": 4, "checkpoint_every_n_steps": every, "data_mode": mode}
    whole = fit(folder="whole", **options)
    fit(dies_at=10, folder="died", **options)
    resumed = fit(folder="died", **options)
    first = resumed.engine.resumed_from
    assert first == {3: 9, 4: 8, 0: 8}[every]
    assert resumed.seen == whole.seen[first:]
    assert resumed.rows == whole.rows
    weights, wanted = resumed.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(weights[name], wanted[name]) for name in wanted)
