"""Where pixels start, and how they end."""

from typing import Any

import numpy as np
import pytest
import recovery_work as rw
import torch
from tiny_data import MemorySplit

from condhpc import pixels
from condhpc.errors import StageError
from condhpc.methods.base import Unit


def work(seed: int = 0) -> Any:
    """With four images of each class."""
    found = rw.make_work(seed=seed)
    found.train = MemorySplit(3, 4, rw.SIDE)
    return found


def test_uint8_survives_the_way_there_and_back() -> None:
    """All 256 levels, rounded; none is ever above under truncation."""
    levels = np.arange(256, dtype=np.uint8).reshape(4, 8, 8, 1).repeat(3, axis=3)
    dataset = work().spec.dataset
    there = pixels.normalised(levels, dataset)
    np.testing.assert_array_equal(pixels.finished(there, dataset, "paper"), levels)
    half_up = there + 0.6 / 255 / torch.tensor(rw.STD).view(3, 1, 1)
    np.testing.assert_array_equal(pixels.finished(half_up, dataset, "code")[:-1], levels[:-1])
    np.testing.assert_array_equal(pixels.finished(half_up, dataset, "paper")[:-1], levels[:-1] + 1)


def test_bounds_are_black_and_white() -> None:
    """After normalisation, per channel."""
    dataset = work().spec.dataset
    low, high = pixels.bounds(dataset, "cpu")
    ends = pixels.normalised(np.array([0, 255], dtype=np.uint8).reshape(2, 1, 1, 1).repeat(3, axis=3), dataset)
    torch.testing.assert_close(torch.stack([low, high]), ends)


def test_noise_depends_on_class_and_place_alone() -> None:
    """Whatever unit an image is in; other images, other noise."""
    one = pixels.noise(work(), Unit("a", (0, 1, 2), (1, 1, 1)))
    other = pixels.noise(work(), Unit("b", (2, 2), (0, 1)))
    assert torch.equal(one[2], other[1])
    assert not torch.equal(other[0], other[1])
    assert float(torch.cat([one, other]).std()) == pytest.approx(1.0, abs=0.1)


def test_real_starts_are_images_of_the_class_without_repeats() -> None:
    """Each place of a class has an image of its own."""
    given = work()
    given.spec.ipc = 4
    found = pixels.real(given, Unit("a", (1,) * 4, (0, 1, 2, 3)))
    of_class = given.train.read(given.train.of_class(1))
    images = pixels.finished(found, given.spec.dataset, "paper")
    assert sorted(image.tobytes() for image in images) == sorted(image.tobytes() for image in of_class)


def test_real_starts_need_enough_images() -> None:
    """Five of four are refused, with what to do."""
    given = work()
    given.spec.ipc = 5
    with pytest.raises(StageError, match="class 1 has 4 images, ipc = 5"):
        pixels.real(given, Unit("a", (1,), (0,)))


@pytest.mark.parametrize("threads", [1, 3])
def test_batches_are_read_in_order_by_any_number_of_threads(threads: int) -> None:
    """Batches of five, the last smaller, each the very pixels that one read gives."""
    given = work()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = list(pixels.Batches(given, given.spec.dataset).of(np.arange(12)[::-1], 5))
    finally:
        torch.set_num_threads(before)
    assert [len(part) for part in found] == [5, 5, 2]
    expected = pixels.normalised(given.train.read(np.arange(12)[::-1]), given.spec.dataset)
    assert torch.equal(torch.cat(found), expected)
