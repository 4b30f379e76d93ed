"""Small arrays to the device and images by groups, without ever waiting for what the device is still doing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor


def to_device(array: NDArray[Any], device: torch.device | str) -> Tensor:
    """A small array on the device, without waiting for what the device is still doing.

    NOTE: right for pageable memory only, which CUDA copies aside before the call returns.
    """
    return torch.from_numpy(array).to(device, non_blocking=True)


def per_image(values_N: NDArray[Any], device: torch.device | str) -> Tensor:
    """One value for each image, to go with images (N, C, H, W)."""
    return to_device(values_N, device)[:, None, None, None]


def change_by_group(
    images_N: Tensor, groups_N: NDArray[np.int64], change: Callable[[Tensor, int, NDArray[np.int64]], Tensor]
) -> Tensor:
    """Images after `change(images of a group, the group, their positions)`, in the order in which they came.

    Positions are known on the CPU, so that nothing waits for the device. Two gathers instead of writing into a copy,
    which goes value by value on a CPU and sorts on CUDA.
    """
    groups = np.unique(groups_N).tolist()
    positions = [np.flatnonzero(groups_N == group) for group in groups]
    parts = [
        change(images_N.index_select(0, to_device(positions_n, images_N.device)), group, positions_n)
        for group, positions_n in zip(groups, positions, strict=True)
    ]
    back_N = to_device(np.argsort(np.concatenate(positions)), images_N.device)
    return torch.cat(parts).index_select(0, back_N)
