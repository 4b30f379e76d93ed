"""ResNetAP-10, the residual network that IDC and its successors test students on.

Source: Kim et al., Dataset Condensation via Efficient Synthetic-Data Parameterization (ICML 2022), and its code. Four
stages of one basic block each; wherever a ResNet has a stride of two, an average pooling halves the side instead.
Shapes: N images, C channels, H × W pixels, K classes.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

_WIDTHS = (64, 128, 256, 512)


class ResNetAP10(nn.Module):
    """Images (N, 3, H, W) to logits (N, K); ten weighted layers."""

    def __init__(self, classes: int, resolution: int) -> None:
        super().__init__()
        self.stem = _stem(resolution)
        self.stages = nn.Sequential(
            _Block(_WIDTHS[0], _WIDTHS[0], pool=1),
            *(_Block(before, after, pool=2) for before, after in itertools.pairwise(_WIDTHS)),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(_WIDTHS[-1], classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Logits (N, K)."""
        features_NC11 = self.pool(self.stages(self.stem(images_NCHW)))
        logits_NK: Tensor = self.head(features_NC11.flatten(1))
        return logits_NK


class _Block(nn.Module):
    """Two 3 × 3 convolutions beside a shortcut; the side is divided by `pool` behind the first."""

    def __init__(self, before: int, after: int, pool: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            *_convolution(before, after, kernel=3),
            nn.ReLU(inplace=True),
            _pooling(pool),
            *_convolution(after, after, kernel=3),
        )
        self.shortcut = nn.Identity() if before == after else _shortcut(before, after, pool)

    def forward(self, maps_NCHW: Tensor) -> Tensor:
        """Maps (N, C', H / pool, W / pool)."""
        return torch.relu(self.residual(maps_NCHW) + self.shortcut(maps_NCHW))


def _shortcut(before: int, after: int, pool: int) -> nn.Sequential:
    convolution, norm = _convolution(before, after, kernel=1)
    return nn.Sequential(convolution, _pooling(pool), norm)


def _stem(resolution: int) -> nn.Sequential:
    """IDC's three stems: up to 64 px nothing is pooled, up to 128 px once by two, above it by four after 7 × 7."""
    kernel, pool = (3, 1) if resolution <= 64 else (3, 2) if resolution <= 128 else (7, 4)
    return nn.Sequential(*_convolution(3, _WIDTHS[0], kernel), nn.ReLU(inplace=True), _pooling(pool))


def _convolution(before: int, after: int, kernel: int) -> tuple[nn.Module, nn.Module]:
    """A convolution of stride 1 that keeps the side, and its norm."""
    return nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(after)


def _pooling(factor: int) -> nn.Module:
    return nn.Identity() if factor == 1 else nn.AvgPool2d(factor)
