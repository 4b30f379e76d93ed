"""Networks by name."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from made_training import bits
from torch import nn

from condhpc import models
from condhpc.errors import StageError, UnknownNameError


def test_names_without_torch() -> None:
    """Plans read the names of architectures on a login node, so importing them must not bring torch."""
    code = "import sys; from condhpc.models import ARCHS; print(*ARCHS); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "convnet3 resnet18\n")


@pytest.mark.parametrize("arch", models.ARCHS)
def test_build_is_deterministic_in_its_seed(arch: str) -> None:
    """Two condensers' students of one seed start equal, those of two seeds do not."""
    assert bits(models.build(arch, 10, 32, 5)) == bits(models.build(arch, 10, 32, 5))
    assert bits(models.build(arch, 10, 32, 5)) != bits(models.build(arch, 10, 32, 6))


def test_build_leaves_global_randomness_alone() -> None:
    """What is drawn after a build does not depend on which network was built."""
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    models.build("convnet3", 10, 8, 1)
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.parametrize("arch", models.ARCHS)
@pytest.mark.parametrize("resolution", [8, 32, 64])
def test_logits_and_features_come_from_one_pass(arch: str, resolution: int) -> None:
    """Features are what the head sees: the head turns them into the very logits."""
    model = models.frozen(models.build(arch, 7, resolution, 0))
    images_NCHW = torch.rand(3, 3, resolution, resolution)
    features_ND, logits_NK = models.forward_with_features(model, images_NCHW)
    head = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    assert logits_NK.shape == (3, 7)
    assert features_ND.shape == (3, head.in_features)
    assert torch.equal(head(features_ND), logits_NK)
    assert torch.equal(models.penultimate(model, images_NCHW), features_ND)


def test_features_leave_no_hook_behind() -> None:
    """A network asked for features a thousand times is not a thousand hooks slower."""
    model = models.frozen(models.build("convnet3", 10, 8, 0))
    models.penultimate(model, torch.rand(2, 3, 8, 8))
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_a_network_without_a_linear_layer_has_no_features() -> None:
    """The error says what is missing instead of an index out of range."""
    with pytest.raises(StageError, match="Conv2d has no linear layer"):
        models.penultimate(nn.Conv2d(3, 3, 1), torch.rand(1, 3, 4, 4))


@pytest.mark.parametrize("resolution", [32, 224])
def test_resnet18_keeps_torchvisions_names(resolution: int) -> None:
    """Published weights load by name, whatever the stem."""
    from torchvision.models import resnet18

    model = models.build("resnet18", 1000, resolution, 0)
    assert list(model.state_dict()) == list(resnet18().state_dict())


def test_resnet18_is_torchvisions_own_above_the_small_sizes() -> None:
    """At 224 px the same seed gives torchvision's network, bit by bit, and the same logits."""
    from torchvision.models import resnet18

    with torch.random.fork_rng():
        torch.manual_seed(11)
        theirs = resnet18(num_classes=5).eval()
    ours = models.build("resnet18", 5, 224, 11).eval()
    assert bits(ours) == bits(theirs)


def test_resnet18_has_a_small_stem_for_small_images() -> None:
    """Below 64 px nothing is lost before the first block: stride 1, no max-pooling."""
    small, large = (models.build("resnet18", 10, side, 0) for side in (63, 64))
    assert (small.conv1.kernel_size, small.conv1.stride, large.conv1.stride) == ((3, 3), (1, 1), (2, 2))
    assert (type(small.maxpool), type(large.maxpool)) == (nn.Identity, nn.MaxPool2d)


def test_convnet3_is_three_blocks_of_128() -> None:
    """The published network: 128 channels, 2,048 features at 32 px, 320,010 parameters for ten classes."""
    model = models.build("convnet3", 10, 32, 0)
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [128, 128, 128]
    weights = 3 * 128 * 9 + 2 * 128 * 128 * 9 + 3 * 128 + 3 * 2 * 128 + 2048 * 10 + 10
    assert sum(p.numel() for p in model.parameters()) == weights


def test_unknown_architecture_names_the_nearest() -> None:
    """A typing error is answered with what was probably meant."""
    with pytest.raises(UnknownNameError, match="no architecture 'resnet81'; did you mean 'resnet18'"):
        models.build("resnet81", 10, 32, 0)


def test_convnet3_refuses_too_few_pixels() -> None:
    """Three halvings of 7 px leave nothing to classify."""
    with pytest.raises(StageError, match="7 px are too few, it needs 8"):
        models.build("convnet3", 10, 7, 0)


def test_frozen_takes_no_gradients_and_keeps_its_statistics() -> None:
    """A teacher is not changed by being asked."""
    model = models.frozen(models.build("convnet3", 10, 8, 0))
    before = bits(model)
    model(torch.rand(4, 3, 8, 8))
    assert bits(model) == before
    assert not any(p.requires_grad for p in model.parameters())
