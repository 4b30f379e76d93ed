"""Images in characters."""

from __future__ import annotations

import numpy as np
import pytest

from condhpc import half_blocks
from condhpc.contact_sheet import ClassRow
from condhpc.set_pictures import LABEL_CHARS


def plain(*colours: tuple[int, int, int], side: int = 8) -> np.ndarray:  # type: ignore[type-arg]
    """Images of one colour each."""
    return np.stack([np.full((side, side, 3), colour, dtype=np.uint8) for colour in colours])


def test_each_class_has_its_name_its_images_and_a_gap() -> None:
    """The name stands beside the first line; a gap column belongs to no image; an empty line ends the class."""
    rows = [ClassRow("tench", plain((255, 0, 0), (0, 255, 0))), ClassRow("\x1b[31m long name", plain((0, 0, 255)))]
    lines = half_blocks.picture(rows, columns=34)
    assert [line.name for line in lines] == ["tench", "", "", "", "", "?[31m long n..", "", "", "", ""]
    first = lines[0]
    assert len(first.upper) == len(first.lower) == 18 * 3
    assert [tuple(first.upper[3 * x : 3 * x + 3]) for x in (0, 7, 9, 16)] == [(255, 0, 0)] * 2 + [(0, 255, 0)] * 2
    assert [place for place, held in enumerate(first.held) if not held] == [8, 17]
    assert lines[4].upper == lines[4].lower == lines[4].held == b""


def test_lines_are_two_rows_of_pixels() -> None:
    """The upper and the lower half of a character, from top to bottom."""
    image_HWC = np.arange(8, dtype=np.uint8)[:, None, None].repeat(8, axis=1).repeat(3, axis=2)
    lines = half_blocks.picture([ClassRow("a", image_HWC[None])], columns=LABEL_CHARS + 1 + 9)[:-1]
    assert [(set(line.upper[:24]), set(line.lower[:24])) for line in lines] == [({y}, {y + 1}) for y in (0, 2, 4, 6)]


@pytest.mark.parametrize(
    ("columns", "images", "side"), [(40, 1, 24), (80, 1, 32), (80, 10, 8), (5, 10, 8), (80, 0, 32)]
)
def test_images_are_as_large_as_fits(columns: int, images: int, side: int) -> None:
    """Between 8 and 32 pixels, always even: two rows share a line."""
    assert half_blocks.side_px(columns, images) == side


def test_more_images_than_fit_are_left_out() -> None:
    """The first ones are shown, never a part of one."""
    (first, *_) = half_blocks.picture([ClassRow("a", plain(*[(9, 9, 9)] * 20))], columns=60)
    assert len(first.held) == 5 * 9


def test_shrinking_averages_and_growing_repeats() -> None:
    """A checkerboard of 64 pixels becomes grey; one of 4 keeps its fields."""
    fine = (np.indices((64, 64)).sum(axis=0) % 2 * 254).astype(np.uint8)[..., None].repeat(3, axis=2)
    assert np.unique(half_blocks.thumbnail(fine, 8)).tolist() == [127]
    coarse = (np.indices((4, 4)).sum(axis=0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, axis=2)
    assert np.array_equal(half_blocks.thumbnail(coarse, 8), coarse.repeat(2, axis=0).repeat(2, axis=1))


def test_shades_tell_brightness_without_colours() -> None:
    """Black is a space, white the densest sign, both at the ends of one ramp; a gap is empty."""
    lines = half_blocks.picture([ClassRow("a", plain((0, 0, 0), (127, 127, 127), (255, 255, 255)))], columns=44)
    assert lines[0].shades == " " * 9 + "=" * 8 + " " + "@" * 8 + " "
    assert lines[-1].shades == ""
