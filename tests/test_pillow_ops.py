"""Operations on batches compared with Pillow, and with torchvision's own kernels, image by image."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from made_images import noise, pictures
from PIL import Image, ImageEnhance, ImageOps
from torchvision.transforms.v2 import functional as tv

from condhpc import pillow_ops

SIDE = 33
FILL = (124, 116, 104)
FACTORS = (0.1, 0.37, 0.9, 1.0, 1.18, 1.54, 1.9)

COLOURS: dict[str, tuple[tuple[float, ...], Callable[..., Image.Image], Callable[..., torch.Tensor]]] = {
    "brightness": (FACTORS, lambda i, v: ImageEnhance.Brightness(i).enhance(v), tv.adjust_brightness),
    "colour": (FACTORS, lambda i, v: ImageEnhance.Color(i).enhance(v), tv.adjust_saturation),
    "contrast": (FACTORS, lambda i, v: ImageEnhance.Contrast(i).enhance(v), tv.adjust_contrast),
    "sharpness": (FACTORS, lambda i, v: ImageEnhance.Sharpness(i).enhance(v), tv.adjust_sharpness),
    "posterize": ((1, 2, 3, 4, 8), lambda i, v: ImageOps.posterize(i, int(v)), lambda i, v: tv.posterize(i, int(v))),
    "solarize": ((0, 1, 77, 153, 255), ImageOps.solarize, tv.solarize),
}
"""Arguments, Pillow's function of image and argument, torchvision's."""
PLAIN: dict[str, tuple[Callable[[Image.Image], Image.Image], Callable[[torch.Tensor], torch.Tensor]]] = {
    "autocontrast": (ImageOps.autocontrast, tv.autocontrast),
    "equalize": (ImageOps.equalize, tv.equalize),
    "invert": (ImageOps.invert, tv.invert),
}


def images() -> torch.Tensor:
    """Noise and pictures (N, H, W, C)."""
    return torch.cat([noise(3, SIDE), pictures(6, SIDE)])


def by_pillow(image_HWC: torch.Tensor, operation: Callable[[Image.Image], Image.Image]) -> torch.Tensor:
    """One image through Pillow."""
    return torch.from_numpy(np.array(operation(Image.fromarray(image_HWC.numpy()))))


def worst(found: torch.Tensor, expected: torch.Tensor) -> int:
    """Largest difference, grey levels."""
    return int((found.int() - expected.int()).abs().max())


@pytest.mark.parametrize("name", COLOURS)
def test_colours_are_pillows(name: str) -> None:
    """With every argument: Pillow's pixels exactly, those of torchvision's kernels to one grey level."""
    arguments, pillow, torchvision = COLOURS[name]
    images_NHWC = images()
    for value in arguments:
        argument_n = np.full(len(images_NHWC), float(value))
        found = getattr(pillow_ops, name)(images_NHWC.permute(0, 3, 1, 2), argument_n).permute(0, 2, 3, 1)
        assert found.dtype == torch.uint8
        for row, image in enumerate(images_NHWC):
            assert torch.equal(found[row], by_pillow(image, lambda i, v=value: pillow(i, v))), (value, row)
            assert worst(found[row], torchvision(image.permute(2, 0, 1), value).permute(1, 2, 0)) <= 1, (value, row)


@pytest.mark.parametrize("name", PLAIN)
def test_operations_without_argument_are_pillows(name: str) -> None:
    """Pillow's pixels exactly, those of torchvision's kernels to one grey level."""
    pillow, torchvision = PLAIN[name]
    images_NHWC = images()
    found = getattr(pillow_ops, name)(images_NHWC.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    for row, image in enumerate(images_NHWC):
        assert torch.equal(found[row], by_pillow(image, pillow))
        assert worst(found[row], torchvision(image.permute(2, 0, 1)).permute(1, 2, 0)) <= 1


@pytest.mark.parametrize("added", [0, 1, 66, 110])
def test_solarize_add_raises_dark_levels(added: int) -> None:
    """Level v below 128 becomes min(255, v + added), every other stays."""
    every_level = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).expand(1, 3, 16, 16)
    found = pillow_ops.solarize_add(every_level, np.array([float(added)]))
    assert found[0, 1].flatten().tolist() == [min(255, v + added) if v < 128 else v for v in range(256)]


@pytest.mark.parametrize("bits", [0, 1, 4, 7, 8])
def test_posterize_keeps_the_highest_bits(bits: int) -> None:
    """Level v becomes v with its 8 − bits lowest bits cleared: black for 0 bits, itself for 8."""
    every_level = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).expand(1, 3, 16, 16)
    found = pillow_ops.posterize(every_level, np.array([float(bits)]))
    assert found[0, 2].flatten().tolist() == [v >> (8 - bits) << (8 - bits) for v in range(256)]


@pytest.mark.parametrize(
    "matrix",
    [
        (1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
        (1.0, 0.18, 0.0, 0.0, 1.0, 0.0),
        (1.0, 0.0, 0.0, -0.3, 1.0, 0.0),
        (1.0, 0.0, 8.91, 0.0, 1.0, 0.0),
        (1.0, 0.0, 0.0, 0.0, 1.0, -14.85),
        (0.95, 0.31, -4.1, -0.31, 0.95, 6.2),
    ],
)
def test_affine_maps_are_pillows(matrix: tuple[float, ...]) -> None:
    """Pillow's pixels to one grey level, almost all exactly, and the same pixels filled."""
    images_NHWC = images()
    matrices = np.tile(np.reshape(matrix, (2, 3)), (len(images_NHWC), 1, 1))
    found = pillow_ops.affine(images_NHWC.permute(0, 3, 1, 2), matrices, FILL).permute(0, 2, 3, 1)
    for row, image in enumerate(images_NHWC):
        expected = by_pillow(
            image,
            lambda i: i.transform(
                i.size, Image.Transform.AFFINE, matrix, resample=Image.Resampling.BILINEAR, fillcolor=FILL
            ),
        )
        assert worst(found[row], expected) <= 1
        assert (found[row] != expected).float().mean() < 0.02


def test_flat_images_stay_flat() -> None:
    """Interpolating equal pixels gives that level, not one below it."""
    flat = torch.arange(256, dtype=torch.uint8)[:, None, None, None].expand(256, 3, 16, 16)
    turned = np.tile([[0.95, 0.31, -1.9], [-0.31, 0.95, 2.9]], (256, 1, 1))
    inside = pillow_ops.affine(flat, turned, FILL)[:, :, 6:10, 6:10]
    assert torch.equal(inside, flat[:, :, 6:10, 6:10])


@pytest.mark.parametrize("side", [1, 2, 3])
def test_tiny_images_have_no_inside_to_smooth(side: int) -> None:
    """Sharpness of images without inner pixels leaves them alone, as Pillow does."""
    images_NHWC = noise(4, side)
    found = pillow_ops.sharpness(images_NHWC.permute(0, 3, 1, 2), np.full(4, 1.9)).permute(0, 2, 3, 1)
    for row, image in enumerate(images_NHWC):
        assert torch.equal(found[row], by_pillow(image, lambda i: ImageEnhance.Sharpness(i).enhance(1.9)))
