"""Images in a terminal: two pixels in each character, or shades where there are no colours. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from condhpc.contact_sheet import ClassRow
from condhpc.tables import printable

LABEL_CHARS = 14
_GAP_PX = 1
_LEAST_PX, _MOST_PX = 8, 32
_RAMP = " .:-=+*#%@"
_LUMA = (0.299, 0.587, 0.114)


class PictureLine(NamedTuple):
    """One line of text: a class's name or its place, then two rows of pixels."""

    name: str
    pixels_2WC: NDArray[np.uint8]
    """Upper and lower half of each character; none in the line between two classes."""
    held_W: NDArray[np.bool_]
    """Whether a column belongs to an image; gaps keep the background of the terminal."""


def side_px(columns: int, images: int) -> int:
    """Side of one image so that so many fit beside each other in a terminal's columns, within bounds."""
    room = (columns - LABEL_CHARS - 1) // max(images, 1) - _GAP_PX
    return min(max(room // 2 * 2, _LEAST_PX), _MOST_PX)


def picture(rows: Sequence[ClassRow], columns: int) -> list[PictureLine]:
    """Lines of a contact sheet: per class its images from left to right, as many as fit, then an empty line."""
    most = max((len(row.images_NHWC) for row in rows), default=0)
    side = side_px(columns, most)
    fitting = max(1, (columns - LABEL_CHARS - 1) // (side + _GAP_PX))
    return [line for row in rows for line in _class_lines(row, side, fitting)]


def _class_lines(row: ClassRow, side: int, fitting: int) -> list[PictureLine]:
    small = [thumbnail(image_HWC, side) for image_HWC in row.images_NHWC[:fitting]]
    width = len(small) * (side + _GAP_PX)
    canvas = np.zeros((side, width, 3), dtype=np.uint8)
    held_W = np.zeros(width, dtype=np.bool_)
    for place, image_HWC in enumerate(small):
        left = place * (side + _GAP_PX)
        canvas[:, left : left + side] = image_HWC
        held_W[left : left + side] = True
    name = _label(row.name)
    lines = [PictureLine(name if y == 0 else "", canvas[y : y + 2], held_W) for y in range(0, side, 2)]
    return [*lines, PictureLine("", canvas[:2, :0], held_W[:0])]


def _label(name: str) -> str:
    text = printable(name)
    return text if len(text) <= LABEL_CHARS else f"{text[: LABEL_CHARS - 2]}.."


def thumbnail(image_HWC: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """A square image of that side: areas are averaged when it shrinks, pixels repeated when it grows."""
    grows = image_HWC.shape[0] < side
    method = Image.Resampling.NEAREST if grows else Image.Resampling.BOX
    return np.asarray(Image.fromarray(image_HWC).resize((side, side), method))


def shades(line: PictureLine) -> str:
    """The line without colours: one character for the mean brightness of both halves."""
    luma_W = line.pixels_2WC.mean(axis=0) @ np.array(_LUMA) if line.pixels_2WC.size else np.zeros(0)
    places_W = np.minimum(luma_W * len(_RAMP) / 256, len(_RAMP) - 1).astype(int)
    return "".join(_RAMP[place] if held else " " for place, held in zip(places_W, line.held_W, strict=True))
