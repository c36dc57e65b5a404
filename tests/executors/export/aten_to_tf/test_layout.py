"""Tensors stay as they lie, channels last, from one convolution to the next; and what that must not change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [pytest.mark.line, pytest.mark.usefixtures("one_thread")]


def transpositions(converted: Any) -> int:
    args, kwargs = converted.input_specs
    graph = converted.__call__.get_concrete_function(*args, **kwargs).graph
    return sum(operation.type == "Transpose" for operation in graph.get_operations())


def images(batch: int) -> Any:
    import torch

    return (torch.randn(batch, 3, 9, 12),)


def test_an_image_is_moved_once_and_kernels_never(check: Callable[..., Any]) -> None:
    import torch
    from torch import nn
    from torch.nn import functional

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
            self.norm.running_mean.normal_()
            self.norm.running_var.uniform_(0.5, 2.0)
            self.grouped = nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=4)
            self.depthwise = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8)
            self.squeeze, self.excite = nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1)
            self.bare = nn.BatchNorm2d(16, affine=False, eps=1e-6)
            self.scale = nn.Parameter(torch.randn(16, 1, 1))

        def forward(self, x: Any) -> Any:
            x = functional.max_pool2d(torch.relu(self.norm(self.stem(x))), 3, stride=2, padding=1)
            x = functional.hardswish(self.grouped(x))
            gate = self.excite(functional.relu(self.squeeze(functional.adaptive_avg_pool2d(x, 1))))
            x = x * torch.sigmoid(gate) + self.depthwise(x)
            x = self.bare(torch.cat([x, functional.gelu(x) - 0.5], dim=1)) * self.scale
            return functional.avg_pool2d(x, 2).mean(dim=(-2, -1))

    converted = check(Network(), images)
    assert transpositions(converted) == 2  # the image, and the scale
    assert converted.weights["stem.weight"].shape == [3, 3, 3, 8]


def test_channels_last_is_what_others_take_and_give_too(check: Callable[..., Any]) -> None:
    from torch import nn

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix, self.norm, self.dense = nn.Conv2d(3, 4, 3), nn.LayerNorm(4), nn.Linear(4, 4)
            self.last = nn.Conv2d(4, 2, 1)

        def forward(self, x: Any) -> Any:
            y = self.mix(x).permute(0, 2, 3, 1)
            return self.last(self.dense(self.norm(y)).permute(0, 3, 1, 2)).flatten(1)

    assert transpositions(check(Block(), images)) == 2  # into the first convolution, and out of the last


def test_images_of_any_size(check: Callable[..., Any]) -> None:
    import torch
    from torch import nn

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.up = nn.Conv2d(3, 4, 3, padding=1), nn.ConvTranspose2d(4, 3, 2, stride=2)

        def forward(self, x: Any) -> Any:
            y = self.first(x)
            return self.up(y) + y.shape[2], y.reshape(y.shape[0], -1, y.shape[3]).mean(1), y.mean(dim=1), y.mean(dim=0)

    check(Network(), lambda batch: (torch.randn(batch, 3, 4 + batch, 9 - batch),), dynamic={"x": [2, 3]})


def test_kernels_that_are_shared_or_used_otherwise(check: Callable[..., Any]) -> None:
    import torch
    from torch import nn
    from torch.nn import functional

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv1d(4, 4, 3, padding=1), nn.Conv1d(4, 4, 3, padding=1)
            self.second.weight = self.first.weight
            self.other, self.volume = nn.Conv1d(4, 4, 1), nn.Conv3d(1, 2, (1, 2, 1))

        def forward(self, x: Any) -> Any:
            x = self.other(self.second(self.first(x).relu())) + self.other.weight.sum()
            unbatched = functional.conv1d(x[0], self.first.weight)
            return self.volume(x[:, None, :, :, None]), unbatched, x.transpose(1, 2)

    converted = check(Network(), lambda batch: (torch.randn(batch, 4, 6),))
    assert converted.weights["first.weight"] is converted.weights["second.weight"]
    assert converted.weights["other.weight"].shape == [4, 4, 1]


def test_what_is_not_a_number_stays_so() -> None:
    import numpy as np
    import tensorflow as tf
    import torch
    from torch import nn

    from polytrainer.executors.export.aten_to_tf import convert, export

    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3), nn.ReLU())
    given = torch.full((2, 1, 2, 2), float("nan"))
    converted = convert(export(network.eval(), (given,)))
    assert np.isnan(converted(tf.constant(given.numpy()))).all()  # a 0 would look like an answer
