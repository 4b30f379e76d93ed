"""One random crop, mirroring and roll for all images of a unit, differentiable: each axis is one product with a matrix.

A crop that is resized back to the side of its image never shrinks anything, so that bilinear interpolation with and
without antialiasing is the same; its weights along an axis form a matrix with two entries a row. Mirroring and rolling
only permute rows. Shapes: S steps, U units, N images, R pixels of a side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import torch

from condhpc import crops

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

Curriculum = Literal["none", "cosine", "linear", "step"]


def scale_curriculum(kind: Curriculum, steps: int, scale_min: float, milestone: float) -> NDArray[np.float64]:
    """Lower bound of the area share of crops at each step (S,): from 1 down to `scale_min` at `milestone` · steps.

    CDA (Yin & Shen, TMLR 2024, §3): half a cosine, a line, or 1 up to the milestone and `scale_min` from there.
    """
    if kind == "none":
        return np.full(steps, scale_min)
    reached_S = np.minimum(np.arange(steps) / (milestone * steps), 1.0) if milestone > 0.0 else np.ones(steps)
    left_S = {
        "cosine": 0.5 * (1.0 + np.cos(np.pi * reached_S)),
        "linear": 1.0 - reached_S,
        "step": (reached_S < 1.0).astype(np.float64),
    }[kind]
    return scale_min + (1.0 - scale_min) * left_S


class UnitDraws(NamedTuple):
    """What happens to the images of one unit at each step."""

    boxes_S4: NDArray[np.int64]
    """Crops as (top, left, height, width), pixels."""
    flips_S: NDArray[np.bool_]
    rolls_S2: NDArray[np.int64]
    """Pixels by which images are rolled down and to the right."""


def draw(
    generator: np.random.Generator, side: int, scale_min_S: NDArray[np.float64], *, flip: bool, roll_px: int
) -> UnitDraws:
    """Draws of all steps: crops by torchvision's rule, a mirror with probability ½, rolls uniform in 0..`roll_px`."""
    steps = len(scale_min_S)
    boxes_S4 = crops.draw_crops(steps, side, scale_min_S, generator)
    flips_S = generator.random(steps) < 0.5 if flip else np.zeros(steps, dtype=np.bool_)
    return UnitDraws(boxes_S4, flips_S, generator.integers(0, roll_px + 1, (steps, 2)))


def sources(draws: list[UnitDraws], step: int, side: int) -> NDArray[np.float32]:
    """Where each row and each column of a unit's images looks at a step (2, U, R), in pixels of the source.

    Order: crop and resize, mirror, roll.
    """
    found_2UR = np.empty((2, len(draws), side), dtype=np.float32)
    for place, unit in enumerate(draws):
        top, left, height, width = unit.boxes_S4[step].tolist()
        rows_R, columns_R = _looks(top, height, side), _looks(left, width, side)
        if unit.flips_S[step]:
            columns_R = columns_R[::-1]
        down, right = unit.rolls_S2[step].tolist()
        found_2UR[0, place], found_2UR[1, place] = np.roll(rows_R, down), np.roll(columns_R, right)
    return found_2UR


def _looks(start: int, length: int, side: int) -> NDArray[np.float64]:
    """Along one axis: output pixel i looks at start + (i + ½)·length/side − ½, kept inside the box."""
    inside_R = (np.arange(side) + 0.5) * (length / side) - 0.5
    return start + inside_R.clip(0.0, length - 1.0)


def apply(images_NCHW: Tensor, sources_2UR: Tensor, unit_N: Tensor) -> Tensor:
    """Images as `sources` says, in their own dtype; torchvision's resized_crop, flip and roll up to rounding."""
    side = images_NCHW.shape[-1]
    places_R = torch.arange(side, device=images_NCHW.device, dtype=images_NCHW.dtype)
    # bilinear weights are a triangle of two pixels' width around the place that is looked at
    distance_2URR = (sources_2UR.to(images_NCHW.dtype)[..., None] - places_R).abs()
    weights_2NRR = (1.0 - distance_2URR).clamp(min=0.0).index_select(1, unit_N)
    across_NCHW = torch.matmul(images_NCHW.flatten(1, 2), weights_2NRR[1].mT).view_as(images_NCHW)
    return torch.matmul(weights_2NRR[0][:, None], across_NCHW)
