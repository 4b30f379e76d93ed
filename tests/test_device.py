"""What goes to the device, and images that are changed group by group."""

from __future__ import annotations

import numpy as np
import torch

from condhpc.device import change_by_group, to_device


def test_arrays_arrive_with_their_type() -> None:
    """Values and dtype are those of the array, as a tensor of the device that was asked for."""
    for array in (np.array([3, -1]), np.array([0.5], dtype=np.float32), np.array([True, False])):
        found = to_device(array, "cpu")
        assert found.numpy().dtype == array.dtype
        assert np.array_equal(found.numpy(), array)
    assert to_device(np.zeros(2), torch.device("meta")).device.type == "meta"


def test_each_group_is_changed_once_and_put_back_in_order() -> None:
    """Every image gets its own group's change and keeps its place; the change sees its images' positions."""
    groups_N = np.array([2, -1, 7, 2, 2, -1])
    images_N = torch.arange(6) * 100
    seen: dict[int, list[int]] = {}

    def change(images_n: torch.Tensor, group: int, positions_n: np.ndarray) -> torch.Tensor:
        seen[group] = positions_n.tolist()
        assert images_n.tolist() == [100 * position for position in seen[group]]
        return images_n + group

    found = change_by_group(images_N, groups_N, change)
    assert found.tolist() == [2, 99, 207, 302, 402, 499]
    assert seen == {-1: [1, 5], 2: [0, 3, 4], 7: [2]}
    assert images_N.tolist() == [0, 100, 200, 300, 400, 500]
