"""Images in a terminal: two pixels in each character, or shades where there are no colours.

`python -m condhpc.half_blocks FILE COLUMNS` draws a condensed set for `set_pictures`.
"""

from __future__ import annotations

import math
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from condhpc import contact_sheet
from condhpc.contact_sheet import ClassRow
from condhpc.errors import CondhpcError
from condhpc.set_pictures import CLASSES, IMAGES, LABEL_CHARS, LONGEST_S, PictureLine, Pictures
from condhpc.tables import printable

_GAP_PX = 1
_LEAST_PX, _MOST_PX = 8, 32
_RAMP = " .:-=+*#%@"
_LUMA = (0.299, 0.587, 0.114)


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
    lines = [_line(name if y == 0 else "", canvas[y : y + 2], held_W) for y in range(0, side, 2)]
    return [*lines, PictureLine("", b"", b"", b"", "")]


def _line(name: str, pixels_2WC: NDArray[np.uint8], held_W: NDArray[np.bool_]) -> PictureLine:
    upper_WC, lower_WC = pixels_2WC
    return PictureLine(name, upper_WC.tobytes(), lower_WC.tobytes(), held_W.tobytes(), _shades(pixels_2WC, held_W))


def _label(name: str) -> str:
    text = printable(name)
    return text if len(text) <= LABEL_CHARS else f"{text[: LABEL_CHARS - 2]}.."


def thumbnail(image_HWC: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """A square image of that side: areas are averaged when it shrinks, pixels repeated when it grows."""
    grows = image_HWC.shape[0] < side
    method = Image.Resampling.NEAREST if grows else Image.Resampling.BOX
    return np.asarray(Image.fromarray(image_HWC).resize((side, side), method))


def _shades(pixels_2WC: NDArray[np.uint8], held_W: NDArray[np.bool_]) -> str:
    """One character for the mean brightness of both halves."""
    luma_W = pixels_2WC.mean(axis=0) @ np.array(_LUMA)
    places_W = np.minimum(luma_W * len(_RAMP) / 256, len(_RAMP) - 1).astype(int)
    return "".join(_RAMP[place] if held else " " for place, held in zip(places_W, held_W, strict=True))


def drawn(path: Path, columns: int) -> Pictures:
    """The first images of the first classes of a set, or why there are none."""
    try:
        found = contact_sheet.read(path, [], IMAGES, CLASSES)
    except (CondhpcError, OSError) as error:
        return Pictures(problem=str(error))
    note = f"pictures: {len(found.rows)} of {found.classes} classes, at most {IMAGES} of each"
    return Pictures(picture(found.rows, columns), note)


def main() -> None:
    """For a parent that reads what is written; ends by itself where that is gone and a file never opens."""
    signal.alarm(math.ceil(LONGEST_S))
    path, columns = sys.argv[1:]
    sys.stdout.buffer.write(msgspec.msgpack.encode(drawn(Path(path), int(columns))))


if __name__ == "__main__":
    main()
