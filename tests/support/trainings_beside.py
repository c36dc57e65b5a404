"""PyTorch trainings with parameters that the model has not, or that no step uses; `nursery.py` forks them."""

from __future__ import annotations

import torch
from torch import nn

from polytrainer import TorchTrainer
from polytrainer.executors.backends.torch.backend import Ddp
from polytrainer.executors.backends.torch.callbacks import Callback


class Network(nn.Module):
    def __init__(self, unused):
        super().__init__()
        self.layers = nn.Linear(2, 2)
        if unused:
            self.unused = nn.Linear(2, 2)

    def forward(self, x):
        return self.layers(x)


class Own(Ddp):
    """A backend that each rank makes for itself."""


class Prints(Callback):
    def on_step_end(self, engine, loss):
        print(f"beside {[round(float(each.detach()), 6) for each in engine._optimization.own_parameters]}", flush=True)


class Beside(TorchTrainer):
    def model_fn(self):
        return Network(self.unused)

    def optimizer_fn(self, model):
        self.scale = nn.Parameter(torch.zeros(()))
        parameters = [*model.parameters(), *([self.scale] if self.beside else [])]
        return torch.optim.SGD(parameters, 0.1)

    def loss_fn(self, outputs, label):
        loss = nn.functional.cross_entropy(outputs, label.view(-1))
        return loss + self.scale * outputs.square().mean() + self.scale if hasattr(self, "scale") else loss

    def callbacks(self):
        return [Prints()]


def train(unused=False, beside=True, own=False, dropout=None, norm=None, **options):
    trainer = Beside("label", unused=unused, beside=beside, backend=Own if own else None)
    trainer.fit(**options)
    print(f"backend {type(trainer.engine.backend).__name__}", flush=True)
