"""Models of images, built of the blocks that the well-known ones are built of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [pytest.mark.line, pytest.mark.usefixtures("one_thread")]


def images(batch: int) -> Any:
    import torch

    return (torch.randn(batch, 3, 33, 30),)


def _settled(model: Any) -> Any:
    """With running statistics as after some training, not 0 and 1."""
    import torch
    from torch import nn

    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)):
            module.running_mean.normal_(0, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
    return model


def _head(width: int) -> Any:
    from torch import nn

    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 5))


def test_resnet(check: Callable[..., Any]) -> None:
    from torch import nn

    class Bottleneck(nn.Module):
        def __init__(self, entry: int, width: int, stride: int, groups: int = 1):
            super().__init__()
            self.layers = nn.Sequential(
                *(nn.Conv2d(entry, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)),
                *(nn.Conv2d(width, width, 3, stride, 1, groups=groups, bias=False), nn.BatchNorm2d(width)),
                *(nn.ReLU(inplace=True), nn.Conv2d(width, 2 * width, 1, bias=False), nn.BatchNorm2d(2 * width)),
            )
            self.shortcut = nn.Sequential(nn.Conv2d(entry, 2 * width, 1, stride, bias=False), nn.BatchNorm2d(2 * width))

        def forward(self, x: Any) -> Any:
            return (self.layers(x) + self.shortcut(x)).relu_()

    stem = nn.Sequential(nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    check(_settled(nn.Sequential(stem, Bottleneck(8, 8, 1), Bottleneck(16, 8, 2, groups=4), _head(16))), images)


def test_mobilenet_v3_and_efficientnet(check: Callable[..., Any]) -> None:
    from torch import nn

    class SqueezeExcite(nn.Module):
        def __init__(self, width: int, activation: Any, gate: Any):
            super().__init__()
            self.layers = nn.Sequential(
                nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, 4, 1), activation, nn.Conv2d(4, width, 1), gate
            )

        def forward(self, x: Any) -> Any:
            return x * self.layers(x)

    class Inverted(nn.Module):
        def __init__(self, width: int, kernel: int, stride: int, dilation: int = 1, *, act: Any, gate: Any):
            super().__init__()
            pad = dilation * (kernel // 2)
            self.same = stride == 1
            self.layers = nn.Sequential(
                *(nn.Conv2d(width, 2 * width, 1, bias=False), nn.BatchNorm2d(2 * width, eps=1e-3), act),
                nn.Conv2d(2 * width, 2 * width, kernel, stride, pad, dilation, groups=2 * width, bias=False),
                *(nn.BatchNorm2d(2 * width), act, SqueezeExcite(2 * width, act, gate)),
                *(nn.Conv2d(2 * width, width, 1, bias=False), nn.BatchNorm2d(width)),
            )

        def forward(self, x: Any) -> Any:
            return x + self.layers(x) if self.same else self.layers(x)

    hard, swish = {"act": nn.Hardswish(), "gate": nn.Hardsigmoid()}, {"act": nn.SiLU(), "gate": nn.Sigmoid()}
    mobile = (Inverted(8, 3, 2, **hard), Inverted(8, 5, 1, 2, **hard))
    efficient = (Inverted(8, 5, 2, **swish), Inverted(8, 3, 2, 2, **swish))
    check(_settled(nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), *mobile, *efficient, _head(8))), images)


def test_convnext(check: Callable[..., Any]) -> None:
    import torch
    from torch import nn

    class LayerNorm2d(nn.LayerNorm):
        def forward(self, x: Any) -> Any:
            x = nn.functional.layer_norm(x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps)
            return x.permute(0, 3, 1, 2)

    class Permute(nn.Module):
        def __init__(self, *dims: int):
            super().__init__()
            self.dims = dims

        def forward(self, x: Any) -> Any:
            return torch.permute(x, self.dims)

    class Block(nn.Module):
        def __init__(self, width: int):
            super().__init__()
            self.scale = nn.Parameter(torch.full((width, 1, 1), 0.5))
            self.layers = nn.Sequential(
                *(nn.Conv2d(width, width, 7, padding=3, groups=width), Permute(0, 2, 3, 1), nn.LayerNorm(width)),
                *(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width), Permute(0, 3, 1, 2)),
            )

        def forward(self, x: Any) -> Any:
            return x + self.scale * self.layers(x)

    stem = nn.Sequential(nn.Conv2d(3, 8, 4, 4), LayerNorm2d(8))
    down = nn.Sequential(LayerNorm2d(8), nn.Conv2d(8, 12, 2, 2))
    check(nn.Sequential(stem, Block(8), down, Block(12), LayerNorm2d(12), _head(12)), images)


def test_densenet(check: Callable[..., Any]) -> None:
    import torch
    from torch import nn

    class Dense(nn.Module):
        def __init__(self, entry: int):
            super().__init__()
            self.layers = nn.Sequential(
                *(nn.BatchNorm2d(entry), nn.ReLU(), nn.Conv2d(entry, 16, 1, bias=False)),
                *(nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 4, 3, padding=1, bias=False)),
            )

        def forward(self, x: Any) -> Any:
            return torch.cat([x, self.layers(x)], dim=1)

    stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding="same"), nn.MaxPool2d(3, 2, 1, ceil_mode=True))
    transition = nn.Sequential(nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 8, 1), nn.AvgPool2d(2, 2))
    model = nn.Sequential(stem, Dense(8), Dense(12), transition, Dense(8), nn.BatchNorm2d(12), nn.ReLU(), _head(12))
    check(_settled(model), images)


def test_unet(check: Callable[..., Any]) -> None:
    import torch
    from torch import nn

    class UNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect"), nn.GroupNorm(2, 8))
            self.deeper = nn.Sequential(
                nn.MaxPool2d(2),
                nn.Conv2d(8, 16, 3, padding=1, padding_mode="circular"),
                nn.InstanceNorm2d(16, affine=True),
            )
            self.up = nn.ConvTranspose2d(16, 8, 3, stride=2, padding=1, output_padding=1)
            self.grouped = nn.ConvTranspose2d(16, 8, 2, stride=2, groups=4, bias=False)
            self.last = nn.Conv2d(16, 2, 1)

        def forward(self, x: Any) -> Any:
            here = nn.functional.leaky_relu(self.down(x))
            below = nn.functional.elu(self.deeper(here))
            again = nn.functional.interpolate(below, scale_factor=2, mode="bilinear", align_corners=True)
            joined = torch.cat([here, self.up(below)], dim=1) + self.grouped(again)[:, :1, :32, :32] + again.mean()
            return self.last(joined)

    check(UNet(), lambda batch: (torch.randn(batch, 3, 32, 32),))


def test_images_of_any_size(check: Callable[..., Any]) -> None:
    import torch
    from torch import nn

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(
                nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2), nn.ReLU(), nn.Upsample(scale_factor=2, mode="bilinear")
            )

        def forward(self, x: Any) -> Any:
            x = self.layers(x)
            return nn.functional.adaptive_avg_pool2d(x, 1).flatten(1), nn.functional.pad(x, (1, 1, 0, 2))

    def any_size(batch: int) -> Any:
        return (torch.randn(batch, 3, 16 + 2 * batch, 24 - 2 * batch),)

    check(Model(), any_size, dynamic={"x": [2, 3]})


def test_interpolations_paddings_and_poolings(check: Callable[..., Any]) -> None:
    import torch
    from torch import nn

    f = nn.functional

    class Everything(nn.Module):
        def forward(self, x: Any) -> Any:
            return {
                "nearest": f.interpolate(x, scale_factor=1.7),
                "exact": f.interpolate(x, size=(9, 20), mode="nearest-exact"),
                "bilinear": f.interpolate(x, size=(9, 20), mode="bilinear"),
                "bicubic": f.interpolate(x, scale_factor=(0.6, 1.3), mode="bicubic"),
                "aligned": f.interpolate(x, scale_factor=1.5, mode="bicubic", align_corners=True),
                "area": f.interpolate(x, size=(5, 4), mode="area"),
                "reflect": f.pad(x, (1, 2, 3, 4), mode="reflect"),
                "replicate": f.pad(x, (1, 2, 3, 4), mode="replicate"),
                "circular": f.pad(x, (1, 2, 3, 4), mode="circular"),
                "cut": f.pad(x, (-1, 2, 3, -4), value=0.5),
                "adaptive": f.adaptive_max_pool2d(x, (3, 4)),
                "ceil": f.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False),
                "dilated": f.max_pool2d(x, 3, 2, 1, dilation=2, ceil_mode=True),
                "places": f.max_pool2d(x, 2, return_indices=True)[1],
                "grid": f.grid_sample(x, x[:, :2].permute(0, 2, 3, 1).tanh(), align_corners=False),
                "shuffled": f.pixel_shuffle(x[:, :4].repeat(1, 2, 1, 1), 2),
                "patches": f.unfold(x, 3, padding=1),
            }

    check(Everything(), lambda batch: (torch.randn(batch, 4, 17, 12),))
