"""Pillow's image operations for whole batches on the device, each image with an argument of its own.

The numbers are Pillow's, rounding included: colours to the last bit, resampled pixels to one grey level. Images are
uint8 (n, C, H, W) with red, green and blue; arguments are (n,), on the CPU. Nothing waits for the device.
Further shapes: M channels of all images, P pixels of one, L grey levels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from condhpc.device import per_image, to_device

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

_LEVELS = 256
_HAIR = 1e-3
"""Added before grey levels are cut to integers: float32 weights sum to 1 only up to rounding, and 99.9999 is 100."""


def autocontrast(images_nCHW: Tensor) -> Tensor:
    """Each channel stretched to 0..255; one that is constant stays."""
    values_MP = images_nCHW.flatten(0, 1).flatten(1).contiguous()
    low_M1, high_M1 = values_MP.amin(dim=1, keepdim=True).double(), values_MP.amax(dim=1, keepdim=True).double()
    # Pillow's steps in Pillow's precision: which quotient is cut from 253.999… to 253 depends on them.
    range_M1 = (high_M1 - low_M1).clamp(min=1.0)
    scale_M1 = torch.full_like(range_M1, 255.0) / range_M1  # a plain 255 / x multiplies by 1/x
    levels_L = torch.arange(_LEVELS, device=values_MP.device, dtype=torch.float64)
    table_ML = (levels_L * scale_M1 + -low_M1 * scale_M1).clamp(0.0, _LEVELS - 1.0).to(torch.uint8)
    stretched_MP = table_ML.gather(1, values_MP.long())
    return torch.where(high_M1 > low_M1, stretched_MP, values_MP).reshape(images_nCHW.shape)


def equalize(images_nCHW: Tensor) -> Tensor:
    """Each channel with its histogram flattened; one whose step is below 1 stays."""
    values_MP = images_nCHW.flatten(0, 1).flatten(1).contiguous()
    levels_MP, ones_MP = values_MP.long(), torch.ones_like(values_MP, dtype=torch.int64)
    counts_ML = torch.zeros(len(values_MP), _LEVELS, dtype=torch.int64, device=values_MP.device)
    up_to_ML = counts_ML.scatter_add_(1, levels_MP, ones_MP).cumsum(dim=1)
    below_ML = up_to_ML - counts_ML
    brightest_M1 = values_MP.amax(dim=1, keepdim=True).long()
    step_M1 = below_ML.gather(1, brightest_M1) // (_LEVELS - 1)
    table_ML = ((below_ML + step_M1 // 2) // step_M1.clamp(min=1)).clamp(max=_LEVELS - 1).to(torch.uint8)
    equal_MP = table_ML.gather(1, levels_MP)
    return torch.where(step_M1 > 0, equal_MP, values_MP).reshape(images_nCHW.shape)


def invert(images_nCHW: Tensor) -> Tensor:
    """255 − x."""
    return 255 - images_nCHW


def posterize(images_nCHW: Tensor, bits_n: NDArray[np.float64]) -> Tensor:
    """Only the `bits` highest bits kept, 0..8; 0 leaves black, which newer releases of Pillow refuse."""
    masks_n = (_LEVELS - 2 ** (8 - bits_n.astype(np.int64))).astype(np.uint8)
    return images_nCHW & per_image(masks_n, images_nCHW.device)


def solarize(images_nCHW: Tensor, thresholds_n: NDArray[np.float64]) -> Tensor:
    """Levels from the threshold (0..256) on are inverted."""
    thresholds = per_image(thresholds_n.astype(np.int16), images_nCHW.device)
    return torch.where(images_nCHW < thresholds, images_nCHW, 255 - images_nCHW)


def solarize_add(images_nCHW: Tensor, added_n: NDArray[np.float64]) -> Tensor:
    """Levels below 128 are raised by the argument, at most to 255."""
    raised = (images_nCHW + per_image(added_n.astype(np.int16), images_nCHW.device)).clamp(max=255).to(torch.uint8)
    return torch.where(images_nCHW < _LEVELS // 2, raised, images_nCHW)


def brightness(images_nCHW: Tensor, factors_n: NDArray[np.float64]) -> Tensor:
    """Blended with black; factor 1 leaves the image alone."""
    values = images_nCHW.float()
    return _blend(torch.zeros_like(values), values, factors_n)


def colour(images_nCHW: Tensor, factors_n: NDArray[np.float64]) -> Tensor:
    """Blended with its own greys."""
    return _blend(_luma(images_nCHW), images_nCHW.float(), factors_n)


def contrast(images_nCHW: Tensor, factors_n: NDArray[np.float64]) -> Tensor:
    """Blended with the mean of its greys, rounded."""
    greys_n1HW = _luma(images_nCHW)
    pixels = greys_n1HW[0].numel()
    sum_n111 = greys_n1HW.sum(dim=(2, 3), keepdim=True, dtype=torch.float64)
    mean_n111 = (sum_n111 / pixels + 0.5).floor().float()
    return _blend(mean_n111, images_nCHW.float(), factors_n)


def sharpness(images_nCHW: Tensor, factors_n: NDArray[np.float64]) -> Tensor:
    """Blended with a smoothed copy (3 × 3, the centre counts five times); the outermost pixels are not smoothed."""
    values = images_nCHW.float()
    sums = functional.avg_pool2d(values, 3, stride=1, padding=1, divisor_override=1) + 4.0 * values
    smooth = values.clone()
    smooth[:, :, 1:-1, 1:-1] = ((sums + 6.5) / 13.0).floor()[:, :, 1:-1, 1:-1]
    return _blend(smooth, values, factors_n)


def affine(images_nCHW: Tensor, matrices_n23: NDArray[np.float64], fill_C: Sequence[int]) -> Tensor:
    """Output pixel (x, y) shows the input at matrix · (x, y, 1), bilinear; `fill` where that lies outside.

    Coordinates are pixels from the top left corner; the centre of the first pixel is (½, ½).
    """
    height, width = images_nCHW.shape[2:]
    device = images_nCHW.device
    matrices = to_device(matrices_n23, device)[:, :, :, None, None]
    x_W = torch.arange(width, device=device, dtype=torch.float64) + 0.5
    y_H1 = (torch.arange(height, device=device, dtype=torch.float64) + 0.5)[:, None]
    # In double precision, because a pixel just inside and one just outside have nothing in common.
    from_n2HW = matrices[:, :, 0] * x_W + matrices[:, :, 1] * y_H1 + matrices[:, :, 2]
    sides_211 = to_device(np.array([width, height], dtype=np.float64), device)[:, None, None]
    inside_n1HW = ((from_n2HW >= 0.0) & (from_n2HW < sides_211)).all(dim=1, keepdim=True)
    grid_nHW2 = (2.0 * from_n2HW / sides_211 - 1.0).permute(0, 2, 3, 1).float()
    sampled = functional.grid_sample(
        images_nCHW.float(), grid_nHW2, mode="bilinear", padding_mode="border", align_corners=False
    )
    fill_C11 = to_device(np.array(fill_C, dtype=np.float32), device)[:, None, None]
    return torch.where(inside_n1HW, sampled + _HAIR, fill_C11).to(torch.uint8)


def _luma(images_nCHW: Tensor) -> Tensor:
    """Pillow's conversion to greys (n, 1, H, W): BT.601 in 16-bit fixed point, which float32 holds exactly."""
    red, green, blue = images_nCHW.float().unbind(dim=1)
    return ((red * 19595.0 + green * 38470.0 + blue * 7471.0 + 32768.0) / 65536.0).floor()[:, None]


def _blend(others: Tensor, images: Tensor, factors_n: NDArray[np.float64]) -> Tensor:
    """Others + factor · (images − others), cut to integers in 0..255."""
    factors = per_image(factors_n.astype(np.float32), images.device)
    return (others + factors * (images - others)).clamp(0.0, 255.0).to(torch.uint8)
