"""Labelled uint8 images, handed out on the device: whole in its memory where they fit, else batch by batch.

Shapes: N images of the source, n of a batch, H × W pixels of a stored image, R of a square one, C channels.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import torch
from torch.nn import functional

from condhpc.crops import RATIO, draw_tries, sizes_of_tries
from condhpc.device import to_device

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from concurrent.futures import Future

    from numpy.typing import NDArray
    from torch import Tensor

    from condhpc.datasets.base import Split

RESIDENT_BYTES = 4 << 30
"""A split up to this size is read whole onto the device; a larger one is read batch by batch."""
_READ_IMAGES = 256
"""Images of one read, so that a whole split is not in memory twice."""
_AHEAD_BATCHES = 2
"""Batches that are decoded while the device computes."""


class Images(Protocol):
    """Labelled uint8 images, handed out on the device by position."""

    labels_N: Tensor
    """int64, on the device."""
    side: int
    """Height and width, pixels."""

    def __len__(self) -> int: ...

    def read(self, positions_n: NDArray[np.int64]) -> Tensor:
        """Images (n, H, W, C) uint8 on the device."""


class ResidentImages:
    """Images that live on the device, whole."""

    def __init__(self, images_NHWC: NDArray[np.uint8], labels_N: NDArray[np.int64], device: str) -> None:
        self.images_NHWC = torch.from_numpy(images_NHWC).to(device)
        self.labels_N = torch.from_numpy(labels_N).to(device)
        self.side = images_NHWC.shape[1]

    def __len__(self) -> int:
        return len(self.labels_N)

    def read(self, positions_n: NDArray[np.int64]) -> Tensor:
        """Gathered on the device, whole images at a time, which on a CPU is many times faster than by an index."""
        return self.images_NHWC.index_select(0, to_device(positions_n, self.images_NHWC.device))


class CropDraws(NamedTuple):
    """What decides the random resized crops of n images, before their sizes are known. Tries T × n."""

    scale_Tn: NDArray[np.float64]
    """Share of the image's area."""
    aspect_Tn: NDArray[np.float64]
    """Width over height."""
    top_n: NDArray[np.float64]
    left_n: NDArray[np.float64]
    """Place within the room that a crop leaves, in [0, 1)."""

    def rows(self, rows_m: NDArray[np.int64]) -> CropDraws:
        """Those of some of the images."""
        return CropDraws(self.scale_Tn[:, rows_m], self.aspect_Tn[:, rows_m], self.top_n[rows_m], self.left_n[rows_m])


class StreamedImages:
    """Images of a split too large for the device, decoded batch by batch on `threads` threads.

    Tests see `read`'s squares; training sees `cropped`: random resized crops of the whole stored image. Neither
    depends on the number of threads.
    """

    def __init__(self, split: Split, device: str, threads: int = 1) -> None:
        self._split = split
        self._device = device
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        self._threads = threads
        self.labels_N = torch.from_numpy(split.labels_N).to(device)
        self.side = split.resolution

    def __len__(self) -> int:
        return len(self.labels_N)

    def read(self, positions_n: NDArray[np.int64]) -> Tensor:
        """Decoded now: shorter side resized, centre cropped."""
        return torch.from_numpy(_read(self._split, positions_n, self._pool, self._threads)).to(self._device)

    def cropped(self, positions_n: NDArray[np.int64], draws: CropDraws) -> Tensor:
        """Random resized crops (n, R, R, C) uint8 of the whole stored images, decoded now."""
        return self._finished(self._begun(positions_n, draws))

    def ahead(self, batches: Iterable[tuple[NDArray[np.int64], CropDraws | None]]) -> Iterator[Tensor]:
        """`cropped` (or without draws `read`) of each batch in turn; the next are decoded while the caller computes."""
        waiting: deque[_Batch] = deque()
        try:
            for positions_n, draws in batches:
                waiting.append(self._begun(positions_n, draws))
                if len(waiting) > _AHEAD_BATCHES:
                    yield self._finished(waiting.popleft())
            while waiting:
                yield self._finished(waiting.popleft())
        finally:
            for batch in waiting:
                for work in batch.works:
                    work.cancel()

    def _begun(self, positions_n: NDArray[np.int64], draws: CropDraws | None) -> _Batch:
        images_nRRC = np.empty((len(positions_n), self.side, self.side, 3), dtype=np.uint8)

        def fill(rows_n: NDArray[np.int64]) -> None:
            if draws is None:
                images_nRRC[rows_n] = self._split.read(positions_n[rows_n])
                return
            for row in rows_n:
                image_HWC = self._split.glimpse(int(positions_n[row]))
                box = crop_box(draws, int(row), image_HWC.shape[0], image_HWC.shape[1])
                images_nRRC[row] = resized_crop(image_HWC, box, self.side)

        shares = _shares(len(positions_n), self._threads)
        return _Batch(images_nRRC, [self._pool.submit(fill, rows_n) for rows_n in shares])

    def _finished(self, batch: _Batch) -> Tensor:
        for work in batch.works:
            work.result()
        images_nRRC = torch.from_numpy(batch.images_nRRC)
        if self._device == "cpu":
            return images_nRRC
        return images_nRRC.pin_memory().to(self._device, non_blocking=True)


