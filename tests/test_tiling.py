"""Mosaics on paper."""

import pytest

from condhpc import tiling
from condhpc.errors import StageError
from condhpc.spec import DatasetInfo


def info(resolution: int, *sizes: int) -> DatasetInfo:
    """A dataset of so many classes."""
    return DatasetInfo(
        classes=len(sizes), train_class_sizes=sizes, resolution=resolution, mean=(0.5,) * 3, std=(0.2,) * 3,
        mirror=True, crop_scale_min=0.5,
    )  # fmt: skip


def test_factor() -> None:
    """Mosaics of 2 × 2 above 64 px, single crops of CIFAR and Tiny-ImageNet; a factor must divide the resolution."""
    assert [tiling.required_factor("x", 0, side) for side in (8, 32, 64, 66, 224)] == [1, 1, 1, 2, 2]
    assert tiling.required_factor("x", 4, 32) == 4
    with pytest.raises(StageError, match=r"params.x.factor = 3 does not divide the resolution 32"):
        tiling.required_factor("x", 3, 32)


def test_objections() -> None:
    """What a task would stop at is said beforehand, of the smallest class."""
    assert tiling.objection("x", 2, info(64, 50, 40), 10) == ""
    assert tiling.objection("x", 2, info(64, 50, 39), 10).startswith("the smallest class has 39 images; ipc = 10")
    assert tiling.objection("x", 0, info(65, 50), 1) == "params.x.factor = 2 does not divide the resolution 65"
    tiling.require_enough("x", 3, 40, 2, 10)
    with pytest.raises(StageError, match=r"class 3 has 39 images.* needs 40; lower ipc or params.x.factor"):
        tiling.require_enough("x", 3, 39, 2, 10)
