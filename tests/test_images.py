"""Sources of batches."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from made_image_files import smooth
from made_training import bits, digits, few_digits, run, student, training
from numpy.typing import NDArray
from PIL import Image

from condhpc import images, rng, train
from condhpc.datasets.base import Split
from condhpc.errors import StageError
from condhpc.images import ResidentImages, StreamedImages
from condhpc.spec import Augment


def test_both_sources_hand_out_the_same_batches() -> None:
    """Where images live changes nothing: same pixels, same labels, same side."""
    split = digits("test")
    resident, streamed = images.images_of(split, "cpu"), StreamedImages(split, "cpu")
    positions_n = np.array([7, 3, 3, 200])
    assert isinstance(resident, ResidentImages)
    assert torch.equal(resident.read(positions_n), streamed.read(positions_n))
    assert torch.equal(resident.labels_N, streamed.labels_N)
    assert (len(resident), resident.side) == (len(streamed), streamed.side) == (len(split), 8)


def test_large_splits_are_streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the bound a split is not read whole."""
    monkeypatch.setattr(images, "RESIDENT_BYTES", 1000)
    assert isinstance(images.images_of(digits("test"), "cpu"), StreamedImages)


def test_training_does_not_depend_on_the_source() -> None:
    """Without crops, a teacher of a streamed split ends in the same bits as one of a resident split."""
    split = digits("train")
    recipe = run(training(4, 64, augment=Augment(crop_scale_min=1.0, flip=True, cutmix_alpha=1.0)))
    resident, streamed = student(), student()
    train.train(resident, images.images_of(split, "cpu"), recipe)
    train.train(streamed, StreamedImages(split, "cpu"), recipe)
    assert bits(resident) == bits(streamed)


