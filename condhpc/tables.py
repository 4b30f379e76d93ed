"""Plain tables: for terminals (aligned, no control bytes) and as CSV (LF, shortest floats, always the same bytes)."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from condhpc.files import under_construction

Cell = str | int | float | None


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


def aligned(header: Sequence[str], rows: Iterable[Sequence[Cell]], decimals: int = 2) -> list[str]:
    """Lines of a table: numbers to the right, text to the left, two spaces between."""
    data = list(rows)
    texts = [list(header), *([cell_text(value, decimals) for value in row] for row in data)]
    widths = [max(len(row[i]) for row in texts) for i in range(len(header))]
    to_right = [all(isinstance(row[i], int | float | None) for row in data) for i in range(len(header))]
    return ["  ".join(_padded(*cell) for cell in zip(row, widths, to_right, strict=True)).rstrip() for row in texts]


def _padded(text: str, width: int, to_right: bool) -> str:  # noqa: FBT001 - a column's property
    return text.rjust(width) if to_right else text.ljust(width)


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Path:
    """Write a CSV file atomically; returns its path."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    with under_construction(path) as temp:
        temp.write_bytes(text.getvalue().encode("utf-8", errors="replace"))
    return path
