"""RandAugment compared with Pillow's functions, which timm calls, and with timm's scale of magnitudes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from made_images import noise, pictures
from PIL import Image, ImageEnhance, ImageOps

from condhpc import randaugment, rng
from condhpc.randaugment import NOTHING, OPERATIONS, Operations
from condhpc.spec import RandAugment

SIDE = 32
FILL = (124, 116, 104)
DELT = RandAugment(operations=2, magnitude=6.0, magnitude_std=1.0)
KINDS = {name: kind for kind, name in enumerate(OPERATIONS)}


def moved(image: Image.Image, *matrix: float) -> Image.Image:
    """Pillow's affine transform."""
    return image.transform(
        image.size, Image.Transform.AFFINE, matrix, resample=Image.Resampling.BILINEAR, fillcolor=FILL
    )


def solarized_add(image: Image.Image, added: float) -> Image.Image:
    """Levels below 128 raised."""
    return image.point([min(255, level + int(added)) if level < 128 else level for level in range(256)] * 3)


PILLOW: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "AutoContrast": lambda i, _: ImageOps.autocontrast(i),
    "Equalize": lambda i, _: ImageOps.equalize(i),
    "Invert": lambda i, _: ImageOps.invert(i),
    "Rotate": lambda i, v: i.rotate(v, resample=Image.Resampling.BILINEAR, fillcolor=FILL),
    "Posterize": lambda i, v: ImageOps.posterize(i, int(v)),
    "Solarize": lambda i, v: ImageOps.solarize(i, int(v)),
    "SolarizeAdd": solarized_add,
    "Color": lambda i, v: ImageEnhance.Color(i).enhance(v),
    "Contrast": lambda i, v: ImageEnhance.Contrast(i).enhance(v),
    "Brightness": lambda i, v: ImageEnhance.Brightness(i).enhance(v),
    "Sharpness": lambda i, v: ImageEnhance.Sharpness(i).enhance(v),
    "ShearX": lambda i, v: moved(i, 1, v, 0, 0, 1, 0),
    "ShearY": lambda i, v: moved(i, 1, 0, 0, v, 1, 0),
    "TranslateXRel": lambda i, v: moved(i, 1, 0, v * i.size[0], 0, 1, 0),
    "TranslateYRel": lambda i, v: moved(i, 1, 0, 0, 0, 1, v * i.size[1]),
}
RESAMPLED = {"Rotate", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel"}

SCALE: dict[str, tuple[float, float, float]] = {
    "AutoContrast": (0, 0, 0),
    "Equalize": (0, 0, 0),
    "Invert": (0, 0, 0),
    "Rotate": (0, 18, 30),
    "Posterize": (0, 2, 4),
    "Solarize": (0, 153, 256),
    "SolarizeAdd": (0, 66, 110),
    "Color": (0.1, 1.18, 1.9),
    "Contrast": (0.1, 1.18, 1.9),
    "Brightness": (0.1, 1.18, 1.9),
    "Sharpness": (0.1, 1.18, 1.9),
    "ShearX": (0, 0.18, 0.3),
    "ShearY": (0, 0.18, 0.3),
    "TranslateXRel": (0, 0.27, 0.45),
    "TranslateYRel": (0, 0.27, 0.45),
}
"""timm's arguments at magnitudes 0, 6 and 10, up to the sign."""


def images() -> torch.Tensor:
    """Noise and pictures (N, C, H, W), channels last in memory."""
    return torch.cat([noise(3, SIDE), pictures(5, SIDE)]).permute(0, 3, 1, 2)


def one_layer(kinds: list[int], arguments: list[float]) -> Operations:
    """The same for one layer."""
    return Operations(np.array([kinds]), np.array([arguments], dtype=np.float64))


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_are_those_that_timm_calls(name: str) -> None:
    """On arguments of magnitudes 3 to 10, of both signs: Pillow's pixels; where resampled, to one grey level."""
    images_NCHW = images()
    strength_n = np.linspace(0.3, 1.0, len(images_NCHW))
    sign_n = np.where(np.arange(len(images_NCHW)) % 2, -1.0, 1.0)
    argument_n = OPERATIONS[name].argument(strength_n, sign_n)
    drawn = one_layer([KINDS[name]] * len(images_NCHW), argument_n.tolist())
    found = randaugment.apply(images_NCHW, drawn, FILL).permute(0, 2, 3, 1).numpy()
    changed = 0
    for row, image in enumerate(images_NCHW.permute(0, 2, 3, 1).numpy()):
        expected = np.array(PILLOW[name](Image.fromarray(image), float(argument_n[row])))
        difference = np.abs(found[row].astype(int) - expected)
        assert difference.max() <= (1 if name in RESAMPLED else 0), row
        assert (difference > 0).mean() < 0.1, row  # Pillow cuts 99.999… to 99 where 100 is exact
        changed += not np.array_equal(expected, image)
    assert changed >= 4


@pytest.mark.parametrize("name", SCALE)
def test_magnitudes_have_timms_scale(name: str) -> None:
    """Magnitudes 0, 6 and 10 mean what they mean in timm's standard set, and a negative sign only mirrors."""
    strength = np.array([0.0, 0.6, 1.0])
    assert OPERATIONS[name].argument(strength, np.ones(3)) == pytest.approx(SCALE[name])
    assert np.abs(OPERATIONS[name].argument(strength, -np.ones(3))) == pytest.approx(SCALE[name])


def test_there_are_timms_fifteen_operations() -> None:
    """No more, no fewer, each with an oracle here."""
    assert set(OPERATIONS) == set(PILLOW) == set(SCALE)
    assert len(OPERATIONS) == 15


def test_operations_are_drawn_evenly_and_half_are_applied() -> None:
    """Uniform over the fifteen, with replacement between layers, and applied with probability one half."""
    count = 30_000
    kind_LN = randaugment.draw(DELT, count, rng.stream(0, "kinds")).kind_LN
    applied = kind_LN != NOTHING
    assert applied.mean() == pytest.approx(0.5, abs=5 * np.sqrt(0.25 / (2 * count)))
    shares = np.bincount(kind_LN[applied], minlength=15) / applied.sum()
    assert shares == pytest.approx(1 / 15, abs=5 * np.sqrt(1 / 15 / applied.sum()))
    both = applied.all(axis=0)
    repeated = (kind_LN[0] == kind_LN[1])[both].mean()
    assert repeated == pytest.approx(1 / 15, abs=5 * np.sqrt(1 / 15 / both.sum()))


def test_magnitudes_are_normal_and_cut() -> None:
    """m6-mstd1: colour factors have the mean and deviation of a normal around 6, signs are fair, 0..10 is kept."""
    drawn = randaugment.draw(DELT, 60_000, rng.stream(0, "magnitudes"))
    factors = drawn.argument_LN[drawn.kind_LN == KINDS["Color"]]
    assert factors.mean() == pytest.approx(6 * 0.18 + 0.1, abs=5 * 0.18 / np.sqrt(len(factors)))
    assert factors.std() == pytest.approx(0.18, rel=0.05)
    degrees = drawn.argument_LN[drawn.kind_LN == KINDS["Rotate"]]
    assert (degrees > 0).mean() == pytest.approx(0.5, abs=5 * np.sqrt(0.25 / len(degrees)))
    wide = randaugment.draw(
        RandAugment(operations=1, magnitude=5.0, magnitude_std=20.0, probability=1.0), 4000, rng.stream(0, "wide")
    )
    shears = wide.argument_LN[wide.kind_LN == KINDS["ShearX"]]
    assert np.abs(shears).max() == pytest.approx(0.3)
    assert np.abs(shears).min() == 0.0


def test_an_image_does_not_depend_on_its_neighbours() -> None:
    """In a batch and alone, an image becomes the same."""
    images_NCHW = torch.cat([noise(30, 16), pictures(30, 16)]).permute(0, 3, 1, 2)
    rule = RandAugment(operations=3, magnitude=6.0, magnitude_std=2.0, probability=0.9)
    drawn = randaugment.draw(rule, 60, rng.stream(0, "neighbours"))
    together = randaugment.apply(images_NCHW, drawn, FILL)
    for row in range(60):
        own = Operations(drawn.kind_LN[:, row : row + 1], drawn.argument_LN[:, row : row + 1])
        assert torch.equal(randaugment.apply(images_NCHW[row : row + 1], own, FILL)[0], together[row])


def test_layers_follow_each_other() -> None:
    """Two layers are the first and then the second, which do not commute; what is not applied changes nothing."""
    images_NCHW = noise(2, 8).permute(0, 3, 1, 2)
    first, second = one_layer([KINDS["Invert"], NOTHING], [0, 0]), one_layer([KINDS["Posterize"], NOTHING], [0, 2])
    both = Operations(np.concatenate([first.kind_LN, second.kind_LN]), np.zeros((2, 2)))
    found = randaugment.apply(images_NCHW, both, FILL)
    assert torch.equal(found, randaugment.apply(randaugment.apply(images_NCHW, first, FILL), second, FILL))
    assert not torch.equal(found[0], randaugment.apply(randaugment.apply(images_NCHW, second, FILL), first, FILL)[0])
    assert torch.equal(found[1], images_NCHW[1])


def test_the_stored_images_stay() -> None:
    """What comes in is not written to, since the set is read again in the next epoch."""
    images_NCHW = noise(15, 8).permute(0, 3, 1, 2)
    before = images_NCHW.clone()
    randaugment.apply(images_NCHW, one_layer(list(range(15)), [1.0] * 15), FILL)
    assert torch.equal(images_NCHW, before)
