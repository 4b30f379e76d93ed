"""Batched augmentation, compared with the same parameters through torchvision, Pillow and numpy, image by image."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from made_images import noise, pictures, shuffled_by_hand, torchvision_crop
from torchvision.transforms.functional import normalize
from torchvision.transforms.v2 import functional as tv

from condhpc import augment, crops, randaugment, rng
from condhpc.augment import Draws, Mix
from condhpc.errors import StageError
from condhpc.randaugment import Operations
from condhpc.spec import Augment, RandAugment

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
ALL = Augment(crop_scale_min=0.08, flip=True, cutmix_alpha=1.0)
EVERYTHING = Augment(
    crop_scale_min=0.25,
    flip=True,
    cutmix_alpha=1.0,
    patch_shuffle=2,
    randaugment=RandAugment(operations=2, magnitude=6.0, magnitude_std=1.0),
    color_jitter=0.4,
    lighting_std=0.1,
)


def test_apply_matches_torchvision_step_by_step() -> None:
    """Crop, mirror, normalise, paste: the whole pipeline against torchvision's functions and a plain paste."""
    images_NHWC = noise(6, 32)
    draws = augment.draw(ALL, 6, 32, rng.stream(4, "augment", 9))
    assert draws.boxes_N4 is not None
    assert draws.flips_N is not None
    assert draws.mix is not None
    one_by_one = [
        normalize(torchvision_crop(images_NHWC[i], draws.boxes_N4[i], flip=bool(draws.flips_N[i])) / 255, MEAN, STD)
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
    images_NHWC = noise(2, 8)
    draws = Draws(boxes_N4=None, flips_N=np.array([True, False]), mix=None)
    expected = augment.plain(images_NHWC, MEAN, STD)
    expected[0] = expected[0].flip(2)
    assert torch.equal(augment.apply(images_NHWC, draws, MEAN, STD), expected)


def test_plain_normalises_and_leaves_the_source_alone() -> None:
    """Test images are (x/255 − mean)/std, and the uint8 source can be read again."""
    images_NHWC = noise(3, 8)
    before = images_NHWC.clone()
    expected = normalize(images_NHWC.permute(0, 3, 1, 2).float() / 255, list(MEAN), list(STD))
    found = augment.plain(images_NHWC, MEAN, STD)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(images_NHWC, before)


def test_draws_follow_the_recipe() -> None:
    """What a recipe turns off is not drawn."""
    off = augment.draw(Augment(crop_scale_min=1.0, flip=False, cutmix_alpha=0.0), 4, 8, rng.stream(0, "off"))
    assert [getattr(off, field.name) for field in fields(off)] == [None] * 7


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
        pasted = augment.mixed(pasted, mix._replace(partner_N=np.array([1, 0])))
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
    found = augment.mixed(images_NCHW, Mix(np.array([1, 2, 0]), 0, 0, 2, 4, 0.5))
    assert found[:, 0, 0, 0].tolist() == [1.0, 2.0, 0.0]
    assert found[:, 0, 3, 0].tolist() == [0.0, 1.0, 2.0]
    assert images_NCHW[:, 0, 0, 0].tolist() == [0.0, 1.0, 2.0]


def test_cutmix_and_mixup_match_numpy_pixel_by_pixel() -> None:
    """CutMix copies the box of the partner; MixUp is λ · own + (1 − λ) · partner everywhere, in channels-last, too."""
    images_NCHW = augment.plain(noise(5, 12), MEAN, STD)
    values = images_NCHW.numpy().copy()
    cut = augment.draw_mix(5, 12, 1.0, rng.stream(0, "cut", 3))
    blend = augment.draw_mixup(5, 0.8, rng.stream(0, "blend"))
    assert 0.0 < blend.own_share < 1.0
    assert 0.0 < cut.own_share < 1.0
    for mix in (cut, blend):
        expected = values.copy()
        for row, partner in enumerate(mix.partner_N):
            for y, x in np.ndindex(12, 12):
                if mix.blended:
                    other = values[partner, :, y, x]
                    expected[row, :, y, x] = mix.own_share * values[row, :, y, x] + (1 - mix.own_share) * other
                elif mix.top <= y < mix.bottom and mix.left <= x < mix.right:
                    expected[row, :, y, x] = values[partner, :, y, x]
        found = augment.mixed(images_NCHW, mix)
        torch.testing.assert_close(found, torch.from_numpy(expected), atol=1e-6, rtol=0.0)
        assert found.is_contiguous(memory_format=torch.channels_last)
    assert np.array_equal(images_NCHW.numpy(), values)


def test_mixup_weights_follow_beta() -> None:
    """λ ~ Beta(0.8, 0.8): mean 1/2, variance 1/10.4; partners are a permutation."""
    mixes = [augment.draw_mixup(4, 0.8, rng.stream(0, "mixup", i)) for i in range(3000)]
    shares = np.array([mix.own_share for mix in mixes])
    assert shares.mean() == pytest.approx(0.5, abs=5 * np.sqrt(1 / 10.4 / 3000))
    assert shares.var() == pytest.approx(1 / 10.4, rel=0.06)
    assert all(sorted(mix.partner_N) == [0, 1, 2, 3] for mix in mixes[:50])


def test_mixing_in_two_ways_at_once_is_refused() -> None:
    """A recipe with CutMix and MixUp has no meaning, and says so."""
    both = Augment(crop_scale_min=1.0, flip=False, cutmix_alpha=1.0, mixup_alpha=0.8)
    with pytest.raises(StageError, match=r"CutMix with alpha 1\.0 and MixUp with alpha 0\.8.*set one of the two to 0"):
        augment.draw(both, 4, 8, rng.stream(0, "both"))


def test_plain_recipes_draw_what_they_always_drew() -> None:
    """Crops, mirrors and CutMix take from the stream in this order and nothing more: results can be repeated."""
    generator, expected = rng.stream(0, "augment", 7), rng.stream(0, "augment", 7)
    draws = augment.draw(ALL, 16, 32, generator)
    assert np.array_equal(draws.boxes_N4, crops.draw_crops(16, 32, 0.08, expected))
    assert np.array_equal(draws.flips_N, expected.random(16) < 0.5)
    assert str(draws.mix) == str(augment.draw_mix(16, 32, 1.0, expected))
    assert generator.random() == expected.random()


def test_additions_leave_crops_mirrors_and_mixing_alone() -> None:
    """Two recipes that differ in RandAugment, strips, jitter or lighting share all other parameters of a step."""
    bare = Augment(crop_scale_min=0.25, flip=True, cutmix_alpha=1.0)
    few, many = (augment.draw(recipe, 16, 32, rng.stream(0, "augment", 7)) for recipe in (bare, EVERYTHING))
    assert np.array_equal(few.boxes_N4, many.boxes_N4)
    assert np.array_equal(few.flips_N, many.flips_N)
    assert str(few.mix) == str(many.mix)
    assert all(getattr(many, field.name) is not None for field in fields(many))


def test_everything_in_order() -> None:
    """RandAugment, strips, crop, mirror, jitter, lighting, normalising: each image through other people's functions."""
    images_NHWC = pictures(8, 32)
    draws = augment.draw(EVERYTHING, 8, 32, rng.stream(5, "augment", 0))
    calm = draws.jitter._replace(factors_N3=1 + (draws.jitter.factors_N3 - 1) / 20)
    draws = replace(draws, jitter=calm)
    fill = tuple(round(255 * m) for m in MEAN)
    found = augment.prepared(images_NHWC, draws, MEAN, STD)
    for row, image in enumerate(images_NHWC):
        own = Operations(draws.operations.kind_LN[:, row : row + 1], draws.operations.argument_LN[:, row : row + 1])
        image_HWC = randaugment.apply(image[None].permute(0, 3, 1, 2), own, fill)[0].permute(1, 2, 0)
        strips = (draws.strips.rows_NS[row].tolist(), draws.strips.columns_NS[row].tolist())
        image_HWC = torch.from_numpy(shuffled_by_hand(image_HWC.numpy(), *strips))
        image_CHW = torchvision_crop(image_HWC, draws.boxes_N4[row], flip=bool(draws.flips_N[row])) / 255
        inside_HW = torch.ones(32, 32, dtype=torch.bool)
        for kind in calm.order_N3[row]:
            adjust = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation)[kind]
            image_CHW = adjust(image_CHW, float(calm.factors_N3[row, kind]))
            # torchvision cuts what leaves 0..1 at each step; IDC and we do not.
            inside_HW &= ((image_CHW > 0) & (image_CHW < 1)).all(dim=0)
        expected = normalize(image_CHW + torch.from_numpy(draws.shifts_NC[row])[:, None, None], MEAN, STD)
        assert inside_HW.float().mean() > 0.7
        torch.testing.assert_close(found[row][:, inside_HW], expected[:, inside_HW], atol=2e-3, rtol=0.0)


