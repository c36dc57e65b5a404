"""PyTorch trainings that end themselves at a phase of their run; `nursery.py` forks them.

A training says of each step that it takes `trained step <n>`.
"""

from __future__ import annotations

import os
import signal
from collections import Counter

import torch
from torch import nn

from polytrainer import TorchTrainer
from polytrainer.executors.backends.torch.callbacks import Callback

STEP = 10  # at which one dies that dies at a step; of 13 an epoch
STEP_PHASE, IN_EPOCH, AFTER_EPOCH = "step", "evaluation in an epoch", "evaluation after an epoch"
LAST_EVALUATION, VALIDATION, TEST, EXPORT = "last evaluation", "validation", "test", "export"
NO_ROOM = "export without room"


class Network(nn.Module):
    def __init__(self, dropout):
        super().__init__()
        hidden = nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Dropout(dropout), nn.Tanh()
        self.layers = nn.Sequential(*hidden, nn.Linear(8, 2))

    def forward(self, x):
        return self.layers(x)


class Ema(Callback):
    """Averages the weights; the average becomes the model."""

    def __init__(self):
        self.average = {}

    def on_step_end(self, engine, loss):
        for name, value in engine.backend.plain(engine.model).state_dict().items():
            before = self.average.get(name, value.clone())
            self.average[name] = before.lerp(value, 0.1) if value.is_floating_point() else value.clone()

    def on_train_end(self, engine):
        engine.backend.plain(engine.model).load_state_dict(self.average)

    def state_dict(self):
        return {"average": self.average}

    def load_state_dict(self, state):
        self.average = state["average"]


class SlowerEachEpoch(Callback):
    """Changes the training by how many epochs and evaluations it has seen."""

    def __init__(self):
        self.seen = 0

    def on_evaluate_end(self, engine, metrics):
        self.seen += 1

    def on_epoch_end(self, engine):
        self.seen += 10
        engine.optimizers[0].param_groups[0]["weight_decay"] = self.seen / 1000

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state):
        self.seen = state["seen"]


class Mortal(TorchTrainer):
    at = how = phase = None
    rank_at = 0
    last_step = None
    has_callbacks = False

    def model_fn(self):
        return Network(self.dropout)

    def callbacks(self):
        return [Ema(), SlowerEachEpoch()] if self.has_callbacks else []

    def train_step(self, model, batch):
        engine = getattr(self, "engine", None)
        if engine is not None:
            print(f"trained step {engine.state.step + 1}", flush=True)
            self.reach(STEP_PHASE, self.last_step or STEP)
        return super().train_step(model, batch)

    def evaluated(self, model, batch, metrics):
        engine = self.engine
        training = LAST_EVALUATION if engine.done else IN_EPOCH if engine.state.batches else AFTER_EPOCH
        self.reach(self.phase or training, 2)
        return super().evaluated(model, batch, metrics)

    def validate(self):
        self.phase = VALIDATION
        return super().validate()

    def test(self):
        self.phase = TEST
        return super().test()

    def save(self, model=None):
        self.reach(EXPORT, 1)
        if self.at == NO_ROOM:
            raise OSError(28, "No space left on device")
        return super().save(model)

    def reach(self, phase, times):
        """Dies, if it is to die there, when it comes there for the n-th time."""
        rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
        if phase == self.at and rank == self.rank_at:
            self.times[phase] += 1
            if self.times[phase] == times:
                print(f"dies at {phase}", flush=True)
                os.kill(os.getpid(), signal.Signals[self.how])


def train(at=None, how="SIGKILL", rank_at=0, callbacks=False, dropout=0.2, last_step=None, **options):
    Mortal.at, Mortal.how, Mortal.rank_at, Mortal.has_callbacks = at, how, rank_at, callbacks
    Mortal.times, Mortal.last_step = Counter(), last_step
    options.pop("norm", None)  # of the trainings in nursery.py
    scheduler = options.pop("scheduler", "cosine")
    trainer = Mortal("label", metrics=["accuracy", "auroc"], dropout=dropout, scheduler=scheduler, learning_rate=0.01)
    trainer.fit(**options)
