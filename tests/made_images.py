"""Uint8 images for tests of augmentation, and what others make of one of them.

Noise, where every slip shows, and pictures with a little of everything.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from torchvision.transforms.functional import InterpolationMode, hflip, resized_crop

from condhpc import rng


def noise(count: int, side: int) -> torch.Tensor:
    """Independent values in all pixels (N, H, W, C)."""
    draw = rng.stream(1, "augment-images", count, side)
    return torch.from_numpy(draw.integers(0, 256, size=(count, side, side, 3), dtype=np.uint8))


def pictures(count: int, side: int) -> torch.Tensor:
    """Smooth colours of various contrast, a little noise, a flat patch, and one image that is flat throughout."""
    draw = rng.stream(2, "augment-images", count, side)
    coarse = torch.from_numpy(draw.uniform(0, 255, size=(count, 3, 4, 4)).astype(np.float32))
    smooth_NCHW = functional.interpolate(coarse, (side, side), mode="bicubic")
    contrast, level = draw.uniform(0.2, 1.2, (count, 1, 1, 1)), draw.uniform(60, 190, (count, 3, 1, 1))
    values = level + contrast * (smooth_NCHW.numpy() - 128) + draw.normal(0, 3, (count, 3, side, side))
    values[:, :, : side // 4, : side // 4] = values[:, :, :1, :1]
    values[-1] = 77
    return torch.from_numpy(values.clip(0, 255).astype(np.uint8)).permute(0, 2, 3, 1).contiguous()


def torchvision_crop(image_HWC: torch.Tensor, box: NDArray[np.int64], *, flip: bool) -> torch.Tensor:
    """One image by torchvision's functions, float32 in 0..255."""
    top, left, height, width = (int(v) for v in box)
    size = list(image_HWC.shape[:2])
    image_CHW = image_HWC.permute(2, 0, 1).float()
    image_CHW = resized_crop(image_CHW, top, left, height, width, size, InterpolationMode.BILINEAR, antialias=False)
    return hflip(image_CHW) if flip else image_CHW


def shuffled_by_hand(image_HWC: NDArray[np.uint8], rows_S: list[int], columns_S: list[int]) -> NDArray[np.uint8]:
    """Cut along the height, put every strip where it goes, join; then the same along the width."""
    for axis, places_S in enumerate((rows_S, columns_S)):
        strip_px = image_HWC.shape[axis] // len(places_S)
        cuts = [strip_px * s for s in range(1, len(places_S))]
        strips = dict(zip(places_S, np.split(image_HWC, cuts, axis=axis), strict=True))
        image_HWC = np.concatenate([strips[place] for place in range(len(places_S))], axis=axis)
    return image_HWC