class Photos(Split):
    """Images of different shapes."""

    def __init__(self, count: int = 9, side: int = 24) -> None:
        draw = rng.stream(1, "photos")
        self.labels_N = np.arange(count, dtype=np.int64) % 3
        self.resolution = side
        self.photos = [smooth(int(w), int(h), i) for i, (w, h) in enumerate(draw.integers(30, 120, (count, 2)))]

    def read(self, positions_n: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Squeezed."""
        side = (self.resolution, self.resolution)
        return np.stack([np.asarray(self.photos[p].resize(side)) for p in positions_n])

    def raw(self, position: int) -> NDArray[np.uint8]:
        """As stored."""
        return np.array(self.photos[position])


def test_crops_are_those_of_the_whole_image() -> None:
    """Each is the drawn box of the stored image, resized as Pillow does up to two grey levels."""
    split = Photos()
    order_n = np.array([4, 4, 0, 8, 2])
    found = StreamedImages(split, "cpu").cropped(order_n, images.draw_crops(len(order_n), 0.2, rng.stream(3, "crop")))
    draws = images.draw_crops(5, 0.2, rng.stream(3, "crop"))
    assert found.dtype == torch.uint8
    for row, position in enumerate(order_n):
        photo = split.photos[position]
        top, left, height, width = images.crop_box(draws, row, photo.height, photo.width)
        cut = photo.crop((left, top, left + width, top + height)).resize((24, 24), Image.Resampling.BILINEAR)
        assert np.abs(found[row].numpy().astype(int) - np.asarray(cut)).max() <= 2
    assert not torch.equal(found[0], found[1])


@pytest.mark.parametrize("threads", [2, 5, 16])
def test_threads_change_nothing(threads: int) -> None:
    """Crops and squares are the same bits on any number of threads, also with fewer images than threads."""
    split = Photos()
    one, many = StreamedImages(split, "cpu"), StreamedImages(split, "cpu", threads)
    for order_n in (np.arange(9), np.array([3, 3, 1])):
        drawn = images.draw_crops(len(order_n), 0.08, rng.stream(0, "c"))
        assert torch.equal(one.cropped(order_n, drawn), many.cropped(order_n, drawn))
        assert torch.equal(one.read(order_n), many.read(order_n))
    assert torch.equal(images.images_of(split, "cpu", threads).read(np.arange(9)), one.read(np.arange(9)))


def test_batches_that_are_decoded_ahead_are_the_same() -> None:
    """Working ahead changes neither order nor pixels, whether the last batch is short or not."""
    source = StreamedImages(Photos(), "cpu", 3)
    orders = [np.arange(9)[start : start + 2] for start in (0, 2, 4, 6, 8)]
    drawn = [images.draw_crops(len(order_n), 0.08, rng.stream(0, "crop", i)) for i, order_n in enumerate(orders)]
    found = list(source.ahead(zip(orders, drawn, strict=True)))
    assert len(found) == 5
    for i, order_n in enumerate(orders):
        assert torch.equal(found[i], source.cropped(order_n, drawn[i]))
    assert list(source.ahead([])) == []
    plain = list(source.ahead((order_n, None) for order_n in orders))
    assert torch.equal(torch.cat(plain), source.read(np.arange(9)))


def test_an_endless_plan_is_decoded_only_a_little_ahead() -> None:
    """Whoever takes one batch of an endless order gets it, and what waits is dropped with the iterator."""
    source = StreamedImages(Photos(), "cpu", 2)
    begun: list[int] = []

    def orders() -> Iterator[tuple[NDArray[np.int64], images.CropDraws]]:
        for step in itertools.count():
            begun.append(step)
            yield np.array([step % 9]), images.draw_crops(1, 0.08, rng.stream(0, "crop", step))

    ahead = source.ahead(orders())
    assert next(ahead).shape == (1, 24, 24, 3)
    ahead.close()
    assert len(begun) <= 4


def test_a_bad_image_stops_the_batch() -> None:
    """An error on a decoding thread reaches the caller with its message."""
    split = Photos()

    def refuse(position: int) -> NDArray[np.uint8]:
        raise StageError(f"image {position} is broken")

    split.glimpse = refuse  # type: ignore[method-assign]
    source = StreamedImages(split, "cpu", 2)
    with pytest.raises(StageError, match="is broken"):
        source.cropped(np.arange(4), images.draw_crops(4, 0.08, rng.stream(0, "crop")))


def reference_box(draws: images.CropDraws, row: int, height: int, width: int) -> tuple[int, int, int, int]:
    """Torchvision's rule, one try after the other, in plain numbers."""
    for scale, aspect in zip(draws.scale_Tn[:, row], draws.aspect_Tn[:, row], strict=True):
        w = round(math.sqrt(height * width * scale * aspect))
        h = round(math.sqrt(height * width * scale / aspect))
        if 0 < w <= width and 0 < h <= height:
            return int(draws.top_n[row] * (height - h + 1)), int(draws.left_n[row] * (width - w + 1)), h, w
    from torchvision.transforms import RandomResizedCrop

    # Twice the area never fits, so this is what torchvision falls back on.
    box = RandomResizedCrop.get_params(torch.zeros(3, height, width), [2.0, 2.0], [3 / 4, 4 / 3])
    return box[0], box[1], box[2], box[3]


@pytest.mark.parametrize("shape", [(50, 50), (40, 90), (90, 40), (1, 1), (7, 400), (400, 7), (2, 3)])
def test_boxes_follow_torchvisions_rule(shape: tuple[int, int]) -> None:
    """The first try that fits; for strips that no try fits, torchvision's own fallback. Always inside the image."""
    draws = images.draw_crops(200, 0.08, rng.stream(5, "boxes"))
    for row in range(200):
        top, left, height, width = images.crop_box(draws, row, *shape)
        assert (top, left, height, width) == reference_box(draws, row, *shape)
        assert 0 <= top <= shape[0] - height
        assert 0 <= left <= shape[1] - width


def test_boxes_are_distributed_as_torchvisions() -> None:
    """Mean place, size and area over many draws on a wide image agree with torchvision's own draws."""
    from torchvision.transforms import RandomResizedCrop

    height, width, count = 80, 120, 4000
    draws = images.draw_crops(count, 0.08, rng.stream(6, "boxes"))
    ours_N4 = np.array([images.crop_box(draws, row, height, width) for row in range(count)], dtype=float)
    torch.manual_seed(0)
    blank = torch.zeros(3, height, width)
    theirs = [RandomResizedCrop.get_params(blank, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(count)]
    theirs_N4 = np.array(theirs, dtype=float)
    for measure in (np.mean, np.std):
        np.testing.assert_allclose(measure(ours_N4, axis=0), measure(theirs_N4, axis=0), atol=1.2)
    area_N, their_area_N = ours_N4[:, 2] * ours_N4[:, 3], theirs_N4[:, 2] * theirs_N4[:, 3]
    assert abs(area_N.mean() - their_area_N.mean()) < 0.02 * height * width


def test_resident_images_are_read_by_position() -> None:
    """Order and repetition are the caller's."""
    source = few_digits(10)
    assert torch.equal(source.read(np.array([9, 0, 9]))[2], source.images_NHWC[9])
