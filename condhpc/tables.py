"""Plain tables: for terminals (aligned, no control bytes) and as CSV (LF, shortest floats, always the same bytes)."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from condhpc import csv_text
from condhpc.files import under_construction

Cell = str | int | float | None


class Table(NamedTuple):
    """One table, whatever the format that it is written in."""

    name: str
    """Stem of its file."""
    header: Sequence[str]
    rows: Iterable[Sequence[Cell]]


_PACE = frozenset({"eta_s", "images_s"})
"""Values that are told in words."""
_NUMBERS = (int, float, type(None))


def printable(text: str) -> str:
    """The text without what a terminal would obey: control, format and surrogate characters become `?`."""
    if text.isascii() and text.isprintable():
        return text
    bad = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
    return "".join("?" if unicodedata.category(c) in bad else c for c in text)


def cell_text(value: Cell, decimals: int = 2) -> str:
    """A value in a table for people: nothing for None, so many decimals for floats."""
    if value is None:
        return ""
    return f"{value:.{decimals}f}" if isinstance(value, float) else printable(str(value))


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3.4 h`, `2.1 d`."""
    for size, unit in ((86_400.0, "d"), (3600.0, "h")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds / 60:.0f} min" if seconds >= 60 else f"{max(seconds, 0.0):.0f} s"


def progress_text(step: int, total: int, values: Mapping[str, float]) -> str:
    """`30/100, 12 min left, 2,400 images/s, loss 1.25`: how far a task is; empty before its first step.

    What matters most comes first: columns are cut.
    """
    parts = [f"{step}/{total}"] if total else []
    if "eta_s" in values:
        parts.append(f"{duration(values['eta_s'])} left")
    if (images_s := values.get("images_s")) is not None:
        parts.append(f"{images_s:,.0f} images/s" if images_s >= 10 else f"{images_s:.2g} images/s")
    return ", ".join([*parts, *(f"{name} {value:.4g}" for name, value in values.items() if name not in _PACE)])


def aligned(header: Sequence[str], rows: Iterable[Sequence[Cell]], decimals: int = 2) -> list[str]:
    """Lines of a table: numbers to the right, text to the left, two spaces between."""
    data = list(rows)
    texts = [list(header), *([cell_text(value, decimals) for value in row] for row in data)]
    widths = [max(len(row[i]) for row in texts) for i in range(len(header))]
    to_right = [all(isinstance(row[i], _NUMBERS) for row in data) for i in range(len(header))]
    return ["  ".join(_padded(*cell) for cell in zip(row, widths, to_right, strict=True)).rstrip() for row in texts]


def _padded(text: str, width: int, to_right: bool) -> str:  # noqa: FBT001 - a column's property
    return text.rjust(width) if to_right else text.ljust(width)


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Path:
    """Write a CSV file; returns its path."""
    return write_text(path, csv_text.text(header, rows))


def write_text(path: Path, text: str) -> Path:
    """Write a file atomically, unless it holds these bytes already; returns its path."""
    return write_bytes(path, text.encode("utf-8", errors="replace"))


def write_bytes(path: Path, data: bytes) -> Path:
    """As `write_text`: whoever watches modification times sees only what has changed."""
    try:
        if path.stat().st_size == len(data) and path.read_bytes() == data:
            return path
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
    with under_construction(path) as temp:
        temp.write_bytes(data)
    return path
