"""ResNetAP-10."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from condhpc import models
from condhpc.resnet_ap import ResNetAP10


def by_definition(weights: dict[str, Tensor], images_NCHW: Tensor, stem_pool: int) -> Tensor:
    """Logits (N, K) in eval mode, from bare operations and a state dict in order of definition."""
    names = iter([name.removesuffix(".weight") for name in weights if name.endswith(".weight")])

    def convolved(x: Tensor) -> Tensor:
        conv, norm = next(names), next(names)
        x = functional.conv2d(x, weights[f"{conv}.weight"], padding=weights[f"{conv}.weight"].shape[-1] // 2)
        mean, var = weights[f"{norm}.running_mean"], weights[f"{norm}.running_var"]
        return functional.batch_norm(x, mean, var, weights[f"{norm}.weight"], weights[f"{norm}.bias"])

    x = functional.avg_pool2d(functional.relu(convolved(images_NCHW)), stem_pool)
    for pool in (1, 2, 2, 2):
        inner = convolved(functional.avg_pool2d(functional.relu(convolved(x)), pool))
        # Pooling and a 1 × 1 convolution commute, as do pooling and the norm: here the input is pooled first.
        shortcut = x if pool == 1 else convolved(functional.avg_pool2d(x, pool))
        x = functional.relu(inner + shortcut)
    head = next(names)
    assert next(names, None) is None
    return functional.linear(x.mean(dim=(2, 3)), weights[f"{head}.weight"], weights[f"{head}.bias"])


@pytest.mark.parametrize(("side", "stem_pool"), [(32, 1), (96, 2), (160, 4)])
def test_logits_are_those_of_the_definition(side: int, stem_pool: int) -> None:
    """Average pooling stands where a ResNet has strides: behind the first convolution, and in the shortcut."""
    generator = torch.Generator().manual_seed(3)
    model = models.build("resnetap10", 10, side, 0).eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(std=0.1, generator=generator)  # type: ignore[union-attr]
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.bias.normal_(std=0.1, generator=generator)
        images_NCHW = torch.rand(2, 3, side, side, generator=generator)
        expected_NK = by_definition(model.state_dict(), images_NCHW, stem_pool)
        torch.testing.assert_close(model(images_NCHW), expected_NK, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("side", "kernel", "map_side"), [(64, 3, 64), (65, 3, 32), (128, 3, 64), (129, 7, 32), (224, 7, 56)]
)
def test_idcs_three_stems(side: int, kernel: int, map_side: int) -> None:
    """Up to 64 px nothing is pooled before the first block, up to 128 px half, above three quarters of a side."""
    with torch.device("meta"):
        model = ResNetAP10(10, side)
        maps_NCHW = model.stem(torch.rand(2, 3, side, side))
    assert maps_NCHW.shape == (2, 64, map_side, map_side)
    assert next(model.parameters()).shape == (64, 3, kernel, kernel)


def test_parameters_are_those_of_ten_layers() -> None:
    """Nine 3 × 3 or stem convolutions with 1 × 1 shortcuts, their norms, and a linear layer; no other biases."""
    convolutions = 7 * 7 * 3 * 64 + 2 * 9 * 64 * 64
    norms = 64 + 2 * 64
    for before, after in ((64, 128), (128, 256), (256, 512)):
        convolutions += 9 * before * after + 9 * after * after + before * after
        norms += 3 * after
    with torch.device("meta"):
        model = ResNetAP10(10, 224)
    assert sum(p.numel() for p in model.parameters()) == convolutions + 2 * norms + 512 * 10 + 10


def test_convolutions_start_as_idcs_do() -> None:
    """Normal with variance 2 / (k² · channels out)."""
    model = ResNetAP10(10, 32)
    for weight in (m.weight.detach() for m in model.modules() if isinstance(m, nn.Conv2d)):
        expected = (2 / (weight.shape[2] * weight.shape[3] * weight.shape[0])) ** 0.5
        assert float(weight.std()) == pytest.approx(expected, rel=0.08)
