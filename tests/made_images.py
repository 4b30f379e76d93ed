"""Uint8 images for tests of augmentation: noise, where every slip shows, and pictures with a little of everything."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

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