def test_prepared_images_do_not_depend_on_their_neighbours() -> None:
    """In a batch and alone, an image becomes the same up to the last bits of a mean."""
    images_NHWC = pictures(6, 32)
    draws = augment.draw(EVERYTHING, 6, 32, rng.stream(6, "augment", 0))
    together = augment.prepared(images_NHWC, draws, MEAN, STD)
    for row in range(6):
        one = slice(row, row + 1)
        own = Draws(
            boxes_N4=draws.boxes_N4[one],
            flips_N=draws.flips_N[one],
            mix=None,
            operations=Operations(*(field_LN[:, one] for field_LN in draws.operations)),
            strips=crops.Strips(*(field_NS[one] for field_NS in draws.strips)),
            jitter=type(draws.jitter)(*(field_N3[one] for field_N3 in draws.jitter)),
            shifts_NC=draws.shifts_NC[one],
        )
        alone = augment.prepared(images_NHWC[one], own, MEAN, STD)
        torch.testing.assert_close(alone[0], together[row], atol=1e-5, rtol=0.0)


def test_applied_is_prepared_and_mixed() -> None:
    """The loop may take the two halves apart, for a pass over images that are not mixed."""
    images_NHWC = noise(6, 32)
    before = images_NHWC.clone()
    for recipe in (EVERYTHING, Augment(crop_scale_min=0.5, flip=True, cutmix_alpha=0.0, mixup_alpha=0.8)):
        draws = augment.draw(recipe, 6, 32, rng.stream(7, "augment", 0))
        halves = augment.mixed(augment.prepared(images_NHWC, draws, MEAN, STD), draws.mix)
        assert torch.equal(augment.apply(images_NHWC, draws, MEAN, STD), halves)
        assert halves.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(images_NHWC, before)


