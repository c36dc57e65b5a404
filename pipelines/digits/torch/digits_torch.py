"""Digits in PyTorch: a small convolutional network."""

from __future__ import annotations

from torch import nn

from polytrainer import TorchTrainer


class Network(nn.Module):
    """Two convolutions and a linear layer."""

    def __init__(self, channels, dropout):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU(),
            nn.Conv2d(channels, 2 * channels, 3, padding=1), nn.BatchNorm2d(2 * channels), nn.ReLU(),
            nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(dropout), nn.Linear(2 * channels * 16, 10),
        )  # fmt: skip

    def forward(self, image):
        """Pixels [batch, 8, 8], from 0 to 1 → logits [batch, 10]."""
        return self.layers(image.unsqueeze(1))


class Digits(TorchTrainer):
    """Trained with the defaults of TorchTrainer, and a cosine schedule."""

    def model_fn(self):
        """The network."""
        return Network(self.channels, self.dropout)


run_fn = Digits(
    "digit", metrics=["accuracy", "f1"], scheduler="cosine", learning_rate=0.01, channels=16, dropout=0.2
).run_fn
