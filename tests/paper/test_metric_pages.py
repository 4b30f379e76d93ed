"""Measures of sets, and who covers the data better."""

from __future__ import annotations

import pytest
from made_papers import Written

from condhpc.paper import metric_pages
from condhpc.paper.metric_pages import Sets, coverage
from condhpc.sets_table import Kinds


def sets(name: str, kind: str, *values: float, better: str = "higher", metric: str = "coverage", ipc: int = 1) -> Sets:
    """A measure of so many sets; one value alone is of a condenser without seeds."""
    of_seeds = {None: values[0]} if len(values) == 1 else dict(enumerate(values))
    return Sets("digits", metric, name, kind, ipc, len(values), "", better, of_seeds, None, "pixels", True, "")


def test_a_judge_that_took_part_is_named(written: Written) -> None:
    """sre2l was distilled by the network that it is measured with: its cell alone has the footnote."""
    found = metric_pages.of_study(written.study, Kinds(written.study))
    assert {one.condenser for one in found if not one.independent} == {"sre2l"}
    note = next(one.notes for one in found if not one.independent)
    assert note == ("measured with teacher:single, which is no independent judge: it also chose, distilled or labels",)


def test_the_best_of_both_sides_are_compared() -> None:
    """By the measure's own direction; a gain is in favour of the coreset."""
    found = coverage(
        [
            sets("c", "coreset", 0.9, 0.8, better="lower", metric="covering_radius"),
            sets("d", "coreset", 0.5, better="lower", metric="covering_radius"),
            sets("m", "method", 0.7, 0.71, 0.69, better="lower", metric="covering_radius"),
            sets("random", "random", 0.1, 0.1, better="lower", metric="covering_radius"),
        ],
        "digits",
        1,
    )
    assert found is not None
    assert (found.coreset.condenser, found.distilled.condenser) == ("d", "m")
    assert found.gain is not None
    assert found.gain.value == pytest.approx(0.2)
    assert found.gain.low is not None
    assert found.gain.low > 0


def test_the_first_measure_of_coverage_counts() -> None:
    """The order of COVERAGE; other sizes and datasets do not take part."""
    rows = [
        sets("c", "coreset", 0.2, 0.3, metric="normalised_coverage"),
        sets("m", "method", 0.2, 0.3, metric="normalised_coverage"),
        sets("c", "coreset", 0.2, 0.3, ipc=10),
        sets("m", "method", 0.2, 0.3, ipc=10),
    ]
    found = [coverage(rows, "digits", ipc) for ipc in (1, 10, 50)]
    assert [None if one is None else one.metric for one in found] == ["normalised_coverage", "coverage", None]


def test_two_sets_without_seeds_are_no_basis() -> None:
    """One set on each side has no spread: the difference is told without an interval."""
    found = coverage([sets("c", "coreset", 0.5), sets("m", "method", 0.2)], "digits", 1)
    assert found is not None
    assert found.gain is not None
    assert (found.gain.value, found.gain.low) == (pytest.approx(0.3), None)


def test_a_measure_that_cannot_be_taken_has_its_reason() -> None:
    """Neither a hole nor a number."""
    one = sets("c", "coreset", 0.5)._replace(values={}, reason="needs two images per class")
    (grid,) = metric_pages.page([one]).grids
    assert grid.rows[0][2].text == "none"
    assert grid.rows[0][2].notes == ("needs two images per class",)
