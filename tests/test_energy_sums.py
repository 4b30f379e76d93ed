"""Sums of energy figures."""

from __future__ import annotations

from typing import Any

import pytest

from condhpc.energy import Energy
from condhpc.energy_sums import NOTHING, UNKNOWN, Used, of_task, total


def figure(part: Any, joules: float | None, grade: Any) -> Energy:
    """A figure of ten minutes."""
    return Energy(part=part, joules=joules, grade=grade, source="test", window_s=600.0)


@pytest.mark.parametrize(
    ("figures", "gpus", "expected"),
    [
        ([], False, UNKNOWN),
        ([figure("gpu", 50.0, "A"), figure("cpu", 7.0, "C")], True, Used(57.0, "C", frozenset({"gpu", "cpu"}))),
        ([figure("gpu", 50.0, "A"), figure("cpu", None, "none")], True, Used(50.0, "A", frozenset({"gpu"}))),
        ([figure("gpu", None, "none"), figure("cpu", 7.0, "B")], True, UNKNOWN),
        ([figure("dram", 1.0, "B")], False, UNKNOWN),
        ([figure("node", 90.0, "B"), figure("gpu", 50.0, "A")], True, Used(90.0, "B", frozenset({"node"}))),
        ([figure("cpu", 5.0, "none")], False, UNKNOWN),
    ],
)
def test_a_task_needs_the_part_that_did_the_work(figures: list[Energy], gpus: bool, expected: Used) -> None:  # noqa: FBT001 - a case
    """Without its GPU's figure a GPU task is not measured; a node's figure holds all others."""
    assert of_task(figures, gpus=gpus) == expected


def test_a_sum_is_as_good_as_its_worst_part() -> None:
    """Shares are divided, grades are not; one unknown makes the sum unknown, nothing at all is 0."""
    a, d = Used(360.0, "A", frozenset({"gpu"})), Used(100.0, "D", frozenset({"cpu"}))
    assert total([(a, 1.0), (d, 4.0)]) == Used(385.0, "D", frozenset({"gpu", "cpu"}))
    assert total([(a, 1.0), (UNKNOWN, 1.0)]) == UNKNOWN
    assert total([]) == NOTHING
    assert total([(a, 2.0), (NOTHING, 1.0)]) == Used(180.0, "A", frozenset({"gpu"}))
    assert Used(3.6e6, "A", frozenset({"gpu", "cpu"})).kwh == 1.0
    assert (a.of, total([(a, 1.0), (d, 1.0)]).of, UNKNOWN.kwh) == ("gpu", "cpu+gpu", None)
