"""Augmentation of whole batches on the device, from parameters drawn on the CPU by a named stream.

Shapes: N images of a batch, H × W pixels, C channels. Drawing and applying are apart, so that a step's
parameters depend on its stream alone and never on the device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from condhpc.spec import Augment

_RATIO = (3 / 4, 4 / 3)
_TRIES = 10


class Mix(NamedTuple):
    """CutMix of one batch: a box of each image is taken from another image of the batch."""

    partner_N: NDArray[np.int64]
    top: int
    left: int
    bottom: int
    right: int
    own_share: float
    """Share of the area that stays the image's own: the weight of its own label."""


@dataclass(frozen=True)
class Draws:
    """Parameters of one batch; None where that augmentation is off."""

    boxes_N4: NDArray[np.int64] | None
    """Crops as (top, left, height, width), pixels."""
    flips_N: NDArray[np.bool_] | None
    mix: Mix | None


def draw(augment: Augment, count: int, side: int, generator: np.random.Generator) -> Draws:
    """Parameters for `count` square images of `side` pixels."""
    cropping, mixing = augment.crop_scale_min < 1.0, augment.cutmix_alpha > 0.0
    return Draws(
        boxes_N4=draw_crops(count, side, augment.crop_scale_min, generator) if cropping else None,
        flips_N=generator.random(count) < 0.5 if augment.flip else None,
        mix=draw_mix(count, side, augment.cutmix_alpha, generator) if mixing else None,
    )


def draw_crops(count: int, side: int, scale_min: float, generator: np.random.Generator) -> NDArray[np.int64]:
    """Random resized crops by torchvision's rule: area share in [scale_min, 1], log-uniform aspect in [3/4, 4/3].

    The first of ten tries that fits into the image counts; the whole (square) image where none does. All ten
    are drawn for every image, so that an image's crop does not depend on its neighbours' luck.
    """
    area_TN = side * side * generator.uniform(scale_min, 1.0, (_TRIES, count))
    aspect_TN = np.exp(generator.uniform(math.log(_RATIO[0]), math.log(_RATIO[1]), (_TRIES, count)))
    width_TN = np.rint(np.sqrt(area_TN * aspect_TN)).astype(np.int64)
    height_TN = np.rint(np.sqrt(area_TN / aspect_TN)).astype(np.int64)
    fits_TN = (width_TN > 0) & (width_TN <= side) & (height_TN > 0) & (height_TN <= side)
    first_N, any_N, columns_N = fits_TN.argmax(axis=0), fits_TN.any(axis=0), np.arange(count)
    width_N = np.where(any_N, width_TN[first_N, columns_N], side)
    height_N = np.where(any_N, height_TN[first_N, columns_N], side)
    top_N = generator.integers(0, side - height_N + 1)
    left_N = generator.integers(0, side - width_N + 1)
    return np.stack([top_N, left_N, height_N, width_N], axis=1)


def draw_mix(count: int, side: int, alpha: float, generator: np.random.Generator) -> Mix:
    """CutMix (Yun et al., 2019): λ ~ Beta(α, α), a box of area 1 − λ around a uniform centre, cut at the borders.

    `own_share` is what the box leaves after that cut, not the λ drawn.
    """
    cut_px = int(side * math.sqrt(1.0 - generator.beta(alpha, alpha)))
    centre_y, centre_x = (int(c) for c in generator.integers(0, side, size=2))
    top, bottom = max(centre_y - cut_px // 2, 0), min(centre_y + cut_px // 2, side)
    left, right = max(centre_x - cut_px // 2, 0), min(centre_x + cut_px // 2, side)
    own_share = 1.0 - (bottom - top) * (right - left) / (side * side)
    return Mix(generator.permutation(count), top, left, bottom, right, own_share)


def apply(images_NHWC: Tensor, draws: Draws, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Crop, mirror, normalise and mix uint8 images; float32 (N, C, H, W) in channels-last layout."""
    images_NCHW = prepared(images_NHWC, draws, mean, std)
    return images_NCHW if draws.mix is None else mixed(images_NCHW, draws.mix)


def mixed(images_NCHW: Tensor, mix: Mix) -> Tensor:
    """A mixed copy."""
    found = images_NCHW.clone(memory_format=torch.preserve_format)
    _mix_(found, mix)
    return found


def prepared(images_NHWC: Tensor, draws: Draws, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """All but mixing."""
    images_NCHW = images_NHWC.permute(0, 3, 1, 2).float()
    if draws.boxes_N4 is not None:
        images_NCHW = crop_and_flip(images_NCHW, draws.boxes_N4, draws.flips_N)
    elif draws.flips_N is not None:
        flips_N = torch.from_numpy(draws.flips_N).to(images_NCHW.device)
        images_NCHW = torch.where(flips_N[:, None, None, None], images_NCHW.flip(3), images_NCHW)
    return _normalised(images_NCHW, mean, std)


def plain(images_NHWC: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Uint8 images as models see them in tests: only normalised; float32 (N, C, H, W), channels-last."""
    return _normalised(images_NHWC.permute(0, 3, 1, 2).float(), mean, std)


def crop_and_flip(images_NCHW: Tensor, boxes_N4: NDArray[np.int64], flips_N: NDArray[np.bool_] | None) -> Tensor:
    """Each image's box, resized to H × W (bilinear, not antialiased), then mirrored where asked.

    The same numbers as torchvision's `resized_crop(antialias=False)` up to rounding: sampling points are kept
    inside the box, so that nothing outside it shines in.
    """
    height, width = images_NCHW.shape[2:]
    boxes_4N = torch.from_numpy(boxes_N4.T.astype(np.float32)).to(images_NCHW.device)
    y_NH = _sampling_points(boxes_4N[0], boxes_4N[2], height)
    x_NW = _sampling_points(boxes_4N[1], boxes_4N[3], width)
    if flips_N is not None:
        x_NW = torch.where(torch.from_numpy(flips_N).to(x_NW.device)[:, None], x_NW.flip(1), x_NW)
    grid_NHW2 = torch.stack([x_NW[:, None, :].expand(-1, height, -1), y_NH[:, :, None].expand(-1, -1, width)], dim=-1)
    return functional.grid_sample(images_NCHW, grid_NHW2, mode="bilinear", padding_mode="border", align_corners=False)


def _sampling_points(start_N: Tensor, length_N: Tensor, side: int) -> Tensor:
    """Where each of `side` output pixels looks along one axis (N, side), in grid_sample's −1..1."""
    steps = torch.arange(side, device=start_N.device, dtype=torch.float32) + 0.5
    inside_NS = steps * (length_N / side)[:, None] - 0.5
    inside_NS = torch.minimum(inside_NS.clamp(min=0.0), (length_N - 1.0)[:, None])
    return (2.0 * (start_N[:, None] + inside_NS) + 1.0) / side - 1.0


def _normalised(images_NCHW: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(x/255 − mean)/std per channel, channels-last; the argument is overwritten."""
    device = images_NCHW.device
    scale = torch.tensor([1.0 / (255.0 * s) for s in std], device=device)[:, None, None]
    shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)], device=device)[:, None, None]
    return images_NCHW.mul_(scale).add_(shift).contiguous(memory_format=torch.channels_last)


def _mix_(images_NCHW: Tensor, mix: Mix) -> None:
    """Paste each partner's box, in place."""
    box = (slice(None), slice(None), slice(mix.top, mix.bottom), slice(mix.left, mix.right))
    partner_N = torch.from_numpy(mix.partner_N).to(images_NCHW.device)
    images_NCHW[box] = images_NCHW[box][partner_N]  # the right-hand side is gathered into a copy first
