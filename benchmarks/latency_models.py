"""The models of `latency.py`: in PyTorch, and the same in Keras with the same weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import torch
from torch import nn

layers = tf.keras.layers
COLUMNS, NUMBERS, WORDS, LENGTH = 8, 16, 1000, 32
WIDTH, HEADS = 128, 4


@dataclass(frozen=True)
class Task:
    """A model twice.

    Attributes:
        network: In PyTorch.
        keras: In Keras, from the network whose weights it takes; its arguments are those that `for_keras` makes.
        inputs: Arguments of a batch size, by the names of `forward`'s parameters.
        for_keras: The same as Keras lays them out.
    """

    network: Callable[[], nn.Module]
    keras: Callable[[Any], Any]
    inputs: Callable[[int], dict[str, Any]]
    for_keras: Callable[[dict[str, Any]], dict[str, Any]] = dict


class Tabular(nn.Module):
    """Columns of codes, embedded, and numbers, through a perceptron."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = nn.ModuleList(nn.Embedding(WORDS, 16) for _ in range(COLUMNS))
        self.hidden = nn.ModuleList([nn.Linear(NUMBERS + 16 * COLUMNS, 256), nn.Linear(256, 128)])
        self.head = nn.Linear(128, 1)

    def forward(self, codes: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        """A logit, [batch, 1]."""
        x = torch.cat([numbers, *(each(codes[:, i]) for i, each in enumerate(self.embeddings))], dim=-1)
        for layer in self.hidden:
            x = torch.relu(layer(x))
        return self.head(x)


def keras_tabular(network: Tabular) -> Any:
    """Tabular in Keras."""
    codes, numbers = tf.keras.Input((COLUMNS,), dtype="int64"), tf.keras.Input((NUMBERS,))
    embeddings = [layers.Embedding(WORDS, 16) for _ in range(COLUMNS)]
    x = layers.Concatenate()([numbers, *(each(codes[:, i]) for i, each in enumerate(embeddings))])
    for each in network.hidden:
        x = _dense(each, x, activation="relu")
    model = tf.keras.Model({"codes": codes, "numbers": numbers}, _dense(network.head, x))
    for ours, theirs in zip(embeddings, network.embeddings, strict=True):
        ours.set_weights([_array(theirs.weight)])
    return model


class Cnn(nn.Module):
    """Three convolutions, normalized and pooled."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 16, 32, 64)
        self.convolutions = nn.ModuleList(nn.Conv2d(widths[i], widths[i + 1], 3, padding=1) for i in range(3))
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths[1:])
        self.head = nn.Linear(widths[-1], 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits, [batch, 10]."""
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            image = nn.functional.max_pool2d(torch.relu(norm(convolution(image))), 2)
        return self.head(image.mean(dim=(2, 3)))


def keras_cnn(network: Cnn) -> Any:
    """Cnn in Keras, its channels last."""
    x = image = tf.keras.Input((32, 32, 3))
    for convolution, norm in zip(network.convolutions, network.norms, strict=True):
        ours, its_norm = (
            layers.Conv2D(convolution.out_channels, 3, padding="same"),
            layers.BatchNormalization(epsilon=1e-5),
        )
        x = layers.MaxPool2D()(layers.ReLU()(its_norm(ours(x))))
        ours.set_weights([_array(convolution.weight.permute(2, 3, 1, 0)), _array(convolution.bias)])
        its_norm.set_weights([_array(each) for each in (norm.weight, norm.bias, norm.running_mean, norm.running_var)])
    return tf.keras.Model({"image": image}, _dense(network.head, layers.GlobalAveragePooling2D()(x)))


class Layer(nn.Module):
    """A layer as in BERT."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, length, WIDTH] to the same."""
        heads = (*x.shape[:2], HEADS, WIDTH // HEADS)
        query, key, value = (each(x).view(heads).transpose(1, 2) for each in (self.query, self.key, self.value))
        mixed = nn.functional.scaled_dot_product_attention(query, key, value)
        x = self.norms[0](x + self.out(mixed.transpose(1, 2).reshape(x.shape)))
        return self.norms[1](x + self.down(nn.functional.gelu(self.up(x))))


class Transformer(nn.Module):
    """Words and places, through layers as in BERT."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, WIDTH), nn.Parameter(torch.randn(LENGTH, WIDTH))
        self.norm, self.layers = nn.LayerNorm(WIDTH), nn.ModuleList(Layer() for _ in range(2))
        self.head = nn.Linear(WIDTH, 2)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        """Logits, [batch, 2]."""
        x = self.norm(self.words(words) + self.places)
        for layer in self.layers:
            x = layer(x)
        return self.head(x.mean(dim=1))


class Places(layers.Layer):  # type: ignore[misc]
    """Adds a learned vector to each place of a sequence."""

    def build(self, _: Any) -> None:
        """The vectors."""
        self.places = self.add_weight(name="places", shape=(LENGTH, WIDTH))

    def call(self, x: Any) -> Any:
        """[batch, LENGTH, WIDTH] to the same."""
        return x + self.places


def keras_transformer(network: Transformer) -> Any:
    """Transformer in Keras."""
    words = tf.keras.Input((LENGTH,), dtype="int64")
    embedding, places = layers.Embedding(WORDS, WIDTH), Places()
    x = _norm(network.norm, places(embedding(words)))
    embedding.set_weights([_array(network.words.weight)])
    places.set_weights([_array(network.places)])
    for layer in network.layers:
        attention = layers.MultiHeadAttention(HEADS, WIDTH // HEADS)
        x = _norm(layer.norms[0], x + attention(x, x))
        projections = (layer.query, layer.key, layer.value)
        split = [
            _array(each)
            for p in projections
            for each in (p.weight.T.reshape(WIDTH, HEADS, -1), p.bias.reshape(HEADS, -1))
        ]
        attention.set_weights([*split, _array(layer.out.weight.T.reshape(HEADS, -1, WIDTH)), _array(layer.out.bias)])
        x = _norm(layer.norms[1], x + _dense(layer.down, _dense(layer.up, x, activation="gelu")))
    return tf.keras.Model({"words": words}, _dense(network.head, layers.GlobalAveragePooling1D()(x)))


def _dense(theirs: nn.Linear, x: Any, activation: str | None = None) -> Any:
    layer = layers.Dense(theirs.out_features, activation=activation)
    result = layer(x)
    layer.set_weights([_array(theirs.weight.T), _array(theirs.bias)])
    return result


def _norm(theirs: nn.LayerNorm, x: Any) -> Any:
    layer = layers.LayerNormalization(epsilon=theirs.eps)
    result = layer(x)
    layer.set_weights([_array(theirs.weight), _array(theirs.bias)])
    return result


def _array(tensor: torch.Tensor) -> Any:
    return tensor.detach().numpy()


random = np.random.default_rng(0)
TASKS = {
    "tabular": Task(
        Tabular,
        keras_tabular,
        lambda batch: {
            "codes": random.integers(0, WORDS, (batch, COLUMNS)),
            "numbers": random.standard_normal((batch, NUMBERS), np.float32),
        },
    ),
    "cnn": Task(
        Cnn,
        keras_cnn,
        lambda batch: {"image": random.standard_normal((batch, 3, 32, 32), np.float32)},
        lambda inputs: {"image": np.ascontiguousarray(inputs["image"].transpose(0, 2, 3, 1))},
    ),
    "transformer": Task(
        Transformer, keras_transformer, lambda batch: {"words": random.integers(0, WORDS, (batch, LENGTH))}
    ),
}
