"""Networks by name."""

from __future__ import annotations

import copy
import functools
import subprocess
import sys
from typing import NamedTuple

import pytest
import torch
from made_training import bits
from torch import nn
from torch.nn import functional

from condhpc import models
from condhpc.errors import StageError, UnknownNameError

PUBLISHED_M = {
    "alexnet": 61.10,
    "densenet121": 7.98,
    "efficientnet_b0": 5.29,
    "mobilenet_v2": 3.50,
    "resnet18": 11.69,
    "resnet50": 25.56,
    "resnet101": 44.55,
    "shufflenet_v2_x0_5": 1.37,
    "shufflenet_v2_x1_0": 2.28,
    "vit_tiny": 5.72,
}
"""Millions of parameters for 1,000 classes at 224 px: torchvision's tables, and DeiT-Ti's."""
OF_TORCHVISION = sorted(PUBLISHED_M.keys() - {"vit_tiny"})
WITHOUT_BATCH_NORM = ("alexnet", "vit_tiny")
CONSTANT_BELOW = sorted(models._MINIMUM_PX_INSTANCE.keys() - {"resnet50", "resnet101", "shufflenet_v2_x1_0"})
"""One of each kind."""
DIGITS_PX = 8


class Built(NamedTuple):
    """A network, never trained, and what its building did to global randomness."""

    arch: str
    side: int
    model: nn.Module
    random_before: torch.Tensor
    random_after: torch.Tensor


@pytest.fixture(scope="module", params=models.ARCHS)
def built(request: pytest.FixtureRequest) -> Built:
    """Each network for seven classes at 16 px, or at its smallest size."""
    arch: str = request.param
    side = max(16, models.minimum_px(arch))
    before = torch.get_rng_state()
    model = models.frozen(models.build(arch, 7, side, 5))
    return Built(arch, side, model, before, torch.get_rng_state())


def pictures(count: int, side: int) -> torch.Tensor:
    """Random images (N, 3, H, W), the same at every call."""
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1))


@functools.cache
def on_meta(arch: str, classes: int, side: int) -> nn.Module:
    """Names and shapes alone."""
    with torch.device("meta"):
        return models.build(arch, classes, side, 0)


def equal(one: nn.Module, other: nn.Module) -> bool:
    """Whether names and all weights and buffers are the same."""
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(t, second[name]) for name, t in first.items())


def test_names_without_torch() -> None:
    """Plans read the names of architectures on a login node, so importing them must not bring torch."""
    code = "import sys; from condhpc.models import ARCHS; print(*ARCHS); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    convnets = ["convnet3", "convnet4", "convnet6"]
    assert (done.returncode, sorted(done.stdout.split())) == (0, sorted([*PUBLISHED_M, *convnets, "resnetap10"]))


def test_build_is_deterministic_in_its_seed(built: Built) -> None:
    """Two condensers' students of one seed start equal, those of two seeds do not."""
    assert equal(models.build(built.arch, 7, built.side, 5), built.model)
    assert not equal(models.build(built.arch, 7, built.side, 6), built.model)


def test_build_leaves_global_randomness_alone(built: Built) -> None:
    """What is drawn after a build does not depend on which network was built."""
    assert torch.equal(built.random_before, built.random_after)


def test_logits_and_features_come_from_one_pass(built: Built) -> None:
    """Features are what the head sees: the head turns them into the very logits."""
    images_NCHW = pictures(3, built.side)
    with torch.no_grad():
        features_ND, logits_NK = models.forward_with_features(built.model, images_NCHW)
        again_ND = models.penultimate(built.model, images_NCHW)
    head = [module for module in built.model.modules() if isinstance(module, nn.Linear)][-1]
    assert logits_NK.shape == (3, 7)
    assert features_ND.shape == (3, head.in_features)
    assert torch.equal(head(features_ND), logits_NK)
    assert torch.equal(again_ND, features_ND)
    assert not torch.equal(features_ND[0], features_ND[1])


def test_channels_last_changes_the_layout_alone(built: Built) -> None:
    """Every network runs in the layout that students are trained in, with the numbers of the other layout."""
    images_NCHW = pictures(2, built.side)
    placed = models.placed(copy.deepcopy(built.model), "cpu")
    kernels = [m.weight for m in placed.modules() if isinstance(m, nn.Conv2d)]
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in kernels)
    with torch.no_grad():
        features_ND = models.penultimate(placed, images_NCHW.contiguous(memory_format=torch.channels_last))
        expected_ND = models.penultimate(built.model, images_NCHW)
    assert float((features_ND - expected_ND).abs().max()) < 1e-4 * float(expected_ND.abs().max())


