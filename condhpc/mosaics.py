"""Crops of real images, judged by networks, and mosaics of the best of them: what RDED makes and EDC begins with.

Shapes: n images, k crops of each, r tiles in rank order, R pixels of a judged image's side, s of a crop's, K classes.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from condhpc.images import resized_crop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from condhpc.spec import CondenseSpec

_CROP_TRIES = 10
_CACHED_IMAGES = 4
"""Normalised at a time on a CPU, so that they stay in its cache between the steps."""


def join(tiles_rssC: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """From factor²·n ranked tiles n mosaics; mosaic i holds ranks i, n+i, 2n+i, … row by row."""
    side = tiles_rssC.shape[1]
    count = len(tiles_rssC) // factor**2
    grid = tiles_rssC.reshape(factor, factor, count, side, side, 3)
    return grid.transpose(2, 0, 3, 1, 4, 5).reshape(count, factor * side, factor * side, 3)


def best(losses_nk: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Which of all n·k crops, counted image by image, are the best of their image and their images the `count` best.

    In rank order; ties go to the first.
    """
    ranked_r = np.argsort(losses_nk.min(axis=1), kind="stable")[:count]
    found_r: NDArray[np.int64] = ranked_r * losses_nk.shape[1] + losses_nk.argmin(axis=1)[ranked_r]
    return found_r


def square_box(rng: np.random.Generator, height: int, width: int, scale_min: float) -> tuple[int, int, int, int]:
    """A square (top, left, height, width) of `scale_min` to all of the area, as torchvision's RandomResizedCrop.

    After ten draws that do not fit into the image: its largest centred square.
    """
    for _ in range(_CROP_TRIES):
        side = round((width * height * rng.uniform(scale_min, 1.0)) ** 0.5)
        if 0 < side <= min(width, height):
            top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
            return top, left, side, side
    side = min(width, height)
    return (height - side) // 2, (width - side) // 2, side, side


class Jury:
    """Networks that judge images by the cross-entropy of their mean logits with a class.

    `spec` has resolution, precision, and the dataset's mean and deviation; `batch` images share a forward pass
    (rounding depends on it).
    """

    def __init__(self, networks: Sequence[nn.Module], spec: CondenseSpec, device: str, batch: int) -> None:
        self._networks = networks
        self._spec = spec
        self._device = device
        self._batch = batch

    def losses(self, images_nssC: NDArray[np.uint8], label: int) -> NDArray[np.float32]:
        """Of images (n, s, s, 3), each in the middle of normalised zeros (n, 3, R, R)."""
        return self.judged([images_nssC], len(images_nssC), label)[1]

    def judged(
        self, parts: Iterable[NDArray[np.uint8]], count: int, label: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """All `count` images of the parts in one array, and their losses.

        Parts come one by one; what makes a batch is judged while those who make the next ones work on.
        """
        images: NDArray[np.uint8] | None = None
        losses: list[Tensor] = []
        filled = begun = 0
        for part_mssC in parts:
            if images is None:
                images = np.empty((count, *part_mssC.shape[1:]), dtype=np.uint8)
            images[filled : filled + len(part_mssC)] = part_mssC
            filled += len(part_mssC)
            while begun < filled and (filled - begun >= self._batch or filled == count):
                losses.append(self._batch_losses(images[begun : begun + self._batch], label))
                begun += len(losses[-1])
        assert images is not None
        assert begun == count
        return images, torch.cat(losses).cpu().numpy()

    def _batch_losses(self, images_nssC: NDArray[np.uint8], label: int) -> Tensor:
        bf16 = torch.autocast(self._device, dtype=torch.bfloat16, enabled=self._spec.precision == "bf16")
        with torch.inference_mode(), bf16:
            images_nCRR = self._padded(images_nssC)
            logits_nK = torch.stack([network(images_nCRR).float() for network in self._networks]).mean(dim=0)
            labels_n = torch.full((len(logits_nK),), label, device=logits_nK.device)
            return functional.cross_entropy(logits_nK, labels_n, reduction="none")

    def _padded(self, images_nssC: NDArray[np.uint8]) -> Tensor:
        """Images normalised and centred in zeros: float32 (n, 3, R, R), channels-last, on the device.

        NOTE: they lie in memory that the next call uses again, because fresh pages cost more than the crops.
        """
        (count, side), whole = images_nssC.shape[:2], self._spec.resolution
        canvas_nRRC = _canvas(self._batch, whole, side, self._device)[:count]
        first = (whole - side) // 2
        rows = canvas_nRRC.view(count, whole, 3 * whole)[:, first : first + side, 3 * first : 3 * (first + side)]
        images_nsw = torch.from_numpy(images_nssC).to(self._device).view(count, side, 3 * side)
        mean_w, std_w = (
            torch.tensor(values, device=self._device).repeat(side)
            for values in (self._spec.dataset.mean, self._spec.dataset.std)
        )
        step = _CACHED_IMAGES if self._device == "cpu" else count
        for start in range(0, count, step):
            part = rows[start : start + step]
            part.copy_(images_nsw[start : start + step])
            part.div_(255.0).sub_(mean_w).div_(std_w)
        return canvas_nRRC.permute(0, 3, 1, 2)


@lru_cache(maxsize=1)
def _canvas(count: int, resolution: int, side: int, device: str) -> Tensor:
    """Images (n, R, R, 3) that are zero outside of their middle `side` pixels, the same ones at each call."""
    del side  # of another size, the middle would leave a frame of old pixels
    return torch.zeros((count, resolution, resolution, 3), device=device)


def in_threads(
    make: Callable[[int], NDArray[np.uint8]], positions_n: Iterable[int], threads: int
) -> Iterable[NDArray[np.uint8]]:
    """`make` of each position, in order, on threads that work ahead of whoever takes the results."""
    if threads <= 1:
        yield from map(make, positions_n)
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="crop") as pool:
        yield from pool.map(make, positions_n)


def cut(image_HWC: NDArray[np.uint8], boxes: Iterable[tuple[int, int, int, int]], side: int) -> NDArray[np.uint8]:
    """An image's boxes (top, left, height, width), each resized to `side`: (k, s, s, 3)."""
    return np.stack([resized_crop(image_HWC, box, side) for box in boxes])