class _Batch(NamedTuple):
    """Crops on their way."""

    images_nRRC: NDArray[np.uint8]
    works: list[Future[None]]


def images_of(split: Split, device: str, threads: int = 1) -> Images:
    """A split as a source of batches: resident up to RESIDENT_BYTES, else streamed. Both `read` the same batches."""
    if len(split) * split.resolution**2 * 3 > RESIDENT_BYTES:
        return StreamedImages(split, device, threads)
    with ThreadPoolExecutor(threads) as pool:
        images_NHWC = _read(split, np.arange(len(split)), pool, threads)
    return ResidentImages(images_NHWC, split.labels_N, device)


def draw_crops(count: int, scale_min: float, generator: np.random.Generator) -> CropDraws:
    """All ten tries for each image, so that an image's crop depends neither on its neighbours nor on who decodes it."""
    scale_Tn, aspect_Tn = draw_tries(count, scale_min, generator)
    return CropDraws(scale_Tn, aspect_Tn, generator.random(count), generator.random(count))


def crop_box(draws: CropDraws, row: int, height: int, width: int) -> tuple[int, int, int, int]:
    """(top, left, height, width) of one image's crop by torchvision's rule, for an image of any shape.

    The first try that fits counts; where none does, the largest centred crop whose aspect is within 3/4 and 4/3.
    """
    area_T = height * width * draws.scale_Tn[:, row]
    height_T, width_T, fits_T = sizes_of_tries(area_T, draws.aspect_Tn[:, row], height, width)
    if not fits_T.any():
        crop_height, crop_width = min(height, round(width / RATIO[0])), min(width, round(height * RATIO[1]))
        return (height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width
    first = int(fits_T.argmax())
    crop_height, crop_width = int(height_T[first]), int(width_T[first])
    top = int(draws.top_n[row] * (height - crop_height + 1))
    return top, int(draws.left_n[row] * (width - crop_width + 1)), crop_height, crop_width


def resized_crop(image_HWC: NDArray[np.uint8], box: tuple[int, int, int, int], side: int) -> NDArray[np.uint8]:
    """A box (top, left, height, width) resized to (side, side, C): bilinear, antialiased, in uint8 arithmetic."""
    top, left, height, width = box
    crop_1CHW = torch.from_numpy(image_HWC[top : top + height, left : left + width]).permute(2, 0, 1)[None]
    resized_1CRR = functional.interpolate(crop_1CHW, size=(side, side), mode="bilinear", antialias=True)
    return resized_1CRR[0].permute(1, 2, 0).numpy()


def _read(split: Split, positions_n: NDArray[np.int64], pool: ThreadPoolExecutor, threads: int) -> NDArray[np.uint8]:
    """Squares (n, R, R, C), a part by each thread at a time."""
    images_nRRC = np.empty((len(positions_n), split.resolution, split.resolution, 3), dtype=np.uint8)

    def fill(rows_n: NDArray[np.int64]) -> None:
        images_nRRC[rows_n] = split.read(positions_n[rows_n])

    parts = max(threads, len(positions_n) // _READ_IMAGES)
    for _ in pool.map(fill, _shares(len(positions_n), parts)):
        pass  # raises what a part raised
    return images_nRRC


def _shares(count: int, parts: int) -> list[NDArray[np.int64]]:
    """Rows 0 to `count` in nearly equal parts, none of them empty unless all are."""
    return np.array_split(np.arange(count), max(1, min(parts, count)))
