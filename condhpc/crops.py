"""Crops, mirroring and the shuffling of strips, for whole batches with parameters of each image.

Shapes: N images of a batch, H × W pixels, C channels, S strips along one axis, T tries.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch.nn import functional

from condhpc.device import change_by_group, per_image, to_device

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

RATIO = (3 / 4, 4 / 3)
"""Bounds of a random resized crop's width over height."""
_TRIES = 10
_LARGE_PX = 128
"""On a CPU, images of this side or more are resized one by one: faster there, because they stay in its cache."""


def draw_tries(
    count: int, scale_min: float | NDArray[np.float64], generator: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Share of the area, uniform in [scale_min, 1], and log-uniform width over height of ten tries each (T, N).

    `scale_min` is one number, or one of each image (N,).
    """
    scale_TN = generator.uniform(scale_min, 1.0, (_TRIES, count))
    return scale_TN, np.exp(generator.uniform(math.log(RATIO[0]), math.log(RATIO[1]), (_TRIES, count)))


def sizes_of_tries(
    area_T: NDArray[np.float64], aspect_T: NDArray[np.float64], height: int, width: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Height and width in pixels of tries of any shape, and which of them fit into an image of `height` × `width`."""
    height_T = np.rint(np.sqrt(area_T / aspect_T)).astype(np.int64)
    width_T = np.rint(np.sqrt(area_T * aspect_T)).astype(np.int64)
    return height_T, width_T, (width_T > 0) & (width_T <= width) & (height_T > 0) & (height_T <= height)


def draw_crops(
    count: int, side: int, scale_min: float | NDArray[np.float64], generator: np.random.Generator
) -> NDArray[np.int64]:
    """Random resized crops by torchvision's rule: area share in [scale_min, 1], log-uniform aspect in [3/4, 4/3].

    Boxes (N, 4) are (top, left, height, width) in pixels. The first of ten tries that fits into the image counts;
    the whole (square) image where none does. All ten are drawn for every image, so that an image's crop does not
    depend on its neighbours' luck.
    """
    scale_TN, aspect_TN = draw_tries(count, scale_min, generator)
    height_TN, width_TN, fits_TN = sizes_of_tries(side * side * scale_TN, aspect_TN, side, side)
    first_N, any_N, columns_N = fits_TN.argmax(axis=0), fits_TN.any(axis=0), np.arange(count)
    width_N = np.where(any_N, width_TN[first_N, columns_N], side)
    height_N = np.where(any_N, height_TN[first_N, columns_N], side)
    top_N = generator.integers(0, side - height_N + 1)
    left_N = generator.integers(0, side - width_N + 1)
    return np.stack([top_N, left_N, height_N, width_N], axis=1)


def crop_and_flip(images_NCHW: Tensor, boxes_N4: NDArray[np.int64], flips_N: NDArray[np.bool_] | None) -> Tensor:
    """Each image's box, resized to H × W (bilinear, not antialiased), then mirrored where asked; float32.

    The same numbers as torchvision's `resized_crop(antialias=False)` up to rounding, from uint8 or float images:
    nothing outside the box shines in.
    """
    if images_NCHW.device.type == "cpu" and images_NCHW.shape[2] >= _LARGE_PX:
        return _one_by_one(images_NCHW, boxes_N4, flips_N)
    return _all_at_once(images_NCHW.float(), boxes_N4, flips_N)


def flip(images_NCHW: Tensor, flips_N: NDArray[np.bool_]) -> Tensor:
    """Mirrored left-right where asked."""
    return torch.where(per_image(flips_N, images_NCHW.device), images_NCHW.flip(3), images_NCHW)


def _one_by_one(images_NCHW: Tensor, boxes_N4: NDArray[np.int64], flips_N: NDArray[np.bool_] | None) -> Tensor:
    """By torch's own resizing, channels-last. A box is mirrored before it is resized, when it is small."""
    cropped_NCHW = torch.empty(
        images_NCHW.shape, dtype=torch.float32, device=images_NCHW.device, memory_format=torch.channels_last
    )
    for row, (top, left, height, width) in enumerate(boxes_N4.tolist()):
        box_1Chw = images_NCHW[row : row + 1, :, top : top + height, left : left + width]
        if flips_N is not None and flips_N[row]:
            box_1Chw = box_1Chw.flip(3)
        torch.ops.aten.upsample_bilinear2d.out(
            box_1Chw.float(), images_NCHW.shape[2:], align_corners=False, out=cropped_NCHW[row : row + 1]
        )
    return cropped_NCHW


def _all_at_once(images_NCHW: Tensor, boxes_N4: NDArray[np.int64], flips_N: NDArray[np.bool_] | None) -> Tensor:
    """By sampling points; these are kept inside the box."""
    height, width = images_NCHW.shape[2:]
    boxes_4N = to_device(boxes_N4.T.astype(np.float32), images_NCHW.device)
    y_NH = _sampling_points(boxes_4N[0], boxes_4N[2], height)
    x_NW = _sampling_points(boxes_4N[1], boxes_4N[3], width)
    if flips_N is not None:
        x_NW = torch.where(to_device(flips_N, x_NW.device)[:, None], x_NW.flip(1), x_NW)
    grid_NHW2 = torch.stack([x_NW[:, None, :].expand(-1, height, -1), y_NH[:, :, None].expand(-1, -1, width)], dim=-1)
    return functional.grid_sample(images_NCHW, grid_NHW2, mode="bilinear", padding_mode="border", align_corners=False)


def _sampling_points(start_N: Tensor, length_N: Tensor, side: int) -> Tensor:
    """Where each of `side` output pixels looks along one axis (N, side), in grid_sample's −1..1."""
    steps = torch.arange(side, device=start_N.device, dtype=torch.float32) + 0.5
    inside_NS = steps * (length_N / side)[:, None] - 0.5
    inside_NS = torch.minimum(inside_NS.clamp(min=0.0), (length_N - 1.0)[:, None])
    return (2.0 * (start_N[:, None] + inside_NS) + 1.0) / side - 1.0


class Strips(NamedTuple):
    """How the strips of each image are permuted: the place that each strip goes to."""

    rows_NS: NDArray[np.int64]
    """Of the strips along the height."""
    columns_NS: NDArray[np.int64]
    """Of the strips along the width."""


def draw_strips(count: int, strips: int, generator: np.random.Generator) -> Strips:
    """A permutation of `strips` strips along each axis, for each of `count` images."""
    in_order_NS = np.tile(np.arange(strips), (count, 1))
    return Strips(generator.permuted(in_order_NS, axis=1), generator.permuted(in_order_NS, axis=1))


def shuffle_strips(images_NHWC: Tensor, strips: Strips) -> Tensor:
    """Whole strips along the height change places, then whole strips along the width (RDED, Sun et al., CVPR 2024).

    Of a side that does not divide evenly, the last strip takes the rest, and takes it along.
    """
    return _permuted(_permuted(images_NHWC, strips.rows_NS, axis=1), strips.columns_NS, axis=2)


def _permuted(images_NHWC: Tensor, places_NS: NDArray[np.int64], axis: int) -> Tensor:
    """Images of one permutation at a time: with two strips there are two, and copies of strips are long ones."""
    side, strips = images_NHWC.shape[axis], places_NS.shape[1]
    strip_px = side // strips
    lengths_px = [strip_px] * (strips - 1) + [side - strip_px * (strips - 1)]
    permutations, permutation_N = np.unique(places_NS, axis=0, return_inverse=True)

    def joined(images_nHWC: Tensor, permutation: int, _positions_n: NDArray[np.int64]) -> Tensor:
        pieces = torch.split(images_nHWC, lengths_px, dim=axis)
        return torch.cat([pieces[strip] for strip in np.argsort(permutations[permutation])], dim=axis)

    return change_by_group(images_NHWC, permutation_N, joined)
