"""Penguins in PyTorch: the model, and nothing else."""

from __future__ import annotations

from torch import nn

from polytrainer import Features, TorchTrainer
from polytrainer.pipelines.penguins.features import LABEL, NUM_CLASSES, TRANSFORMED_LABEL


class Penguins(TorchTrainer):
    """A network with one hidden layer, over measurements and embedded words."""

    def model_fn(self):
        """Species' logits, [batch, 3]."""
        features = Features.from_schema(self.schema, exclude=[self.label_key])
        hidden = nn.Linear(features.out_features, self.hidden)
        return nn.Sequential(features, hidden, nn.ReLU(), nn.Linear(self.hidden, NUM_CLASSES))


run_fn = Penguins(TRANSFORMED_LABEL, classes=LABEL, metrics=["accuracy", "f1"], learning_rate=0.01, hidden=16).run_fn
