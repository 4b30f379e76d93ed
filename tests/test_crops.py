"""Crops and mirrors compared with torchvision for the same boxes; shuffled strips with a loop over images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from made_images import noise, shuffled_by_hand, torchvision_crop
from torchvision.transforms import RandomResizedCrop

from condhpc import crops, rng


@pytest.mark.parametrize("side", [8, 32, 65, 224])
def test_crop_and_flip_match_torchvision(side: int) -> None:
    """The same boxes and mirrors give torchvision's pixels to 0.02 of 255, random, smallest and largest boxes alike."""
    boxes_N4 = crops.draw_crops(8, side, 0.08, rng.stream(0, "boxes", side))
    extreme_N4 = [[0, 0, side, side], [0, 0, 1, 1], [side - 1, side - 1, 1, 1], [side // 2, 0, 1, side], [1, 2, 5, 3]]
    boxes_N4 = np.concatenate([boxes_N4, extreme_N4])
    flips_N = np.arange(len(boxes_N4)) % 2 == 0
    images_NHWC = noise(len(boxes_N4), side)
    found = crops.crop_and_flip(images_NHWC.permute(0, 3, 1, 2).float(), boxes_N4, flips_N)
    for row, image in enumerate(found):
        expected = torchvision_crop(images_NHWC[row], boxes_N4[row], flip=bool(flips_N[row]))
        torch.testing.assert_close(image, expected, atol=0.02, rtol=0.0)


def test_crops_follow_torchvisions_distribution() -> None:
    """Means and spreads of box sides and positions agree with 4,000 draws of torchvision's own sampler."""
    side, count = 32, 4000
    ours = crops.draw_crops(count, side, 0.08, rng.stream(0, "crops"))
    blank = torch.zeros(3, side, side)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        draws = [RandomResizedCrop.get_params(blank, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(count)]
    theirs = np.array(draws)
    standard_error = theirs.std(axis=0) / np.sqrt(count)
    assert (np.abs(ours.mean(axis=0) - theirs.mean(axis=0)) < 5 * standard_error).all()
    assert np.allclose(ours.std(axis=0), theirs.std(axis=0), rtol=0.06)


@pytest.mark.parametrize("side", [1, 2, 8, 33])
def test_crops_stay_inside(side: int) -> None:
    """No box leaves the image or is empty, down to a single pixel."""
    top, left, height, width = crops.draw_crops(2000, side, 0.08, rng.stream(0, "inside", side)).T
    assert (np.minimum(height, width) >= 1).all()
    assert (np.minimum(top, left) >= 0).all()
    assert (top + height).max() == side
    assert (left + width).max() == side


def test_ten_misfits_keep_the_whole_image() -> None:
    """At scale 1 only near-square tries fit; where none of ten does, torchvision's fallback is the whole square."""
    boxes_N4 = crops.draw_crops(400, 224, 0.9999, rng.stream(0, "misfits"))
    assert (boxes_N4 == [0, 0, 224, 224]).all(axis=1).sum() > 200


@pytest.mark.parametrize("side", [32, 144])
def test_crops_of_integers_and_floats_are_the_same(side: int) -> None:
    """Stored uint8 images need no conversion by the caller, whichever way is taken for their size."""
    boxes_N4 = crops.draw_crops(6, side, 0.08, rng.stream(0, "boxes"))
    images_NCHW = noise(6, side).permute(0, 3, 1, 2)
    from_floats = crops.crop_and_flip(images_NCHW.float(), boxes_N4, None)
    assert torch.equal(crops.crop_and_flip(images_NCHW, boxes_N4, None), from_floats)


@pytest.mark.parametrize("side", [31, 224])
def test_both_ways_to_resize_agree(side: int) -> None:
    """One by one (large images on a CPU) and all at once (a GPU, small images) differ by rounding alone."""
    boxes_N4, flips_N = crops.draw_crops(6, side, 0.08, rng.stream(0, "boxes")), np.arange(6) % 3 == 0
    images_NCHW = noise(6, side).permute(0, 3, 1, 2)
    one_by_one = crops._one_by_one(images_NCHW, boxes_N4, flips_N)
    assert one_by_one.is_contiguous(memory_format=torch.channels_last)
    all_at_once = crops._all_at_once(images_NCHW.float(), boxes_N4, flips_N)
    torch.testing.assert_close(one_by_one, all_at_once, atol=0.02, rtol=0.0)


@pytest.mark.parametrize(("side", "strips"), [(8, 2), (9, 2), (32, 3), (14, 4), (5, 5)])
def test_strips_change_places_as_a_whole(side: int, strips: int) -> None:
    """Each image as a loop over it cuts and joins; of sides that do not divide, the last strip takes the rest."""
    images_NHWC = noise(12, side)
    drawn = crops.draw_strips(12, strips, rng.stream(0, "strips", side))
    found = crops.shuffle_strips(images_NHWC, drawn).numpy()
    for row, image in enumerate(images_NHWC.numpy()):
        expected = shuffled_by_hand(image, drawn.rows_NS[row].tolist(), drawn.columns_NS[row].tolist())
        assert np.array_equal(found[row], expected)


def test_all_orders_of_strips_are_equally_likely() -> None:
    """Of 6,000 images with three strips each of the six orders comes up 1,000 times, give or take five sigma."""
    drawn = crops.draw_strips(6000, 3, rng.stream(0, "orders"))
    for places_NS in drawn:
        _, counts = np.unique(places_NS, axis=0, return_counts=True)
        assert len(counts) == 6
        assert (np.abs(counts - 1000) < 5 * np.sqrt(6000 * (1 / 6) * (5 / 6))).all()
    assert not np.array_equal(drawn.rows_NS, drawn.columns_NS)
