"""Networks by name. Importing this module imports no torch: plans only look at the names in `ARCHS`."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from condhpc.errors import StageError, UnknownNameError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

SMALL_BELOW_PX = 64
"""Below this resolution an ImageNet network gets a 3×3 stem of stride 1 and no max-pooling."""
_CONVNET_WIDTH = 128


def _convnet3(classes: int, resolution: int) -> nn.Module:
    """ConvNet-3 of the distillation literature with batch norm: 3 × (conv 3×3-128, norm, ReLU, average pool 2)."""
    from torch import nn

    layers: list[nn.Module] = []
    channels, side = 3, resolution
    for _ in range(3):
        layers += [
            nn.Conv2d(channels, _CONVNET_WIDTH, kernel_size=3, padding=1),
            nn.BatchNorm2d(_CONVNET_WIDTH),
            nn.ReLU(inplace=True),
            nn.AvgPool2d(2),
        ]
        channels, side = _CONVNET_WIDTH, side // 2
    if side == 0:
        raise StageError(f"convnet3 halves its input three times: {resolution} px are too few, it needs 8")
    head = nn.Linear(channels * side * side, classes)
    return nn.Sequential(OrderedDict(features=nn.Sequential(*layers), flatten=nn.Flatten(), head=head))


def _resnet18(classes: int, resolution: int) -> nn.Module:
    """ResNet-18 of torchvision under its own parameter names, with the small stem where images are small."""
    from torch import nn
    from torchvision.models import resnet18

    model: nn.Module = resnet18(num_classes=classes)
    if resolution < SMALL_BELOW_PX:
        model.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
        nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
        model.maxpool = nn.Identity()
    return model


ARCHS: dict[str, Callable[[int, int], nn.Module]] = {"convnet3": _convnet3, "resnet18": _resnet18}
"""Name in manifests to a builder that takes (classes, resolution)."""


def build(arch: str, classes: int, resolution: int, seed: int) -> nn.Module:
    """A freshly initialised network on the CPU; equal seeds give equal weights, and global randomness stays as it was.

    Raises UnknownNameError with the nearest name, StageError for a resolution that the network cannot take.
    """
    import torch

    if arch not in ARCHS:
        raise UnknownNameError(f"no architecture '{arch}'{nearest(arch, ARCHS)}")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # `torch.manual_seed` would reach CUDA's generators too
        return ARCHS[arch](classes, resolution)


def frozen(model: nn.Module) -> nn.Module:
    """The same network in eval mode, without gradients for its weights."""
    return model.eval().requires_grad_(requires_grad=False)


def placed(model: nn.Module, device: str) -> nn.Module:
    """The same network on a device, in the channels-last layout that convolutions are fastest in."""
    import torch

    return model.to(device=torch.device(device), memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def forward_with_features(model: nn.Module, images_NCHW: Tensor) -> tuple[Tensor, Tensor]:
    """Features (N, D) that enter the last linear layer, and logits (N, K), in one forward pass."""
    held: list[Tensor] = []
    handle = _last_linear(model).register_forward_pre_hook(lambda _module, inputs: held.append(inputs[0]))
    try:
        logits_NK: Tensor = model(images_NCHW)
    finally:
        handle.remove()
    return held[-1].flatten(1), logits_NK


def penultimate(model: nn.Module, images_NCHW: Tensor) -> Tensor:
    """Features (N, D) that enter the last linear layer."""
    return forward_with_features(model, images_NCHW)[0]


def _last_linear(model: nn.Module) -> nn.Linear:
    from torch import nn

    linears = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not linears:
        raise StageError(f"{type(model).__name__} has no linear layer, so no features that enter one")
    return linears[-1]
