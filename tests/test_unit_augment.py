"""Crops, mirrors and rolls of units against torchvision; curricula at their ends."""

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as transforms

from condhpc import rng, unit_augment
from condhpc.unit_augment import UnitDraws, scale_curriculum

SIDE = 20


def draws(count: int, steps: int = 12) -> list[UnitDraws]:
    """Of several units."""
    scales = scale_curriculum("none", steps, 0.08, 1.0)
    streams = [rng.stream(0, "crops", unit) for unit in range(count)]
    return [unit_augment.draw(stream, SIDE, scales, flip=True, roll_px=3) for stream in streams]


def by_torchvision(image: torch.Tensor, unit: UnitDraws, step: int) -> torch.Tensor:
    """One image (3, R, R): antialiased crop, mirror, roll."""
    cropped = transforms.resized_crop(image, *unit.boxes_S4[step].tolist(), [SIDE, SIDE], antialias=True)
    mirrored = transforms.horizontal_flip(cropped) if unit.flips_S[step] else cropped
    return torch.roll(mirrored, tuple(unit.rolls_S2[step].tolist()), (1, 2))


def test_agrees_with_torchvision_and_so_does_its_gradient() -> None:
    """At every step each image is cropped, mirrored and rolled as its unit says."""
    units = draws(3)
    unit_N = torch.tensor([0, 0, 1, 2])
    images = torch.randn(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0), requires_grad=True)
    weights = torch.randn(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    for step in range(12):
        sources = torch.from_numpy(unit_augment.sources(units, step, SIDE))
        found = unit_augment.apply(images, sources, unit_N)
        whole = zip(images, unit_N, strict=True)
        expected = torch.stack([by_torchvision(image, units[int(unit)], step) for image, unit in whole])
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
        (found_gradient,) = torch.autograd.grad((found * weights).sum(), images)
        (expected_gradient,) = torch.autograd.grad((expected * weights).sum(), images)
        torch.testing.assert_close(found_gradient, expected_gradient, rtol=1e-4, atol=1e-4)


def test_without_augmentation_images_stay() -> None:
    """Whole boxes, no mirror, no roll: the identity."""
    unit = unit_augment.draw(rng.stream(0), SIDE, np.ones(2), flip=False, roll_px=0)
    images = torch.randn(2, 3, SIDE, SIDE)
    sources = torch.from_numpy(unit_augment.sources([unit], 1, SIDE))
    whole = unit.boxes_S4[:, 2:] == SIDE
    assert whole[1].all()
    torch.testing.assert_close(unit_augment.apply(images, sources, torch.tensor([0, 0])), images)


@pytest.mark.parametrize(
    ("kind", "milestone", "expected"),
    [
        ("none", 1.0, [0.08, 0.08, 0.08, 0.08, 0.08]),
        ("cosine", 1.0, [1.0, 0.92 * (1 + 0.5**0.5) / 2 + 0.08, 0.54, 0.92 * (1 - 0.5**0.5) / 2 + 0.08, 0.08]),
        ("cosine", 0.5, [1.0, 0.54, 0.08, 0.08, 0.08]),
        ("linear", 1.0, [1.0, 0.77, 0.54, 0.31, 0.08]),
        ("step", 0.5, [1.0, 1.0, 0.08, 0.08, 0.08]),
        ("step", 0.0, [0.08, 0.08, 0.08, 0.08, 0.08]),
    ],
)
def test_curricula(kind: unit_augment.Curriculum, milestone: float, expected: list[float]) -> None:
    """At the start, the quarters and the end of a long run."""
    found = scale_curriculum(kind, 4000, 0.08, milestone)
    assert found[[0, 1000, 2000, 3000, 3999]] == pytest.approx(expected, abs=1e-3)


def test_crops_follow_the_curriculum() -> None:
    """Early boxes are large, late ones any down to the smallest share; rolls reach their limit and not beyond."""
    scales = scale_curriculum("cosine", 2000, 0.08, 1.0)
    unit = unit_augment.draw(rng.stream(0), 64, scales, flip=True, roll_px=3)
    share = unit.boxes_S4[:, 2] * unit.boxes_S4[:, 3] / 64**2
    assert (share >= scales - 0.03).all()
    assert share[:100].mean() > 0.95
    assert share[-200:].min() < 0.15
    assert unit.flips_S.mean() == pytest.approx(0.5, abs=0.05)
    assert sorted(set(unit.rolls_S2.ravel().tolist())) == [0, 1, 2, 3]
