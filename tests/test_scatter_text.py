"""Points in characters."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from condhpc.scatter_text import Point, scatter
from condhpc.tables import printable


def test_points_stand_where_their_values_say() -> None:
    """Left is cheap, up is accurate; a decade is as wide as the next; the legend names each letter."""
    points = [Point("random", 0.1, 10.0), Point("rded", 1.0, 30.0), Point("idc", 10.0, 50.0)]
    legend, *body = scatter(points, "GPU-hours", "top-1 %", 30, 8)
    assert legend == "top-1 %: A random, B rded, C idc"
    paper = [line[9:] for line in body[:5]]
    assert [line.rstrip() for line in paper] == ["                    C", "", "          B", "", "A"]
    assert body[0].startswith("     50 |")
    assert body[4].startswith("     10 |")
    assert body[6].split() == ["0.1", "10", "GPU-hours", "(log)"]


def test_names_without_a_point_are_told() -> None:
    """What cost nothing has no place on a logarithmic axis, and is not forgotten."""
    legend, *_ = scatter([Point("a", 1.0, 1.0), Point("free", 0.0, 2.0)], "GPU-hours", "y", 40, 8)
    assert legend == "y: A a; without GPU-hours: free"


def test_points_that_meet_are_marked() -> None:
    """Two names at one place give `#`; one name there twice keeps its letter."""
    both = scatter([Point("a", 1.0, 1.0), Point("b", 1.0, 1.0)], "h", "y", 20, 6)
    same = scatter([Point("a", 1.0, 1.0), Point("a", 1.0, 1.0)], "h", "y", 20, 6)
    assert "#" in "".join(both[1:])
    assert "#" not in "".join(same)


def test_nothing_to_plot_is_said() -> None:
    """Costs of 0 have no place on a logarithmic axis."""
    (line,) = scatter([Point("a", 0.0, 1.0), Point("b", 1.0, math.nan)], "GPU-hours", "top-1 %", 40, 10)
    assert line == "no point yet: top-1 % and GPU-hours above 0 of the same cell are needed"


@given(
    st.lists(st.builds(Point, st.text(), st.floats(), st.floats()), max_size=9),
    st.integers(0, 60),
    st.integers(0, 20),
)
def test_any_values_and_sizes_give_lines_that_can_be_shown(points: list[Point], columns: int, lines: int) -> None:
    """No crash, no control characters, no more lines than asked for where there is room."""
    found = scatter(points, "h", "y", columns, lines)
    assert all(printable(line) == line for line in found)
    assert len(found) <= max(lines, 6)