def test_applying_asks_the_device_for_nothing() -> None:
    """On torch's meta device, which has no values to give back, everything runs: no step waits for a GPU."""
    images_NHWC = torch.empty(64, 160, 160, 3, dtype=torch.uint8, device="meta")
    draws = augment.draw(EVERYTHING, 64, 160, rng.stream(8, "augment", 0))
    assert set(draws.operations.kind_LN.flatten()) == {randaugment.NOTHING, *range(15)}
    found = augment.apply(images_NHWC, draws, MEAN, STD)
    assert (found.shape, found.dtype) == ((64, 3, 160, 160), torch.float32)
    with pytest.raises(RuntimeError, match="meta"):
        images_NHWC[0, 0, 0, 0].item()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device; this machine has none")
def test_a_gpu_makes_the_same_images_and_is_not_waited_for() -> None:
    """The same draws on a GPU: the CPU's images up to one grey level before jitter, without a synchronisation."""
    images_NHWC = pictures(48, 160)
    draws = augment.draw(EVERYTHING, 48, 160, rng.stream(9, "augment", 0))
    on_gpu = images_NHWC.cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = augment.apply(on_gpu, draws, MEAN, STD)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    apart = (found.cpu() - augment.apply(images_NHWC, draws, MEAN, STD)).abs() * 255 * max(STD)
    assert apart.max() < 1.4**3
    assert apart.mean() < 0.01
