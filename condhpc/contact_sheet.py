"""A picture of a condensed set: a row of images per class, with the class's name beside it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from condhpc import arrays
from condhpc.errors import InputError, nearest

_GAP_PX = 2
_SMALLEST_PX = 64
"""Smaller images are enlarged to about this, pixel by pixel."""
_LABEL_CHARS = 24
_FONT_PX = 14
_INK, _PAPER = (20, 20, 20), (255, 255, 255)


class ClassRow(NamedTuple):
    """Some images of a class."""

    name: str
    images_NHWC: NDArray[np.uint8]


class Preview(NamedTuple):
    """What is shown of a set."""

    rows: list[ClassRow]
    classes: int
    """In the set."""


def read(path: Path, classes: Sequence[str], per_class: int, at_most: int) -> Preview:
    """Images of these classes (names or labels), or of the first `at_most` where none is named; nothing else is read.

    Raises InputError for a class that the set does not have.
    """
    labels_N, about = arrays.read_set_labels(path)
    names = [str(name) for name in about.get("class_names", ())]
    held = np.unique(labels_N).tolist()
    names += [str(label) for label in range(len(names), max(held, default=-1) + 1)]
    wanted = [_label(name, names) for name in classes] or held[:at_most]
    positions = [np.flatnonzero(labels_N == label)[:per_class] for label in wanted]
    rows = [
        ClassRow(names[label], arrays.read_set_images(path, positions_n))
        for label, positions_n in zip(wanted, positions, strict=True)
    ]
    return Preview(rows, len(held))


def _label(named: str, names: Sequence[str]) -> int:
    if named in names:
        return names.index(named)
    if named.isdecimal() and int(named) < len(names):
        return int(named)
    raise InputError(f"classes: '{named}' is no class of this set{nearest(named, names)}; it has {len(names)} of them")


def png(rows: Sequence[ClassRow]) -> bytes:
    """The sheet as a PNG file."""
    side = max(row.images_NHWC.shape[1] for row in rows)
    scale = max(1, round(_SMALLEST_PX / side))
    cell = scale * side + _GAP_PX
    font = ImageFont.load_default(size=_FONT_PX)
    labels = [_ascii(row.name) for row in rows]
    left = round(max(font.getlength(text) for text in labels)) + 4 * _GAP_PX
    columns = max(len(row.images_NHWC) for row in rows)
    sheet = Image.new("RGB", (left + columns * cell + _GAP_PX, len(rows) * cell + _GAP_PX), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for place, (row, text) in enumerate(zip(rows, labels, strict=True)):
        top = place * cell + _GAP_PX
        draw.text((2 * _GAP_PX, top + (cell - _FONT_PX) // 2), text, fill=_INK, font=font)
        for column, image_HWC in enumerate(row.images_NHWC):
            enlarged = image_HWC.repeat(scale, axis=0).repeat(scale, axis=1)
            sheet.paste(Image.fromarray(enlarged), (left + column * cell, top))
    file = io.BytesIO()
    sheet.save(file, "PNG")
    return file.getvalue()


def _ascii(name: str) -> str:
    """What every font has."""
    text = name.encode("ascii", errors="replace").decode()
    return text if len(text) <= _LABEL_CHARS else f"{text[: _LABEL_CHARS - 2]}.."
