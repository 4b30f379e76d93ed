"""Stems for small images: what torchvision's networks begin with below 64 px.

ImageNet stems divide a side by four before the first block and by 32 in all. Here nothing is lost before the first
block, and 32 px end as a map of 4 × 4 (AlexNet's as 7 × 7). The state dict keeps its names; a convolution that is
already 3 × 3 keeps its weights too, and one that is replaced is initialised by its network's own rule.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from torchvision.models import AlexNet, DenseNet, ResNet, ShuffleNetV2


def _resnet(model: ResNet) -> None:
    model.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    model.maxpool = nn.Identity()


def _densenet(model: DenseNet) -> None:
    stem = model.features
    stem.conv0 = nn.Conv2d(3, stem.conv0.out_channels, kernel_size=3, stride=1, padding=1, bias=False)
    nn.init.kaiming_normal_(stem.conv0.weight)
    stem.pool0 = nn.Identity()


def _shufflenet(model: ShuffleNetV2) -> None:
    _keep_side(model, convolutions=1)
    model.maxpool = nn.Identity()


def _inverted_residuals(model: nn.Module) -> None:
    """MobileNet and EfficientNet have no pooling: their second stride of two goes instead."""
    _keep_side(model, convolutions=2)


def _alexnet(model: AlexNet) -> None:
    """The first pooling goes, the two between stages stay; initialised by torch's default, like the whole network."""
    model.features[0] = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1)
    model.features[2] = nn.Identity()


def _keep_side(model: nn.Module, convolutions: int) -> None:
    """Give stride 1 to the first so many convolutions that halve the side."""
    halving = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.stride == (2, 2)]
    for convolution in halving[:convolutions]:
        convolution.stride = (1, 1)


REFIT: dict[str, Callable[..., None]] = {
    "alexnet": _alexnet,
    "densenet121": _densenet,
    "efficientnet_b0": _inverted_residuals,
    "mobilenet_v2": _inverted_residuals,
    "resnet18": _resnet,
    "resnet50": _resnet,
    "resnet101": _resnet,
    "shufflenet_v2_x0_5": _shufflenet,
    "shufflenet_v2_x1_0": _shufflenet,
}
"""Name of a torchvision network to what gives a fresh one its small stem, in place."""
