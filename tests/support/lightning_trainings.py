"""LightningModules, and trainers of them that do not export."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest


@pytest.fixture(scope="session")
def lightning_kinds() -> Iterator[tuple[Any, Any]]:
    """A LightningModule, and a trainer of it that does not export."""
    import lightning
    import torch
    from torch import nn
    from torch.nn import functional

    from polytrainer import TorchTrainer

    class Network(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 2))

        def forward(self, x):
            return self.layers(x)

        def loss(self, batch):
            features, label = batch
            return functional.cross_entropy(self(features["x"]), label.flatten())

        def training_step(self, batch, batch_idx):
            return self.loss(batch)

        def validation_step(self, batch, batch_idx):
            self.log("val_loss", self.loss(batch))

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    class Mine(TorchTrainer):
        def model_fn(self):
            return self.network()

        def save(self, model=None):
            self.saved = {name: value.clone() for name, value in model.state_dict().items()}

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # for so little, threads only wait for each other
    yield Network, Mine
    torch.set_num_threads(threads)


@pytest.fixture
def lightning_network(lightning_kinds: Any) -> Callable[..., Any]:
    """The module; one with other methods: `lightning_network(validation_step=…)`."""
    return lambda **methods: type("Network", (lightning_kinds[0],), methods)


@pytest.fixture
def lightning_fit(lightning_kinds: Any, small: SimpleNamespace, tmp_path: Path) -> Callable[..., Any]:
    """Trains `small`: `lightning_fit(network, trainer_config, **train_args)` returns the trainer, with a `.result`."""

    def run(network=None, config=None, kind=lightning_kinds[1], arguments=None, **options):
        trainer = kind("label", trainer_config=config, network=network or lightning_kinds[0], **(arguments or {}))
        told = {
            "train_files": small.train,
            "eval_files": small.eval,
            "schema": small.schema,
            "batch_size": 8,
            "seed": 1,
        }
        if "num_steps" not in options and not config:
            told["num_epochs"] = 2
        trainer.result = trainer.fit(**{**told, "output_dir": str(run.output), **options})
        return trainer

    run.output = tmp_path / "out"
    return run
