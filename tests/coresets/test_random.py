"""The random coreset."""

import numpy as np
import pytest

from condhpc import rng
from condhpc.coresets.base import ClassImages
from condhpc.coresets.random import PLUGIN
from condhpc.errors import StageError


def pick(count: int, ipc: int, seed: int) -> list[int]:
    """Positions under a seed."""
    return PLUGIN.select(ClassImages(count, rng.stream(seed, "random", 0)), ipc, PLUGIN.Params()).tolist()


def test_nested_over_ipc() -> None:
    """The set of a smaller ipc begins that of a larger one."""
    assert pick(50, 30, 1)[:10] == pick(50, 10, 1)


def test_every_image_is_as_likely() -> None:
    """Over many seeds each of 10 images is picked first about as often, within 5 standard deviations."""
    counts = np.bincount([pick(10, 1, seed)[0] for seed in range(2000)], minlength=10)
    assert np.abs(counts - 200).max() < 5 * np.sqrt(2000 * 0.1 * 0.9)


def test_whole_class() -> None:
    """An ipc of the class size gives each image once."""
    assert sorted(pick(7, 7, 0)) == list(range(7))


def test_class_too_small() -> None:
    """The error tells both numbers."""
    with pytest.raises(StageError, match=r"has 7 images, ipc = 8"):
        pick(7, 8, 0)


def test_five_draws_by_default() -> None:
    """The baseline is drawn five times unless the manifest says otherwise."""
    assert tuple(PLUGIN.default_set_seeds) == (0, 1, 2, 3, 4)
