"""How wide lines of a text are on a screen, and where they fold; for many lines at once. No widget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.cells import get_character_cell_size

_UNKNOWN: Final = 255
_CODES = 0x110000
_WIDENS = 0xFE0F
"""Makes some characters before it wide: counted as a cell, so that nothing is ever cut."""
_width_of = np.full(_CODES, _UNKNOWN, dtype=np.uint8)
"""Cells per character, as far as they were asked for."""
_width_of[32:127] = 1
_width_of[_WIDENS] = 1


def cells(lines: Sequence[str]) -> list[int]:
    """Cells that each line takes."""
    found = list(map(len, lines))
    odd = [place for place, line in enumerate(lines) if not line.isascii()]
    if odd:
        ends, upto = _measured([lines[place] for place in odd])
        for place, width in zip(odd, np.diff(upto[ends], prepend=0).tolist(), strict=True):
            found[place] = width
    return found


def rows(lines: Sequence[str], width: int) -> list[int]:
    """Lines of the screen that each line folds into: at least one."""
    found = [(len(line) + width - 1) // width or 1 for line in lines]
    odd = [place for place, line in enumerate(lines) if not line.isascii()]
    if odd:
        ends, upto = _measured([lines[place] for place in odd])
        count = np.zeros(len(odd), dtype=np.int64)
        at, here = np.concatenate(([0], ends[:-1])), np.arange(len(odd))
        while len(here):
            at = _next(upto, at, ends[here], width)
            count[here] += 1
            going = at < ends[here]
            at, here = at[going], here[going]
        for place, many in zip(odd, count.tolist(), strict=True):
            found[place] = many
    return found


def parts(line: str, width: int) -> list[str]:
    """What a line folds into."""
    if line.isascii():
        return [line[start : start + width] for start in range(0, len(line), width)] or [line]
    ends, upto = _measured([line])
    starts = [0]
    while (at := int(_next(upto, np.array(starts[-1:]), ends, width)[0])) < len(line):
        starts.append(at)
    return [line[start:end] for start, end in zip(starts, [*starts[1:], len(line)], strict=True)]


def words(text: str, width: int) -> list[str]:
    """A text in lines of whole words; a word that is longer than a line is cut."""
    found: list[str] = []
    while True:
        first, *more = parts(text, width)
        if not more:
            return [*found, first]
        space = text.rfind(" ", 1, len(first) + 1)
        end = space if space > 0 else len(first)
        found.append(text[:end])
        text = text[end:].removeprefix(" ")


def _measured(lines: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Of these lines one after the other: where each ends, and how many cells there are before each character."""
    codes = np.frombuffer("".join(lines).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    widths = _width_of[codes]
    if (new := codes[widths == _UNKNOWN]).size:
        asked = np.zeros(_CODES, dtype=np.bool_)
        asked[new] = True
        for code in np.flatnonzero(asked).tolist():
            _width_of[code] = get_character_cell_size(chr(code))
        widths = _width_of[codes]
    upto = np.zeros(len(codes) + 1, dtype=np.int32)
    np.cumsum(widths, out=upto[1:])
    return np.cumsum([len(line) for line in lines]), upto


def _next(upto: NDArray[np.int32], at: NDArray[np.int64], ends: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """Where the next part begins; one character at least is in each, be it wider than the screen."""
    found = np.searchsorted(upto, upto[at] + width, side="right") - 1
    return np.minimum(np.maximum(found, at + 1), ends)
