"""Colour jitter compared with torchvision's functions per image, lighting with the formula of the literature."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from made_images import noise
from torchvision.transforms.v2 import functional as tv

from condhpc import colour, rng
from condhpc.colour import Jitter

ADJUST = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation)


def test_jitter_matches_torchvision_in_every_order() -> None:
    """Where nothing leaves 0..255, all six orders give torchvision's pixels, whose grey weights end at four digits."""
    orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] * 2
    drawn = colour.draw_jitter(12, 0.4, rng.stream(0, "jitter"))._replace(order_N3=np.array(orders))
    images_NCHW = 90 + noise(12, 16).permute(0, 3, 1, 2).float() / 255 * 40
    found = colour.jitter(images_NCHW, drawn)
    for row, order in enumerate(orders):
        expected = images_NCHW[row] / 255
        for kind in order:
            expected = ADJUST[kind](expected, float(drawn.factors_N3[row, kind]))
        torch.testing.assert_close(found[row], expected * 255, atol=0.06, rtol=0.0)


def test_jitter_may_leave_the_range() -> None:
    """Nothing is cut off between the steps, as in IDC's code: brightness 1.4 of white is 357."""
    white = torch.full((1, 3, 4, 4), 255.0)
    brighter = colour.jitter(white, Jitter(np.array([[1.4, 1.0, 1.0]], dtype=np.float32), np.array([[0, 1, 2]])))
    torch.testing.assert_close(brighter, torch.full((1, 3, 4, 4), 357.0))


def test_jitter_of_factor_1_changes_nothing() -> None:
    """Factor 1 keeps the image, whatever the order."""
    images_NCHW = noise(3, 8).permute(0, 3, 1, 2).float()
    still = Jitter(np.ones((3, 3), dtype=np.float32), np.array([[0, 1, 2], [2, 0, 1], [1, 2, 0]]))
    assert torch.equal(colour.jitter(images_NCHW, still), images_NCHW)


def test_jitter_does_not_touch_its_argument() -> None:
    """The images that came in can be read again."""
    images_NCHW = noise(3, 8).permute(0, 3, 1, 2).float()
    before = images_NCHW.clone()
    colour.jitter(images_NCHW, colour.draw_jitter(3, 0.4, rng.stream(0, "j")))
    assert torch.equal(images_NCHW, before)


def test_factors_are_uniform_and_orders_fair() -> None:
    """Factors fill 1 ± spread evenly; each kind comes first in a third of the images."""
    drawn = colour.draw_jitter(6000, 0.4, rng.stream(0, "factors"))
    assert drawn.factors_N3.min() > 0.6 - 1e-6
    assert drawn.factors_N3.max() < 1.4 + 1e-6
    assert drawn.factors_N3.mean(axis=0) == pytest.approx(1.0, abs=5 * 0.8 / np.sqrt(12 * 6000))
    assert drawn.factors_N3.std(axis=0) == pytest.approx(0.8 / np.sqrt(12), rel=0.05)
    firsts = np.bincount(drawn.order_N3[:, 0], minlength=3)
    assert (np.abs(firsts - 2000) < 5 * np.sqrt(6000 * 2 / 9)).all()
    assert np.array_equal(np.sort(drawn.order_N3, axis=1), np.tile([0, 1, 2], (6000, 1)))


def test_lighting_is_the_formula() -> None:
    """Each channel c gets the sum over components j of vector[c][j] · value[j] · weight[j], the same in all pixels."""
    values = (0.2175, 0.0188, 0.0045)
    vectors = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))
    shifts_NC = colour.draw_lighting(5, 0.1, rng.stream(0, "lighting"))
    weights = rng.stream(0, "lighting").normal(0.0, 0.1, (5, 3))
    images_NCHW = noise(5, 4).permute(0, 3, 1, 2).float()
    found = colour.lighten(images_NCHW, shifts_NC)
    for row in range(5):
        for channel in range(3):
            shift = sum(vectors[channel][j] * values[j] * weights[row, j] for j in range(3))
            expected = images_NCHW[row, channel] + 255 * shift
            torch.testing.assert_close(found[row, channel], expected, atol=1e-3, rtol=0.0)