@pytest.mark.parametrize("arch", models.ARCHS)
def test_two_images_of_the_smallest_size_train(arch: str) -> None:
    """On the digits maps shrink to one pixel: forward and backward still work in train mode, dropout included."""
    side = max(DIGITS_PX, models.minimum_px(arch))
    model = models.placed(models.build(arch, 10, side, 0), "cpu").train()
    logits_NK = model(pictures(2, side))
    functional.cross_entropy(logits_NK, torch.tensor([3, 8])).backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert all(g is not None and bool(g.isfinite().all()) for g in gradients.values())
    assert bool(logits_NK.isfinite().all())
    head_bias = list(gradients.values())[-1]
    assert head_bias is not None
    assert bool((head_bias[[3, 8]] < 0).all())


@pytest.mark.parametrize("arch", PUBLISHED_M)
def test_parameters_are_as_many_as_published(arch: str) -> None:
    """A network is what its name promises."""
    count = sum(parameter.numel() for parameter in on_meta(arch, 1000, 224).parameters())
    assert round(count / 1e6, 2) == PUBLISHED_M[arch]


@pytest.mark.parametrize("arch", OF_TORCHVISION)
def test_published_weights_fit_at_224_px(arch: str) -> None:
    """Names and shapes are torchvision's, one by one."""
    from torchvision.models import get_model

    with torch.device("meta"):
        theirs = get_model(arch)
    ours = on_meta(arch, 1000, 224)
    shapes = [{name: tensor.shape for name, tensor in model.state_dict().items()} for model in (ours, theirs)]
    assert shapes[0] == shapes[1]


def test_features_leave_no_hook_behind() -> None:
    """A network asked for features a thousand times is not a thousand hooks slower."""
    model = models.frozen(models.build("convnet3", 10, 8, 0))
    models.penultimate(model, torch.rand(2, 3, 8, 8))
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_a_network_without_a_linear_layer_has_no_features() -> None:
    """The error says what is missing instead of an index out of range."""
    with pytest.raises(StageError, match="Conv2d has no linear layer"):
        models.penultimate(nn.Conv2d(3, 3, 1), torch.rand(1, 3, 4, 4))


def test_resnet18_is_torchvisions_own_above_the_small_sizes() -> None:
    """At 224 px the same seed gives torchvision's network, bit by bit, and the same logits."""
    from torchvision.models import resnet18

    with torch.random.fork_rng():
        torch.manual_seed(11)
        theirs = resnet18(num_classes=5).eval()
    ours = models.build("resnet18", 5, 224, 11).eval()
    assert bits(ours) == bits(theirs)


def test_convnet3_is_three_blocks_of_128() -> None:
    """The published network: 128 channels, 2,048 features at 32 px, 320,010 parameters for ten classes."""
    model = models.build("convnet3", 10, 32, 0)
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [128, 128, 128]
    weights = 3 * 128 * 9 + 2 * 128 * 128 * 9 + 3 * 128 + 3 * 2 * 128 + 2048 * 10 + 10
    assert sum(p.numel() for p in model.parameters()) == weights


@pytest.mark.parametrize(("arch", "side", "features"), [("convnet4", 64, 2048), ("convnet6", 224, 1152)])
def test_deeper_convnets_halve_once_per_block(arch: str, side: int, features: int) -> None:
    """ConvNet-4 at 64 px and ConvNet-6 at 224 px have the literature's 128 × 4 × 4 and 128 × 3 × 3 features."""
    model = on_meta(arch, 10, side)
    assert len([m for m in model.modules() if isinstance(m, nn.Conv2d)]) == int(arch[-1])
    assert [m.in_features for m in model.modules() if isinstance(m, nn.Linear)] == [features]


@pytest.mark.parametrize(
    ("side", "patch", "tokens"), [(8, 2, 16), (16, 4, 16), (32, 4, 64), (64, 16, 16), (224, 16, 196)]
)
def test_vit_cuts_small_images_into_small_patches(side: int, patch: int, tokens: int) -> None:
    """Whatever the size, there are tokens to attend to; from 64 px up the patches are DeiT's."""
    model = on_meta("vit_tiny", 10, side)
    assert model.conv_proj.kernel_size == (patch, patch)  # type: ignore[union-attr]
    assert model.encoder.pos_embedding.shape == (1, tokens + 1, 192)  # type: ignore[union-attr]


