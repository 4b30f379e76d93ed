"""Stems for small images."""

from __future__ import annotations

import functools
import math

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import get_model

from condhpc import models, small_stems

REPLACED = {"alexnet": "features.0", "densenet121": "features.conv0", "resnet18": "conv1", "resnet50": "conv1"}
"""Networks whose first convolution has another size in the small stem."""
KEPT = sorted(small_stems.REFIT.keys() - REPLACED.keys() - {"resnet101"})


@functools.cache
def on_meta(arch: str, side: int) -> nn.Module:
    """Names and shapes alone."""
    with torch.device("meta"):
        return models.build(arch, 10, side, 0).eval()


@functools.cache
def torchvisions(arch: str) -> nn.Module:
    """The network as it comes."""
    with torch.device("meta"):
        model: nn.Module = get_model(arch, num_classes=10)
    return model


def maps(model: nn.Module, side: int) -> list[tuple[int, ...]]:
    """(H, W) behind each convolution and pooling, in the order of the forward pass."""
    found: list[tuple[int, ...]] = []

    def note(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        found.append(tuple(output.shape[2:]))

    watched = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.MaxPool2d)]
    hooks = [module.register_forward_hook(note) for module in watched]
    model(torch.rand(2, 3, side, side, device="meta"))
    for hook in hooks:
        hook.remove()
    return [size for size in found if size != (1, 1)]  # without the squeezes of EfficientNet


def first_convolution(model: nn.Module) -> nn.Conv2d:
    """The convolution that sees the image."""
    return next(module for module in model.modules() if isinstance(module, nn.Conv2d))


def test_every_torchvision_network_has_a_stem() -> None:
    """No network meets 32 px images with a stem for 224."""
    own = {"convnet3", "convnet4", "convnet6", "resnetap10", "vit_tiny"}
    assert small_stems.REFIT.keys() == models.ARCHS.keys() - own


@pytest.mark.parametrize("arch", small_stems.REFIT)
def test_names_stay_torchvisions(arch: str) -> None:
    """All but the first convolution of published weights fits by name and shape, whatever the stem."""
    ours, theirs = on_meta(arch, 32).state_dict(), torchvisions(arch).state_dict()
    assert list(ours) == list(theirs)
    stem = REPLACED.get(arch, "conv1" if arch == "resnet101" else None)
    assert [name for name in ours if ours[name].shape != theirs[name].shape] == ([f"{stem}.weight"] if stem else [])


@pytest.mark.parametrize("arch", small_stems.REFIT)
def test_small_images_keep_a_map(arch: str) -> None:
    """Nothing is lost before the first block (ShuffleNet's halves by itself), and of 32 px four by four remain."""
    sides = maps(on_meta(arch, 32), 32)
    assert sides[:2] == [(32, 32), (16, 16) if arch.startswith("shufflenet") else (32, 32)]
    assert sides[-1] == ((7, 7) if arch == "alexnet" else (4, 4))


@pytest.mark.parametrize("arch", small_stems.REFIT)
def test_the_small_stem_is_3_by_3_with_stride_1(arch: str) -> None:
    """As wide as torchvision's, and with a bias where that has one."""
    small, theirs = first_convolution(on_meta(arch, 32)), first_convolution(torchvisions(arch))
    assert (small.kernel_size, small.stride, small.padding) == ((3, 3), (1, 1), (1, 1))
    assert (small.out_channels, small.bias is None) == (theirs.out_channels, theirs.bias is None)


@pytest.mark.parametrize("arch", ["resnet18", "mobilenet_v2"])
def test_the_small_stem_ends_below_64_px(arch: str) -> None:
    """63 px have it, 64 px have torchvision's; for ResNet with its pooling."""
    small, large, theirs = on_meta(arch, 63), on_meta(arch, 64), torchvisions(arch)
    assert first_convolution(small).stride == (1, 1)
    assert str(large) == str(theirs)
    assert str(small) != str(theirs)


@pytest.mark.parametrize("arch", KEPT)
def test_a_stem_that_is_3_by_3_already_keeps_its_weights(arch: str) -> None:
    """Only strides change, so one seed gives the same weights at all sizes."""
    small, large = (models.build(arch, 10, side, 3).state_dict() for side in (32, 224))
    assert all(torch.equal(small[name], large[name]) for name in large)


@pytest.mark.parametrize(
    ("arch", "std"),
    [
        ("resnet18", math.sqrt(2 / (9 * 64))),  # He normal by fan-out
        ("densenet121", math.sqrt(2 / (9 * 3))),  # He normal by fan-in
        ("alexnet", 1 / math.sqrt(9 * 3) / math.sqrt(3)),  # uniform up to 1/√fan-in
    ],
)
def test_a_replaced_stem_follows_its_networks_rule(arch: str, std: float) -> None:
    """1,728 weights show their standard deviation to a few percent."""
    weight = first_convolution(models.build(arch, 10, 32, 0)).weight.detach()
    assert weight.shape == (64, 3, 3, 3)
    assert float(weight.std()) == pytest.approx(std, rel=0.08)
    assert abs(float(weight.mean())) < 0.1 * std
