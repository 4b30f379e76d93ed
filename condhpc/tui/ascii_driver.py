"""For terminals that show no more than ASCII: every other character becomes one that says as much."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

from rich.cells import cell_len
from textual.drivers.linux_driver import LinuxDriver

_LIKE = {
    "…": "~", "·": "|", "▸": ">", "▾": "v", "▲": "^", "▼": "v", "█": "#", "░": ".", "±": "+", "×": "x", "–": "-",
    "−": "-", "—": "-", "•": "*", "●": "*", "○": "o", "✓": "v", "✗": "x", "│": "|", "┃": "|", "─": "-", "━": "-",
    "↑": "^", "↓": "v", "←": "<", "→": ">", "⏎": "<", "’": "'", "‘": "'", "“": '"', "”": '"', "⭘": "O", "▁": "_",
    "▔": "-", "▏": "|", "▎": "|", "▕": "|", "▊": "|", "▌": "|", "▐": "|", "▀": "^", "▄": "_",
}  # fmt: skip
_BOX, _BLOCKS = range(0x2500, 0x2580), range(0x2580, 0x25A0)


def stand_in(char: str) -> str:
    """ASCII characters for one that is none: as many as it has cells, so that nothing moves."""
    if char.isascii():
        return char
    cells = cell_len(char)
    like = _LIKE.get(char)
    if like is None and ord(char) in _BOX:
        like = "+"
    elif like is None and ord(char) in _BLOCKS:
        like = "#"
    elif like is None:
        like = unicodedata.normalize("NFKD", char).encode("ascii", "ignore").decode("ascii")
    return (like or "?").ljust(cells, "?")[:cells]


class _StandIns(dict[int, str]):
    """Code point to its stand-in, each found once."""

    def __missing__(self, point: int) -> str:
        found = self[point] = stand_in(chr(point))
        return found


_TABLE = _StandIns()


class AsciiDriver(LinuxDriver):
    """Textual's driver, with stand-ins on the way to the terminal."""

    def write(self, data: str) -> None:
        """Everything that is painted comes by here."""
        super().write(data if data.isascii() else data.translate(_TABLE))


def is_ascii_only(environ: Mapping[str, str]) -> bool:
    """Whether the user's locale has no UTF-8.

    Python may have put `C.UTF-8` into LC_CTYPE itself where the locale was `C`, so that one counts only where LANG
    agrees.
    """
    wanted = environ.get("LC_ALL") or environ.get("LC_CTYPE") or environ.get("LANG") or ""
    if not environ.get("LC_ALL") and environ.get("LC_CTYPE") == "C.UTF-8":
        wanted = environ.get("LANG") or ""
    return "UTF8" not in wanted.upper().replace("-", "")
