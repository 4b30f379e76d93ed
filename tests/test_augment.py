"""Batched augmentation, compared with torchvision for the same parameters."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.functional import InterpolationMode, hflip, normalize, resized_crop

from condhpc import augment, rng
from condhpc.augment import Draws, Mix
from condhpc.spec import Augment

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
ALL = Augment(crop_scale_min=0.08, flip=True, cutmix_alpha=1.0)


def _images(count: int, side: int) -> torch.Tensor:
    draw = rng.stream(1, "augment-images", count, side)
    return torch.from_numpy(draw.integers(0, 256, size=(count, side, side, 3), dtype=np.uint8))


def _torchvision(image_HWC: torch.Tensor, box: NDArray[np.int64], *, flip: bool) -> torch.Tensor:
    """One image by torchvision's functions, float32 in 0..255."""
    top, left, height, width = (int(v) for v in box)
    size = list(image_HWC.shape[:2])
    image_CHW = image_HWC.permute(2, 0, 1).float()
    image_CHW = resized_crop(image_CHW, top, left, height, width, size, InterpolationMode.BILINEAR, antialias=False)
    return hflip(image_CHW) if flip else image_CHW


@pytest.mark.parametrize("side", [8, 32, 65, 224])
def test_crop_and_flip_match_torchvision(side: int) -> None:
    """The same boxes and mirrors give torchvision's pixels to 0.02 of 255, random, smallest and largest boxes alike."""
    boxes_N4 = augment.draw_crops(8, side, 0.08, rng.stream(0, "boxes", side))
    extreme_N4 = [[0, 0, side, side], [0, 0, 1, 1], [side - 1, side - 1, 1, 1], [side // 2, 0, 1, side], [1, 2, 5, 3]]
    boxes_N4 = np.concatenate([boxes_N4, extreme_N4])
    flips_N = np.arange(len(boxes_N4)) % 2 == 0
    images_NHWC = _images(len(boxes_N4), side)
    found = augment.crop_and_flip(images_NHWC.permute(0, 3, 1, 2).float(), boxes_N4, flips_N)
    for row, image in enumerate(found):
        expected = _torchvision(images_NHWC[row], boxes_N4[row], flip=bool(flips_N[row]))
        torch.testing.assert_close(image, expected, atol=0.02, rtol=0.0)


def test_apply_matches_torchvision_step_by_step() -> None:
    """Crop, mirror, normalise, paste: the whole pipeline against torchvision's functions and a plain paste."""
    images_NHWC = _images(6, 32)
    draws = augment.draw(ALL, 6, 32, rng.stream(4, "augment", 9))
    assert draws.boxes_N4 is not None
    assert draws.flips_N is not None
    assert draws.mix is not None
    one_by_one = [
        normalize(_torchvision(images_NHWC[i], draws.boxes_N4[i], flip=bool(draws.flips_N[i])) / 255, MEAN, STD)
        for i in range(6)
    ]
    expected = torch.stack(one_by_one)
    mix = draws.mix
    for i in range(6):
        partner = one_by_one[int(mix.partner_N[i])]
        expected[i, :, mix.top : mix.bottom, mix.left : mix.right] = partner[
            :, mix.top : mix.bottom, mix.left : mix.right
        ]
    torch.testing.assert_close(augment.apply(images_NHWC, draws, MEAN, STD), expected, atol=1e-3, rtol=0.0)


def test_flip_alone_mirrors_exactly() -> None:
    """Without crops nothing is interpolated: a mirrored image is the very pixels reversed."""
    images_NHWC = _images(2, 8)
    draws = Draws(boxes_N4=None, flips_N=np.array([True, False]), mix=None)
    expected = augment.plain(images_NHWC, MEAN, STD)
    expected[0] = expected[0].flip(2)
    assert torch.equal(augment.apply(images_NHWC, draws, MEAN, STD), expected)


def test_plain_normalises_and_leaves_the_source_alone() -> None:
    """Test images are (x/255 − mean)/std, and the uint8 source can be read again."""
    images_NHWC = _images(3, 8)
    before = images_NHWC.clone()
    expected = normalize(images_NHWC.permute(0, 3, 1, 2).float() / 255, list(MEAN), list(STD))
    found = augment.plain(images_NHWC, MEAN, STD)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(images_NHWC, before)


def test_crops_follow_torchvisions_distribution() -> None:
    """Means and spreads of box sides and positions agree with 4,000 draws of torchvision's own sampler."""
    side, count = 32, 4000
    ours = augment.draw_crops(count, side, 0.08, rng.stream(0, "crops"))
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
    top, left, height, width = augment.draw_crops(2000, side, 0.08, rng.stream(0, "inside", side)).T
    assert (np.minimum(height, width) >= 1).all()
    assert (np.minimum(top, left) >= 0).all()
    assert (top + height).max() == side
    assert (left + width).max() == side


def test_ten_misfits_keep_the_whole_image() -> None:
    """At scale 1 only near-square tries fit; where none of ten does, torchvision's fallback is the whole square."""
    boxes_N4 = augment.draw_crops(400, 224, 0.9999, rng.stream(0, "misfits"))
    assert (boxes_N4 == [0, 0, 224, 224]).all(axis=1).sum() > 200


def test_draws_follow_the_recipe() -> None:
    """What a recipe turns off is not drawn."""
    off = augment.draw(Augment(crop_scale_min=1.0, flip=False, cutmix_alpha=0.0), 4, 8, rng.stream(0, "off"))
    assert (off.boxes_N4, off.flips_N, off.mix) == (None, None, None)


def test_draws_depend_on_their_stream_alone() -> None:
    """The same stream gives the same parameters, another step's stream gives others."""
    first, again, other = (augment.draw(ALL, 16, 32, rng.stream(0, "augment", step)) for step in (3, 3, 4))
    assert np.array_equal(first.boxes_N4, again.boxes_N4)
    assert np.array_equal(first.flips_N, again.flips_N)
    assert str(first.mix) == str(again.mix)
    assert not np.array_equal(first.boxes_N4, other.boxes_N4)


def test_own_share_is_the_area_that_is_left() -> None:
    """Labels are mixed by the pixels really pasted, also where the border cuts the box."""
    cut_at_border = 0
    for i in range(200):
        mix = augment.draw_mix(2, 16, 1.0, rng.stream(0, "share", i))
        images_NCHW = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 3, 16, 16)
        pasted = torch.zeros(2, 3, 16, 16) + images_NCHW
        augment._mix_(pasted, mix._replace(partner_N=np.array([1, 0])))
        assert float(pasted[0, 0].mean()) == pytest.approx(1.0 - mix.own_share)
        cut_at_border += mix.bottom - mix.top != mix.right - mix.left
    assert cut_at_border > 20


def test_mixed_shares_are_uniform_for_alpha_1() -> None:
    """λ ~ Beta(1, 1) is uniform. A box of side r loses r²/4 of it to the borders, so that the mean share is 0.679."""
    shares = [augment.draw_mix(2, 224, 1.0, rng.stream(0, "beta", i)).own_share for i in range(2000)]
    assert np.mean(shares) == pytest.approx(1 - (1 / 2 - 1 / 5 + 1 / 48), abs=0.02)
    assert min(shares) < 0.1
    assert max(shares) > 0.99


def test_mix_takes_the_partners_original_pixels() -> None:
    """A chain of partners pastes originals, not what was pasted a moment ago."""
    images_NCHW = torch.arange(3.0).view(3, 1, 1, 1).repeat(1, 3, 4, 4)
    augment._mix_(images_NCHW, Mix(np.array([1, 2, 0]), 0, 0, 2, 4, 0.5))
    assert images_NCHW[:, 0, 0, 0].tolist() == [1.0, 2.0, 0.0]
    assert images_NCHW[:, 0, 3, 0].tolist() == [0.0, 1.0, 2.0]
