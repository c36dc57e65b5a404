"""What `fit` made for itself is gone when it ends, however it ends."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from torch import nn

from polytrainer import TorchTrainer
from polytrainer.executors.backends import local_fit
from polytrainer.executors.errors import PreflightError


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Linear(2, 2)

    def forward(self, x):
        return self.layers(x)


class Mine(TorchTrainer):
    fails = None

    def model_fn(self):
        self.fail("model_fn")
        return Network()

    def train_step(self, model, batch):
        self.fail("train_step")
        return super().train_step(model, batch)

    def scheduler_fn(self, optimizer):
        self.fail("scheduler_fn")
        return super().scheduler_fn(optimizer)

    def save(self, model=None):
        self.fail("save")
        return {}

    def fail(self, where):
        if Mine.fails == where:
            raise ArithmeticError(where)


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder of temporary files, empty."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


OPTIONS = {"num_epochs": 2, "batch_size": 16, "keep_checkpoints": {"best": 1, "metric": "loss"}}


def left_by_us(folder: Path):
    return [path for path in folder.iterdir() if path.name.startswith("polytrainer")]


def test_without_an_output_dir_nothing_is_left(small, temporary):
    trainer = Mine("label")
    trainer.fit(small.train, small.eval, schema=small.schema, **OPTIONS)
    assert not left_by_us(temporary)
    assert trainer.validate()["loss"] > 0  # what is in memory goes on


@pytest.mark.parametrize("where", ["model_fn", "scheduler_fn", "train_step", "save"])
def test_nothing_is_left_by_an_exception(small, temporary, monkeypatch, where):
    monkeypatch.setattr(Mine, "fails", where)
    with pytest.raises(ArithmeticError, match=where):
        Mine("label").fit(small.train, small.eval, schema=small.schema, **OPTIONS)
    assert not left_by_us(temporary)


def test_nothing_is_left_by_arguments_that_are_wrong(small, temporary):
    with pytest.raises(PreflightError, match="at most one of num_steps and num_epochs"):
        Mine("label").fit(small.train, small.eval, schema=small.schema, num_steps=1, num_epochs=1)
    with pytest.raises(Exception, match="no_schema"):
        Mine("label").fit(small.train, small.eval, schema=str(temporary / "no_schema"), num_epochs=1)
    assert not left_by_us(temporary)


@pytest.mark.parametrize("where", [None, "scheduler_fn", "train_step", "save"])
def test_without_a_checkpoint_dir_the_training_has_a_folder_that_goes_with_it(
    small, temporary, tmp_path, monkeypatch, where
):
    monkeypatch.setattr(Mine, "fails", where)
    trainer = Mine("label")
    options = {**OPTIONS, "output_dir": str(tmp_path / "out"), "schema": small.schema}
    fn_args = local_fit.run_args(trainer, small.train, small.eval, **options)
    fn_args.checkpoint_dir = None  # where outputs are in a bucket
    try:
        trainer.run_fn(fn_args)
    except ArithmeticError:
        assert where
    del trainer
    import gc

    gc.collect()
    assert not left_by_us(temporary)
