"""Points on paper of characters: accuracy against hours, the hours on a logarithmic axis. Pure."""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from typing import NamedTuple

from condhpc.tables import printable

_LEFT_CHARS = 7
_LEAST_COLUMNS, _LEAST_LINES = 10, 3
_MARKS = string.ascii_uppercase + string.ascii_lowercase
_LARGEST = 1e100
_MANY = "#"
"""Where points of several names meet."""


class Point(NamedTuple):
    """One thing to show."""

    name: str
    x: float
    """Above 0."""
    y: float


def scatter(points: Sequence[Point], x_name: str, y_name: str, columns: int, lines: int) -> list[str]:
    """A plot with a letter for each name, both axes and a legend; one line of words where there is nothing to plot."""
    shown = [point for point in points if 1 / _LARGEST < point.x < _LARGEST and abs(point.y) < _LARGEST]
    if not shown:
        return [f"no point yet: {y_name} and {x_name} above 0 of the same cell are needed"]
    marks = {name: _MARKS[i % len(_MARKS)] for i, name in enumerate(dict.fromkeys(point.name for point in shown))}
    width, height = max(columns - _LEFT_CHARS - 2, _LEAST_COLUMNS), max(lines - 3, _LEAST_LINES)
    x_low, x_high = _range([math.log10(point.x) for point in shown])
    y_low, y_high = _range([point.y for point in shown])
    canvas = [[" "] * width for _ in range(height)]
    for point in shown:
        column = round((math.log10(point.x) - x_low) / (x_high - x_low) * (width - 1))
        line = round((y_high - point.y) / (y_high - y_low) * (height - 1))
        held, mark = canvas[line][column], marks[point.name]
        canvas[line][column] = mark if held in {" ", mark} else _MANY
    labels = {0: f"{y_high:.4g}", height - 1: f"{y_low:.4g}"}
    body = [f"{labels.get(i, ''):>{_LEFT_CHARS}} |{''.join(line)}" for i, line in enumerate(canvas)]
    left, right = f"{10**x_low:.3g}", f"{10**x_high:.3g} {x_name} (log)"
    axis = [
        " " * _LEFT_CHARS + " +" + "-" * width,
        " " * (_LEFT_CHARS + 2) + f"{left} {right:>{width - len(left) - 1}}",
    ]
    unmarked = sorted({point.name for point in points} - marks.keys())
    missing = f"; without {x_name}: {', '.join(map(printable, unmarked))}" if unmarked else ""
    legend = f"{y_name}: " + ", ".join(f"{mark} {printable(name)}" for name, mark in marks.items()) + missing
    return [legend, *body, *axis]


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Lowest and highest, apart even where all are equal."""
    low, high = min(values), max(values)
    apart = max(0.5, abs(low) / 100)
    return (low, high) if high > low else (low - apart, high + apart)
