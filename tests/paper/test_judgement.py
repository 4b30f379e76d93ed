"""Who is best, who is alike, and distillation against coresets."""

from __future__ import annotations

import pytest

from condhpc.cell_statistics import Evaluation, cell_statistics
from condhpc.paper.blocks import Block, Place, Runs
from condhpc.paper.bootstrap import Arm
from condhpc.paper.judgement import Judged, judge
from condhpc.paper.spread import Seeds


def runs(name: str, kind: str, *top1_pct: float) -> Runs:
    """A condenser with one student on each of so many sets."""
    top1: dict[Seeds, float] = {(i, 0): value / 100 for i, value in enumerate(top1_pct)}
    found = cell_statistics(Evaluation(i, value) for i, value in enumerate(top1_pct))
    return Runs(name, kind, len(top1_pct), (), found, Arm(top1, None, None, {}))


def judged(*cells: Runs) -> Judged:
    """A block of these."""
    return judge(Block(Place("digits", "erm", "convnet3"), 1, {one.condenser: one for one in cells}))


def test_the_best_and_its_ties() -> None:
    """Alike is whoever's interval of the difference to the best holds 0; references do not compete."""
    found = judged(
        runs("random", "random", 40.0, 40.1, 40.2, 40.3),
        runs("near", "coreset", 59.7, 60.2, 60.1, 60.4),
        runs("first", "method", 60.2, 60.0, 60.3, 60.3),
        runs("full_schedule", "reference", 99.0, 99.1, 99.0, 99.1),
    )
    assert found.best == "first"
    assert set(found.behind) == {"random", "near"}
    assert found.alike == {"near"}
    assert found.behind["random"].value == pytest.approx(0.2005)
    assert set(found.over_random) == {"near", "first"}


def test_the_duel_is_between_the_best_of_both_sides() -> None:
    """Random is no coreset strategy, and a set made elsewhere stands on neither side."""
    found = judged(
        runs("random", "random", 70.0, 70.1),
        runs("low", "coreset", 50.0, 50.1),
        runs("high", "coreset", 55.0, 55.1),
        runs("weak", "method", 40.0, 40.1),
        runs("strong", "method", 45.0, 45.2),
        runs("theirs", "external", 90.0, 90.1),
    ).duel
    assert found is not None
    assert (found.distilled, found.coreset) == ("strong", "high")
    assert found.difference is not None
    assert found.difference.value == pytest.approx(-0.0995)


def test_without_records_nothing_is_best() -> None:
    """An empty block judges nobody."""
    found = judged(runs("random", "random"), runs("herding", "coreset"))
    assert (found.best, found.behind, found.over_random, found.duel) == ("", {}, {}, None)
