"""Networks by name. Importing this module imports no torch: plans only look at the names in `ARCHS`."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, Literal

from condhpc.errors import StageError, UnknownNameError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

Norm = Literal["batch", "instance"]

SMALL_BELOW_PX = 64
"""Below this resolution torchvision's networks get a 3×3 stem of stride 1 without max-pooling (`small_stems`)."""
_CONVNET_WIDTH = 128
_VIT_PATCH_PX = 16

_MINIMUM_PX = {
    "alexnet": 7,
    "convnet3": 8,
    "convnet4": 16,
    "convnet6": 64,
    "densenet121": 8,
    "resnetap10": 8,
    "vit_tiny": 2,
}
"""Smallest images where it is more than 1 px: below, a pooling or patch finds too few."""
_MINIMUM_PX_INSTANCE = {
    **dict.fromkeys(("resnet18", "resnet50", "resnet101", "mobilenet_v2", "efficientnet_b0"), 9),
    **dict.fromkeys(("shufflenet_v2_x0_5", "shufflenet_v2_x1_0"), 9),
    **dict.fromkeys(("densenet121", "resnetap10"), 16),
}
"""The same with instance norm: below, a norm layer sees one pixel per channel and answers every image alike."""


def _convnet(depth: int, classes: int, resolution: int) -> nn.Module:
    """ConvNet-D of the distillation literature with batch norm: D × (conv 3×3-128, norm, ReLU, average pool 2)."""
    from torch import nn

    layers: list[nn.Module] = []
    channels, side = 3, resolution
    for _ in range(depth):
        layers += [
            nn.Conv2d(channels, _CONVNET_WIDTH, kernel_size=3, padding=1),
            nn.BatchNorm2d(_CONVNET_WIDTH),
            nn.ReLU(inplace=True),
            nn.AvgPool2d(2),
        ]
        channels, side = _CONVNET_WIDTH, side // 2
    head = nn.Linear(channels * side * side, classes)
    return nn.Sequential(OrderedDict(features=nn.Sequential(*layers), flatten=nn.Flatten(), head=head))


def _torchvision(name: str, classes: int, resolution: int) -> nn.Module:
    """A network of torchvision under its own parameter names, with the small stem where images are small."""
    from torchvision.models import get_model

    from condhpc import small_stems

    model: nn.Module = get_model(name, num_classes=classes)
    if resolution < SMALL_BELOW_PX:
        small_stems.REFIT[name](model)
    return model


def _resnetap10(classes: int, resolution: int) -> nn.Module:
    """IDC's ResNet of depth ten that pools where others have strides, with IDC's own stems by resolution."""
    from condhpc.resnet_ap import ResNetAP10

    return ResNetAP10(classes, resolution)


def _vit_tiny(classes: int, resolution: int) -> nn.Module:
    """Vision transformer of DeiT-Ti's size by torchvision; patches of 16 px from 64 px up, of 4 below, of 2 below 16.

    As torchvision has it, the head starts at zero.
    """
    from torchvision.models import VisionTransformer

    patch = _VIT_PATCH_PX if resolution >= SMALL_BELOW_PX else 4 if resolution >= 16 else 2
    if resolution % patch:
        lower = resolution // patch * patch
        raise StageError(
            f"vit_tiny cuts images into patches of {patch} × {patch} px, and {resolution} px are no multiple of that; "
            f"take a resolution of {lower} or {lower + patch}"
        )
    model: nn.Module = VisionTransformer(
        image_size=resolution,
        patch_size=patch,
        num_layers=12,
        num_heads=3,
        hidden_dim=192,
        mlp_dim=768,
        num_classes=classes,
    )
    return model


ARCHS: dict[str, Callable[[int, int], nn.Module]] = {
    "alexnet": partial(_torchvision, "alexnet"),
    "convnet3": partial(_convnet, 3),
    "convnet4": partial(_convnet, 4),
    "convnet6": partial(_convnet, 6),
    "densenet121": partial(_torchvision, "densenet121"),
    "efficientnet_b0": partial(_torchvision, "efficientnet_b0"),
    "mobilenet_v2": partial(_torchvision, "mobilenet_v2"),
    "resnet18": partial(_torchvision, "resnet18"),
    "resnet50": partial(_torchvision, "resnet50"),
    "resnet101": partial(_torchvision, "resnet101"),
    "resnetap10": _resnetap10,
    "shufflenet_v2_x0_5": partial(_torchvision, "shufflenet_v2_x0_5"),
    "shufflenet_v2_x1_0": partial(_torchvision, "shufflenet_v2_x1_0"),
    "vit_tiny": _vit_tiny,
}
"""Name in manifests to a builder that takes (classes, resolution)."""


def build(arch: str, classes: int, resolution: int, seed: int, norm: Norm = "batch") -> nn.Module:
    """A freshly initialised network on the CPU; equal seeds give equal weights, and global randomness stays as it was.

    With `norm` "instance" batch norms give way to norms per image and channel, at equal weights; a network without
    batch norm (alexnet, vit_tiny) stays as it is. Raises UnknownNameError with the nearest name, StageError for a
    resolution that the network cannot take.
    """
    import torch

    if arch not in ARCHS:
        raise UnknownNameError(f"no architecture '{arch}'{nearest(arch, ARCHS)}")
    _require_pixels(arch, resolution, norm)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # `torch.manual_seed` would reach CUDA's generators too
        model = ARCHS[arch](classes, resolution)
    if norm == "instance":
        _normalise_per_image(model)
    return model


def minimum_px(arch: str, norm: Norm = "batch") -> int:
    """Side of the smallest images that a network can tell apart, pixels; needs no torch, so a plan can ask."""
    smallest = _MINIMUM_PX.get(arch, 1)
    return max(smallest, _MINIMUM_PX_INSTANCE.get(arch, 1)) if norm == "instance" else smallest


def _require_pixels(arch: str, resolution: int, norm: Norm) -> None:
    minimum = minimum_px(arch, norm)
    if resolution < minimum:
        what = f"{arch} with instance norm" if minimum > minimum_px(arch) else arch
        raise StageError(
            f"{what}: images of {resolution} px are too few, it needs {minimum}; "
            "take another student or a larger resolution"
        )


def _normalise_per_image(model: nn.Module) -> None:
    """Put a group norm with one channel per group in the place of each batch norm (the form of IDC's networks)."""
    from torch import nn

    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                channels = child.num_features
                setattr(parent, name, nn.GroupNorm(channels, channels, eps=child.eps))


def frozen(model: nn.Module) -> nn.Module:
    """The same network in eval mode, without gradients for its weights."""
    return model.eval().requires_grad_(requires_grad=False)


def placed(model: nn.Module, device: str) -> nn.Module:
    """The same network on a device, in the channels-last layout that convolutions are fastest in."""
    import torch

    return model.to(device=torch.device(device), memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def compiled(model: nn.Module, mode: str) -> Callable[..., Tensor]:
    """The network's forward pass through torch.compile in that mode; itself where the mode is empty."""
    import torch

    if not mode:
        return model
    found: Callable[..., Tensor] = torch.compile(model, mode=mode)
    return found


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
