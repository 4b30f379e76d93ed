"""What students of a set cost together, added up by hand."""

from __future__ import annotations

import pytest

from condhpc import student_costs
from condhpc.energy_sums import Used
from condhpc.planned import Label
from condhpc.runs import PlanLine
from condhpc.student_costs import NOBODY, Student
from condhpc.task_costs import Cost

ERM, KD = ("digits", "erm", "convnet3"), ("digits", "kd", "convnet3")


def cost(gpu_s: float, gpu: str = "H100") -> Cost:
    """Of a task on a GPU, with as many CPU seconds, at 100 W."""
    return Cost(gpu_s, gpu_s, Used(100.0 * gpu_s, "A", frozenset({"gpu"})), frozenset({gpu}))


COSTS = {"a": cost(1.0), "b": cost(2.0), "c": cost(4.0, "A100"), "labels": cost(8.0)}
STUDENTS = [Student("a", "", ERM), Student("b", "labels", KD), Student("c", "labels", KD)]


def test_students_count_with_the_labels_that_they_read_each_once() -> None:
    """Two read one file: it counts once, for them and for all; GPU types and energies are together."""
    found = student_costs.of_set(STUDENTS, COSTS)
    assert (found.count, found.labels) == (3, ["labels"])
    assert found.cost == Cost(15.0, 15.0, Used(1500.0, "A", frozenset({"gpu"})), frozenset({"H100", "A100"}))
    assert [(one.which, one.count, one.cost.gpu_s) for one in found.alike if one.cost] == [(ERM, 1, 1.0), (KD, 2, 14.0)]


def test_labels_without_a_record_leave_the_cost_open() -> None:
    """A sum without them would look cheap; students that read none have theirs."""
    known = {key: held for key, held in COSTS.items() if key != "labels"}
    found = student_costs.of_set(STUDENTS, known)
    assert found.cost is None
    assert [one.cost for one in found.alike] == [COSTS["a"], None]
    assert student_costs.of_set([], COSTS) == NOBODY


@pytest.mark.parametrize(("key", "expected"), [("a", ["a"]), ("lost", [])])
def test_students_of_a_plan_are_those_that_have_a_cost(key: str, expected: list[str]) -> None:
    """By set, with the labels that they read; references have no set."""
    label = Label(dataset="digits", protocol="kd", student="convnet3")
    line = PlanLine(key=key, stage="evaluate", inputs={"set": "s", "labels": "labels"}, label=label)
    reference = PlanLine(key="b", stage="evaluate", label=label)
    found = student_costs.of_plan([line, reference], COSTS)
    assert found.get("s", []) == [Student(one, "labels", KD) for one in expected]
    assert set(found) <= {"s"}
