"""What figures show, and that they come out the same twice."""

from __future__ import annotations

import random
import re

import pytest
from made_papers import Written, said

from condhpc.paper import figures
from condhpc.paper.plots import Panel, Plot, Point, front, plots


@pytest.fixture(scope="module")
def shown(written: Written) -> dict[str, Plot]:
    """Figures of the made paper by their kind."""
    found = said(written.paper)
    made = plots([one.block for one in found.judged], found.costs, found.sets)
    return {plot.name.removesuffix("-digits-convnet3"): plot for plot in made}


def test_the_front_is_what_nothing_cheaper_matches() -> None:
    """Brute force: a point is on it where no other costs at most as much and is at least as good."""
    draw = random.Random(3)
    points = [Point(f"p{i}", draw.randint(1, 9), draw.randint(1, 9)) for i in range(60)]
    at = {(p.x, p.y) for p in points}
    expected = {(x, y) for x, y in at if not any(a <= x and b >= y and (a, b) != (x, y) for a, b in at)}
    assert [(p.x, p.y) for p in front(points)] == sorted(expected)


def test_four_kinds_of_figures(shown: dict[str, Plot]) -> None:
    """Every figure of the issue, with panels for protocols and sizes."""
    assert {name: len(plot.panels) for name, plot in shown.items()} == {
        "accuracy-over-cost": 4, "accuracy-by-ipc": 2, "accuracy-over-coverage": 4, "rank-by-protocol": 2
    }  # fmt: skip


def test_a_set_that_cost_no_gpu_stands_before_the_axis(shown: dict[str, Plot]) -> None:
    """0 has no logarithm, and is not to be left out: coresets chosen on a CPU are the point of the figure."""
    (point,) = (p for p in shown["accuracy-over-cost"].panels[0].points if p.condenser == "random")
    others = [p.x for p in shown["accuracy-over-cost"].panels[0].points if p.condenser != "random"]
    assert point.at_zero
    assert point.x < min(others)


def test_types_of_gpu_have_figures_of_their_own(written: Written) -> None:
    """Hours of two types stand on no common axis; sets without a GPU stand in both."""
    found = said(written.paper)
    moved = [one._replace(gpu_types=("L4",)) if one.condenser == "rded" else one for one in found.costs]
    made = plots([one.block for one in found.judged], moved, [])
    names = {plot.name: {p.condenser for panel in plot.panels for p in panel.points} for plot in made}
    assert names["accuracy-over-cost-L4-digits-convnet3"] == {"random", "rded"}
    assert "rded" not in names["accuracy-over-cost-NVIDIA_H200-digits-convnet3"]


def test_ranks_are_of_what_all_protocols_have(shown: dict[str, Plot]) -> None:
    """A condenser that is missing under one protocol would shift the ranks of all below it."""
    small, large = shown["rank-by-protocol"].panels
    assert {p.condenser for p in small.points} - {p.condenser for p in large.points} == {"kcenter"}
    assert sorted(p.y for p in large.points if p.x == 0) == [1, 2, 3, 4, 5]


def test_figures_are_the_same_twice() -> None:
    """No dates, no random ids, no settings of the user: byte for byte; names are text, not mathematics."""
    panel = Panel(0, 0, "a $ panel $", [Point("a$b$", 1.0, 50.0, 1.0), Point("c", 0.1, 40.0, at_zero=True)])
    plot = Plot("name", "title", "x", "y", [panel], "log", has_front=True)
    first, again = (figures.draw(plot, ["a$b$", "c"]) for _ in range(2))
    assert first == again
    assert first.png.startswith(b"\x89PNG")
    assert first.svg.rstrip().endswith(b"</svg>")
    assert not re.search(rb"<dc:date>|\d{4}-\d\d-\d\dT", first.svg)