@pytest.mark.parametrize(("side", "message"), [(30, "4 × 4 px, .* 28 or 32"), (70, "16 × 16 px, .* 64 or 80")])
def test_vit_refuses_what_its_patches_do_not_tile(side: int, message: str) -> None:
    """The error names the sizes next to it that work."""
    with pytest.raises(StageError, match=message):
        models.build("vit_tiny", 10, side, 0)
    for works in message.split("px, .* ")[1].split(" or "):
        on_meta("vit_tiny", 10, int(works))


def test_instance_norm_replaces_every_batch_norm_at_equal_weights(built: Built) -> None:
    """One seed, one start: the norm is the only difference, and running statistics are gone."""
    other = models.build(built.arch, 7, built.side, 5, norm="instance")
    norms = [m for m in other.modules() if isinstance(m, nn.GroupNorm)]
    assert not any(isinstance(m, nn.BatchNorm2d) for m in other.modules())
    assert len(norms) == len([m for m in built.model.modules() if isinstance(m, nn.BatchNorm2d)])
    assert all(n.num_groups == n.num_channels and n.affine for n in norms)
    assert bool(norms) == (built.arch not in WITHOUT_BATCH_NORM)
    before, after = built.model.state_dict(), other.state_dict()
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    assert list(after) == [name for name in before if not name.endswith(statistics)]
    assert all(torch.equal(tensor, before[name]) for name, tensor in after.items())


def test_instance_norm_is_per_image_and_channel() -> None:
    """Against the definition: zero mean and unit variance over the pixels of each channel of each image."""
    model = models.build("convnet3", 10, 8, 0, norm="instance").train()
    norm = next(m for m in model.modules() if isinstance(m, nn.GroupNorm))
    maps_NCHW = 3 + 2 * torch.randn(4, 128, 6, 6)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2.0)
        norm.bias.uniform_(-1.0, 1.0)
        found_NCHW = norm(maps_NCHW)
    centred_NCHW = maps_NCHW - maps_NCHW.mean(dim=(2, 3), keepdim=True)
    unit_NCHW = centred_NCHW / (centred_NCHW.square().mean(dim=(2, 3), keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(found_NCHW, unit_NCHW * norm.weight[:, None, None] + norm.bias[:, None, None])


def spread(model: nn.Module, side: int) -> float:
    """How far the logits of three images lie apart, in doubles, because norms of constant maps blow rounding up."""
    with torch.no_grad():
        return float(model.eval().double()(pictures(3, side).double()).std(dim=0).max())


@pytest.mark.parametrize("arch", CONSTANT_BELOW)
def test_instance_norm_needs_more_than_one_pixel(arch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where maps shrink to one pixel every image gets the same logits, so that size is refused and the next is not."""
    minimum = models._MINIMUM_PX_INSTANCE[arch]
    assert spread(models.build(arch, 10, minimum, 0, norm="instance"), minimum) > 1e-4
    with pytest.raises(StageError, match=f"{arch} with instance norm: .* {minimum - 1} px are too few.* {minimum};"):
        models.build(arch, 10, minimum - 1, 0, norm="instance")
    monkeypatch.setattr(models, "_MINIMUM_PX_INSTANCE", {})
    assert spread(models.build(arch, 10, minimum - 1, 0, norm="instance"), minimum - 1) < 1e-6


def test_unknown_architecture_names_the_nearest() -> None:
    """A typing error is answered with what was probably meant."""
    with pytest.raises(UnknownNameError, match="no architecture 'resnet81'; did you mean 'resnet18'"):
        models.build("resnet81", 10, 32, 0)


@pytest.mark.parametrize("arch", models._MINIMUM_PX)
def test_too_few_pixels_are_refused_with_the_minimum(arch: str) -> None:
    """The error names the size, and what the network needs."""
    minimum = models._MINIMUM_PX[arch]
    with pytest.raises(StageError, match=f"{arch}: images of {minimum - 1} px are too few, it needs {minimum};"):
        models.build(arch, 10, minimum - 1, 0)


@pytest.mark.parametrize("arch", ["alexnet", "densenet121", "resnetap10"])
def test_no_size_is_refused_that_would_work(arch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One pixel less than the minimum leaves a pooling without input."""
    side = models._MINIMUM_PX[arch] - 1
    monkeypatch.setattr(models, "_MINIMUM_PX", {})
    model = on_meta(arch, 10, side)
    with pytest.raises(RuntimeError, match="utput size is too small"):
        model(torch.rand(2, 3, side, side, device="meta"))


def test_frozen_takes_no_gradients_and_keeps_its_statistics() -> None:
    """A teacher is not changed by being asked."""
    model = models.frozen(models.build("convnet3", 10, 8, 0))
    before = bits(model)
    model(torch.rand(4, 3, 8, 8))
    assert bits(model) == before
    assert not any(p.requires_grad for p in model.parameters())
