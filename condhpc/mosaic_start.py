"""Where EDC starts: mosaics of the crops that its backbones know best (Shao et al., NeurIPS 2024, arXiv 2404.13733).

Shapes: n images, N of the training split, R pixels of a side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from condhpc import crops, images, mosaics, pixels, tiling
from condhpc.errors import StageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from condhpc.methods.base import Unit, Work


def start(work: Work, unit: Unit, losses_N: NDArray[np.float32], networks: Sequence[nn.Module]) -> Tensor:
    """Normalised mosaics (n, 3, R, R), for each image the one that its class drew for its place.

    `losses_N` ranks the training images of a class; `networks` judge crops together.
    """
    drawn = {}
    for label in dict.fromkeys(unit.labels):
        drawn[label] = _drawn(work, label, ranked(work, label, losses_N, networks))
        work.steps.tick(0, work.params.iterations, dict)  # crops take minutes where a batch has many classes
    found = [drawn[label][place] for label, place in zip(unit.labels, unit.places, strict=True)]
    return pixels.normalised(np.stack(found), work.spec.dataset)


def _drawn(work: Work, label: int, mosaics_nRRC: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A class's mosaics in random order, mirrored half of the time where labels allow, their tiles shuffled."""
    count, stream = len(mosaics_nRRC), work.stream("edc-draw", label)
    factor = tiling.required_factor("edc", work.params.factor, work.spec.resolution)
    order_n, flips_n, strips = (
        stream.permutation(count),
        stream.random(count) < 0.5,
        crops.draw_strips(count, factor, stream),
    )
    images_nRRC = torch.from_numpy(mosaics_nRRC[order_n])
    if work.params.flip:
        images_nRRC = crops.flip(images_nRRC.permute(0, 3, 1, 2), flips_n).permute(0, 2, 3, 1)
    shuffled_nRRC: NDArray[np.uint8] = crops.shuffle_strips(images_nRRC, strips).numpy()
    return shuffled_nRRC


def ranked(work: Work, label: int, losses_N: NDArray[np.float32], networks: Sequence[nn.Module]) -> NDArray[np.uint8]:
    """Mosaics (ipc, R, R, 3) of a class, from its best crops to the worst that are needed.

    Raises StageError for a class of too few images, and where a network's loss is not finite.
    """
    factor = tiling.required_factor("edc", work.params.factor, work.spec.resolution)
    positions_n, needed = work.train.of_class(label), factor**2 * work.spec.ipc
    tiling.require_enough("edc", label, len(positions_n), factor, work.spec.ipc)
    known_n = np.argsort(losses_N[positions_n], kind="stable")
    chosen_n = positions_n[known_n[: max(work.params.mipc, needed)]].tolist()
    cut = mosaics.in_threads(lambda position: _crops_of(work, label, position), chosen_n, torch.get_num_threads())
    jury = mosaics.Jury(networks, work.spec, work.device, work.params.score_batch)
    images_N, crop_losses_N = jury.judged(cut, len(chosen_n) * work.params.crops, label)
    if not np.isfinite(crop_losses_N).all():
        raise StageError(f"class {label}: the loss of '{work.params.backbones}' on a crop is not finite; train it anew")
    best_r = mosaics.best(crop_losses_N.reshape(len(chosen_n), -1), needed)
    side, whole = work.spec.resolution // factor, (0, 0, work.spec.resolution, work.spec.resolution)
    return mosaics.join(np.concatenate([mosaics.cut(images_N[rank], [whole], side) for rank in best_r]), factor)


def _crops_of(work: Work, label: int, position: int) -> NDArray[np.uint8]:
    """Random resized crops of one image (crops, R, R, 3), from that image's own stream."""
    stream, count = work.stream("edc-crop", label, position), work.params.crops
    draws = images.draw_crops(count, work.params.init_scale_min, stream)
    image_HWC = work.train.glimpse(position)
    height, width = image_HWC.shape[:2]
    boxes = [images.crop_box(draws, row, height, width) for row in range(count)]
    return mosaics.cut(image_HWC, boxes, work.spec.resolution)
