"""The cost model: its networks against counted arithmetic, its seconds against what papers publish."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from condhpc import models
from condhpc.cost_model import (
    FORWARD,
    GPUS,
    MATCHED,
    MATCHED_CONVOLUTIONS,
    REFERENCE,
    TO_PIXELS,
    TRAINED,
    Effort,
    Passes,
    Sources,
    gpu_named,
    network,
    transformer,
)
from condhpc.spec import Precision

RTX_4090 = next(gpu for gpu in GPUS if gpu.name == "4090")
FOUR = ("resnet18", "mobilenet_v2", "efficientnet_b0", "shufflenet_v2_x0_5")
CVDD = ("resnet18", "resnet50", "shufflenet_v2_x1_0", "mobilenet_v2", "densenet121")
FADRM = ("resnet18", "densenet121", "shufflenet_v2_x1_0", "mobilenet_v2")
RESNET18 = network("resnet18")


@pytest.mark.parametrize(
    ("arch", "side"),
    [(arch, side) for arch in models.ARCHS for side in (32, 224) if side >= models.minimum_px(arch)],
)
def test_multiply_adds_are_those_that_torch_counts(arch: str, side: int) -> None:
    """Below and above the small stems, within 10 %."""
    known = network(arch)
    assert known is not None
    with torch.device("meta"):
        model = models.ARCHS[arch](10, side).eval()
        images = torch.zeros(1, 3, side, side)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(images)
    assert known.gmac(side) == pytest.approx(counter.get_total_flops() / 2e9, rel=0.1)
    assert known.layers == sum(not list(module.children()) for module in model.modules())


def test_every_architecture_is_known() -> None:
    """A student without a prediction would leave a hole in every plan."""
    assert [arch for arch in models.ARCHS if network(arch) is None] == []
    assert network("vit_base_patch14_dinov2.lvd142m") is None


def test_the_largest_dit_has_its_published_arithmetic() -> None:
    """DiT-XL/2 at 256 px: latents of 32 px, 118.6 GMAC with attention and embeddings."""
    assert transformer(width=1152, depth=28, patch=2).gmac(32) == pytest.approx(118.6, rel=0.1)


def _recovery_s(archs: tuple[str, ...], iterations: float, batch: int, precision: Precision, each: float) -> float:
    """Seconds per image of ImageNet-1K at ipc 10 on an RTX 4090."""
    effort = Sources({"backbones": archs}, 1_281_167).recovery("backbones", 224, 10_000, iterations, batch, each)
    assert effort is not None
    return effort.seconds(RTX_4090, precision, threads=8) / 10_000


@pytest.mark.parametrize(
    ("archs", "iterations", "batch", "precision", "each", "published_s"),
    [
        pytest.param(("resnet18",), 4000, 100, "fp32", MATCHED, 2.3, id="sre2l"),
        pytest.param(("resnet18",), 2550, 100, "fp32", MATCHED, 1.5, id="delt, 2.5 min per 100 images"),
        pytest.param(CVDD, 8000, 100, "fp32", MATCHED, 8.20, id="cv-dd, two models an iteration"),
        pytest.param(("resnet18",), 2000, 100, "bf16", MATCHED, 0.47, id="fadrm"),
        pytest.param(FADRM, 2000, 100, "bf16", MATCHED, 1.09, id="fadrm+"),
        pytest.param(FOUR, 4000, 80, "fp32", MATCHED_CONVOLUTIONS, 17.28, id="g-vbsm"),
        pytest.param((*FOUR, "alexnet"), 1000, 80, "fp32", MATCHED_CONVOLUTIONS, 4.99, id="edc"),
    ],
)
def test_recovery_takes_what_papers_publish(
    archs: tuple[str, ...], iterations: int, batch: int, precision: Precision, each: float, published_s: float
) -> None:
    """Seconds per image on an RTX 4090, within a factor of two of published ones."""
    assert published_s / 2 < _recovery_s(archs, iterations, batch, precision, each) < published_s * 2


def test_scoring_takes_what_rded_publishes() -> None:
    """7 minutes for ImageNet-1K at ipc 10 on an RTX 4090 with four loader processes, within a factor of two."""
    passes = Sources({"observer": ("resnet18",)}, 1_281_167).passes("observer", 224, 1_500_000, 6000, FORWARD)
    assert passes is not None
    minutes = Effort(passes, 300_000, 224).seconds(RTX_4090, "fp32", threads=4) / 60
    assert 3.5 < minutes < 14


def test_fine_tuning_takes_what_minimax_is_said_to() -> None:
    """About an hour for ten classes: 12,000 steps of 8 latents through DiT-XL/2, within a factor of three."""
    passes = Passes(transformer(width=1152, depth=28, patch=2), 32, 96_000, 12_000, TRAINED)
    assert 1 / 3 < passes.seconds(RTX_4090, "fp32") / 3600 < 3


def test_a_resnet18_trains_at_the_rate_that_the_table_scales_to() -> None:
    """3,482 images/s on an RTX 3090 are 12,400 on an H100 by memory bandwidth."""
    assert RESNET18 is not None
    seconds = Passes(RESNET18, 224, 1e6, 1e3, TRAINED).seconds(REFERENCE, "bf16")
    assert 1e6 / seconds == pytest.approx(12_460, rel=0.02)


def test_small_batches_cost_their_launches() -> None:
    """300 steps of one image are not 32 times faster than of 32; images through a full batch are."""
    assert RESNET18 is not None
    one, many = (Passes(RESNET18, 32, 300 * batch, 300, TRAINED).seconds(REFERENCE, "bf16") for batch in (1, 32))
    assert one == many
    large = [Passes(RESNET18, 224, images, 10, TO_PIXELS).seconds(REFERENCE, "bf16") for images in (1e5, 2e5)]
    assert large[1] == pytest.approx(2 * large[0])


@given(
    st.sampled_from(sorted(models.ARCHS)),
    st.sampled_from([32, 224]),
    st.sampled_from([gpu for gpu in GPUS if gpu.name in {"H100", "A100", "4090"}]),
)
def test_single_precision_and_older_gpus_are_never_faster(arch: str, side: int, gpu: object) -> None:
    """What a calibration cannot mend: the order."""
    known = network(arch)
    assert known is not None
    assert isinstance(gpu, type(REFERENCE))
    assert known.pass_s(side, gpu, "fp32") > known.pass_s(side, gpu, "bf16") >= known.pass_s(side, REFERENCE, "bf16")


def test_files_are_decoded_beside_the_gpu() -> None:
    """The slower of both counts, more threads decode faster, and small files take less."""
    slow, fast = (Effort((), 500_000, 224).seconds(REFERENCE, "bf16", threads) for threads in (1, 10))
    assert (slow, fast) == (pytest.approx(1003), pytest.approx(103))
    assert Effort((), 500_000, 32).seconds(REFERENCE, "bf16", 1) == pytest.approx(53)
    assert RESNET18 is not None
    passes = Passes(RESNET18, 224, 1e8, 1e5, TRAINED)
    alone, both = (Effort((passes,), files, 224).seconds(REFERENCE, "bf16", 8) for files in (0, 1000))
    assert alone == both


def test_teachers_that_nobody_knows_leave_no_prediction() -> None:
    """One of a role, or a role without teachers."""
    sources = Sources({"a": ("resnet18", ""), "b": ("resnet18",)}, 100)
    assert sources.passes("a", 32, 10, 1, FORWARD) is None
    assert sources.passes("c", 32, 10, 1, FORWARD) is None
    assert sources.recovery("a", 32, 10, 1, 1) is None
    assert sources.recovery("b", 32, 10, 1, 1) is not None


def test_teachers_that_take_turns_share_the_iterations() -> None:
    """Two of a kind cost what one does."""
    one, two = (Sources({"b": ("resnet18",) * n}, 100).recovery("b", 224, 100, 400, 100) for n in (1, 2))
    assert one is not None
    assert two is not None
    assert one.work_s("fp32") == pytest.approx(two.work_s("fp32"))


def test_gpus_are_known_by_what_slurm_and_cuda_call_them() -> None:
    """Part of the name, in any case."""
    names = ("h100", "NVIDIA H100 80GB HBM3", "NVIDIA GeForce RTX 4090", "a100", "tpu")
    assert [gpu and gpu.name for gpu in map(gpu_named, names)] == ["H100", "H100", "4090", "A100", None]
