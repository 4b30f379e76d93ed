"""Images as pixels that are optimised: where they start, the room that they have, and back to uint8."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from condhpc.errors import StageError
from condhpc.images import StreamedImages

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from condhpc.methods.base import Given, Unit, Work
    from condhpc.spec import DatasetSpec

Fidelity = Literal["paper", "code"]


def normalised(images_NHWC: NDArray[np.uint8] | Tensor, dataset: DatasetSpec) -> Tensor:
    """Images as networks see them: float32 (N, 3, H, W), where they are."""
    images_NCHW = torch.as_tensor(images_NHWC).permute(0, 3, 1, 2).float().div(255.0)
    mean_C11, std_C11 = (_channels(values).to(images_NCHW.device) for values in (dataset.mean, dataset.std))
    return ((images_NCHW - mean_C11) / std_C11).contiguous()


class Batches:
    """Training images as networks see them, on the device; threads decode the next while it computes."""

    def __init__(self, work: Given, dataset: DatasetSpec) -> None:
        self._dataset = dataset
        self._images = StreamedImages(work.train, work.device, torch.get_num_threads())

    def of(self, positions_n: NDArray[np.int64], batch: int) -> Iterator[Tensor]:
        """Batches (b, 3, R, R) of these in order."""
        parts = (positions_n[first : first + batch] for first in range(0, len(positions_n), batch))
        for images_bHWC in self._images.ahead((part, None) for part in parts):
            yield normalised(images_bHWC, self._dataset)


def bounds(dataset: DatasetSpec, device: str) -> tuple[Tensor, Tensor]:
    """What black and white are after normalisation, per channel (3, 1, 1)."""
    mean_C11, std_C11 = _channels(dataset.mean), _channels(dataset.std)
    return (-mean_C11 / std_C11).to(device), ((1.0 - mean_C11) / std_C11).to(device)


def finished(pixels_NCHW: Tensor, dataset: DatasetSpec, fidelity: Fidelity) -> NDArray[np.uint8]:
    """uint8 images (N, H, W, 3) of normalised pixels: rounded, or truncated as the authors' codes do."""
    images_NCHW = pixels_NCHW.detach().cpu() * _channels(dataset.std) + _channels(dataset.mean)
    levels_NCHW = images_NCHW.clamp(0.0, 1.0) * 255.0
    whole_NCHW = levels_NCHW.floor() if fidelity == "code" else levels_NCHW.round()
    images_NHWC: NDArray[np.uint8] = whole_NCHW.to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    return images_NHWC


def noise(work: Work, unit: Unit) -> Tensor:
    """Standard normal values (n, 3, R, R), one stream for each image: they depend on class and place alone."""
    side = work.spec.resolution
    streams = [work.stream("noise", label, place) for label, place in zip(unit.labels, unit.places, strict=True)]
    values_NCHW = np.stack([stream.standard_normal((3, side, side), dtype=np.float32) for stream in streams])
    return torch.from_numpy(values_NCHW)


def real(work: Work, unit: Unit) -> Tensor:
    """A random training image for each, none twice in a class: image i of a class is the i-th of its shuffled ones.

    Raises StageError where a class has fewer images than ipc.
    """
    positions = []
    for label, place in zip(unit.labels, unit.places, strict=True):
        positions_n = work.train.of_class(label)
        if len(positions_n) < work.spec.ipc:
            raise StageError(
                f"class {label} has {len(positions_n)} images, ipc = {work.spec.ipc} needs as many to start from; "
                "lower ipc or start from noise"
            )
        positions.append(positions_n[work.stream("real", label).permutation(len(positions_n))[place]])
    return normalised(work.train.read(np.asarray(positions)), work.spec.dataset)


def _channels(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).view(-1, 1, 1)
