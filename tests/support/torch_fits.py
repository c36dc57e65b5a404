"""TorchTrainers on `small`, made and trained in this process."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def made(small, tmp_path):
    """Makes a trainer: `made(hidden=4, …)`; a keyword that is a hook's name overrides the hook."""
    import torch
    from torch import nn

    from polytrainer import TorchTrainer

    hooks = [name for name in dir(TorchTrainer) if name.endswith(("_fn", "_step")) or name in ("callbacks", "save")]

    def model_fn(self):
        return nn.Sequential(TakeX(), nn.Linear(2, self.hidden), nn.Tanh(), nn.Linear(self.hidden, 2))

    class TakeX(nn.Module):
        def forward(self, features):
            return features["x"]

    def make(*args, **options):
        own = {name: options.pop(name) for name in [*hooks, "model_fn"] if name in options}
        kind = type(
            "Mine", (TorchTrainer,), {"__annotations__": {"hidden": int}, "hidden": 4, "model_fn": model_fn, **own}
        )
        options = {"metrics": ["accuracy"], "learning_rate": 0.05, **options}
        return kind(*(args or ("label",)), **options)

    torch.manual_seed(0)
    return make


@pytest.fixture
def fit(small, tmp_path):
    """Trains it: `fit(trainer, num_epochs=3, …)`; outputs are in `fit.output`."""

    def run(trainer, **options):
        defaults = {"train_files": small.train, "eval_files": small.eval, "schema": small.schema}
        train_args = {"batch_size": 8, "seed": 1, "num_epochs": 2}
        if "num_steps" in options:
            del train_args["num_epochs"]
        return trainer.fit(**{**defaults, **train_args, "output_dir": str(run.output), **options})

    run.output = tmp_path / "out"
    return run


def state(fit):
    return json.loads((fit.output / "model_run" / "trainer_state.json").read_text())


def weights(fit):
    from safetensors.numpy import load_file

    return load_file(fit.output / "model" / "Format-Torch" / "model.safetensors")


def program(fit):
    import torch

    return torch.export.load(fit.output / "model" / "Format-Serving" / "model.pt2").module()


def same(one, other, tolerance=0.0):
    import numpy as np

    return set(one) == set(other) and all(np.allclose(one[name], other[name], rtol=0, atol=tolerance) for name in one)


def schema_of(text):
    """A schema of dense features: `x: 2 floats, label: 1 ints`."""
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    kinds = {"floats": "FLOAT", "ints": "INT"}
    features = []
    for each in text.split(", "):
        name, size, kind = each.replace(":", "").split()
        features.append(
            f'feature {{ name: "{name}" type: {kinds[kind]} presence {{ min_fraction: 1 min_count: 1 }} '
            f"shape {{ dim {{ size: {size} }} }} }}"
        )
    return text_format.Parse("\n".join(features), schema_pb2.Schema())


def linear(width, outputs):
    """A model_fn of one linear layer over `x`."""
    from torch import nn

    class Linear(nn.Linear):
        def forward(self, x):
            return super().forward(x)

    return lambda self: Linear(width, outputs)
