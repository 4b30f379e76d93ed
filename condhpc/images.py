"""Labelled uint8 images, handed out on the device: whole in its memory where they fit, else batch by batch.

Shapes: N images of the source, n of a batch, H × W pixels, C channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from condhpc.device import to_device

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from condhpc.datasets.base import Split

RESIDENT_BYTES = 4 << 30
"""A split up to this size is read whole onto the device; a larger one is read batch by batch."""


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


class StreamedImages:
    """Images of a split too large for the device, decoded batch by batch."""

    def __init__(self, split: Split, device: str) -> None:
        self._split = split
        self._device = device
        self.labels_N = torch.from_numpy(split.labels_N).to(device)
        self.side = split.resolution

    def __len__(self) -> int:
        return len(self.labels_N)

    def read(self, positions_n: NDArray[np.int64]) -> Tensor:
        """Decoded now."""
        return torch.from_numpy(self._split.read(positions_n)).to(self._device)


def images_of(split: Split, device: str) -> Images:
    """A split as a source of batches: resident up to RESIDENT_BYTES, else streamed. Both give the same batches."""
    if len(split) * split.resolution**2 * 3 <= RESIDENT_BYTES:
        return ResidentImages(split.read(np.arange(len(split))), split.labels_N, device)
    return StreamedImages(split, device)
