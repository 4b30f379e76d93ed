"""Augmentation of whole batches on the device, from parameters drawn on the CPU by a named stream.

Shapes: N images of a batch, H × W pixels, C channels. Drawing and applying are apart, so that a step's
parameters depend on its stream alone and never on the device; applying never waits for the device.

The order is that of the codes that publications run: RandAugment on the stored image (DELT, EDC), strips shuffled
(RDED), crop, mirror, colour jitter and lighting on values that are not yet normalised (IDC), normalise, mix.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from condhpc import colour, crops, randaugment
from condhpc.device import to_device
from condhpc.errors import StageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from condhpc.spec import Augment


class Mix(NamedTuple):
    """How the images of one batch are mixed: CutMix takes a box from another image of the batch, MixUp blends."""

    partner_N: NDArray[np.int64]
    top: int
    left: int
    bottom: int
    right: int
    own_share: float
    """Weight of the image's own label: the share of the area that stays its own, or its weight in the blend."""
    blended: bool = False
    """MixUp: own_share · image + (1 − own_share) · partner. The box is empty and not used."""


@dataclass(frozen=True)
class Draws:
    """Parameters of one batch; None where that augmentation is off."""

    boxes_N4: NDArray[np.int64] | None
    """Crops as (top, left, height, width), pixels."""
    flips_N: NDArray[np.bool_] | None
    mix: Mix | None
    operations: randaugment.Operations | None = None
    strips: crops.Strips | None = None
    jitter: colour.Jitter | None = None
    shifts_NC: NDArray[np.float32] | None = None
    """Lighting: what is added to each channel, images in [0, 1]."""


def draw(augment: Augment, count: int, side: int, generator: np.random.Generator) -> Draws:
    """Parameters for `count` square images of `side` pixels.

    What is off draws nothing. Crops, mirrors and mixing are drawn first, so that they stay the same where RandAugment,
    strips, jitter or lighting are added. Raises StageError for CutMix and MixUp together.
    """
    cropping = augment.crop_scale_min < 1.0
    return Draws(
        boxes_N4=crops.draw_crops(count, side, augment.crop_scale_min, generator) if cropping else None,
        flips_N=generator.random(count) < 0.5 if augment.flip else None,
        mix=_draw_mixing(augment, count, side, generator),
        operations=randaugment.draw(augment.randaugment, count, generator) if augment.randaugment else None,
        strips=crops.draw_strips(count, augment.patch_shuffle, generator) if augment.patch_shuffle > 1 else None,
        jitter=colour.draw_jitter(count, augment.color_jitter, generator) if augment.color_jitter > 0.0 else None,
        shifts_NC=colour.draw_lighting(count, augment.lighting_std, generator) if augment.lighting_std > 0.0 else None,
    )


def _draw_mixing(augment: Augment, count: int, side: int, generator: np.random.Generator) -> Mix | None:
    if augment.cutmix_alpha > 0.0 and augment.mixup_alpha > 0.0:
        raise StageError(
            f"CutMix with alpha {augment.cutmix_alpha} and MixUp with alpha {augment.mixup_alpha}: a batch is mixed in "
            "one way only; set one of the two to 0 in the protocol"
        )
    if augment.mixup_alpha > 0.0:
        return draw_mixup(count, augment.mixup_alpha, generator)
    return draw_mix(count, side, augment.cutmix_alpha, generator) if augment.cutmix_alpha > 0.0 else None


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


def draw_mixup(count: int, alpha: float, generator: np.random.Generator) -> Mix:
    """MixUp (Zhang et al., 2018): one λ ~ Beta(α, α) for the batch, and a partner for each image."""
    own_share = float(generator.beta(alpha, alpha))
    return Mix(generator.permutation(count), 0, 0, 0, 0, own_share, blended=True)


def apply(images_NHWC: Tensor, draws: Draws, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """All of it: uint8 images prepared and mixed; float32 (N, C, H, W) in channels-last layout."""
    return mixed(prepared(images_NHWC, draws, mean, std), draws.mix)


def prepared(images_NHWC: Tensor, draws: Draws, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Uint8 images after all that is done to each on its own, normalised; float32 (N, C, H, W), channels-last.

    An image's pixels do not depend on its neighbours. RandAugment fills with the rounded mean colour, as the codes do.
    """
    if draws.operations is not None:
        fill_C = [round(255 * m) for m in mean]
        images_NCHW = randaugment.apply(images_NHWC.permute(0, 3, 1, 2), draws.operations, fill_C)
        images_NHWC = images_NCHW.permute(0, 2, 3, 1).contiguous()
    if draws.strips is not None:
        images_NHWC = crops.shuffle_strips(images_NHWC, draws.strips)
    images_NCHW = images_NHWC.permute(0, 3, 1, 2)
    if draws.boxes_N4 is not None:
        images_NCHW = crops.crop_and_flip(images_NCHW, draws.boxes_N4, draws.flips_N)
    elif draws.flips_N is not None:
        images_NCHW = crops.flip(images_NCHW, draws.flips_N)
    images_NCHW = images_NCHW.float()
    if draws.jitter is not None:
        images_NCHW = colour.jitter(images_NCHW, draws.jitter)
    if draws.shifts_NC is not None:
        images_NCHW = colour.lighten(images_NCHW, draws.shifts_NC)
    return _normalised(images_NCHW, mean, std)


def mixed(images_NCHW: Tensor, mix: Mix | None) -> Tensor:
    """Images with their partner's box pasted or the partner blended in; a new tensor unless nothing is mixed."""
    if mix is None:
        return images_NCHW
    partner_N = to_device(mix.partner_N, images_NCHW.device)
    images_NHWC = images_NCHW.permute(0, 2, 3, 1)
    if mix.blended:
        mixed_NHWC = images_NHWC.index_select(0, partner_N).mul_(1.0 - mix.own_share).add_(images_NHWC * mix.own_share)
    else:
        box = (slice(None), slice(mix.top, mix.bottom), slice(mix.left, mix.right))
        mixed_NHWC = images_NHWC.clone()
        mixed_NHWC[box] = images_NHWC[box].index_select(0, partner_N)
    return mixed_NHWC.permute(0, 3, 1, 2)


def plain(images_NHWC: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Uint8 images as models see them in tests: only normalised; float32 (N, C, H, W), channels-last."""
    return _normalised(images_NHWC.permute(0, 3, 1, 2).float(), mean, std)


def _normalised(images_NCHW: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(x/255 − mean)/std per channel, channels-last; the argument may be overwritten.

    Whole rows of H × (W·C) values at a time: a broadcast over three channels alone keeps vector units idle.
    """
    images_NCHW = images_NCHW.contiguous(memory_format=torch.channels_last)
    count, channels, height, width = images_NCHW.shape
    rows = images_NCHW.permute(0, 2, 3, 1).view(count, height, width * channels)
    scale_C = np.array([1.0 / (255.0 * s) for s in std], dtype=np.float32)
    shift_C = np.array([-m / s for m, s in zip(mean, std, strict=True)], dtype=np.float32)
    rows.mul_(to_device(np.tile(scale_C, width), rows.device)).add_(to_device(np.tile(shift_C, width), rows.device))
    return images_NCHW
