"""Costs of tasks."""

from __future__ import annotations

from typing import Any

import pytest

from condhpc.energy import Energy
from condhpc.energy_sums import UNKNOWN
from condhpc.ledger import Entry
from condhpc.planned import Label
from condhpc.runs import PlanLine
from condhpc.task_costs import Cost, added, task_costs
from condhpc.tries import Try


def measured(gpu_s: float, joules: float | None = 100.0, **fields: Any) -> dict[str, Any]:
    """Cost and energy of an attempt on a GPU."""
    energy = (Energy(part="gpu", joules=joules, grade="A" if joules else "none", source="", window_s=60.0),)
    return {"cost": {"gpu_s": gpu_s, "cpu_s": 2 * gpu_s}, "energy": energy, **fields}


def entry(key: str, gpu_s: float = 0.0, gpu: str = "H100", values: dict[str, Any] | None = None) -> Entry:
    """A record with the figures of its own attempt."""
    return Entry(key, "condense", 1, values or {}, environment={"gpu": gpu} if gpu else {}, **measured(gpu_s))


def attempt(key: str, outcome: Any = "recorded", **fields: Any) -> Try:
    """An attempt at a task."""
    given: dict[str, Any] = {
        "stage": "condense", "number": 1, "run": "r", "element": "1_0", "restarts": 0, "host": "n", "start_s": 0.0,
        "end_s": 1.0, "reason": "", "productive": outcome == "recorded", "cost": {}, "energy": (),
    }  # fmt: skip
    return Try(key=key, outcome=outcome, **(given | fields))


def test_attempts_that_led_to_the_record_are_added_up_and_waste_is_apart() -> None:
    """A task that went on from a checkpoint cost what came before, too; its own attempt is told by its record."""
    tries = [
        attempt("a", "failed", **measured(3.0)),
        attempt("a", "stopped", **measured(10.0, productive=True)),
        attempt("a", **measured(1e6)),
        attempt("lost", "silent", **measured(7.0)),
    ]
    found = task_costs([], {"a": entry("a", 5.0)}, tries)
    cost = found.productive["a"]
    assert (cost.gpu_s, cost.cpu_s, cost.used.joules, cost.used.grade) == (15.0, 30.0, 200.0, "A")
    assert cost.gpu_types == {"H100"}
    assert found.wasted == {"a": (3.0, 6.0), "lost": (7.0, 14.0)}


@pytest.mark.parametrize(("before", "expected"), [("A100", {"A100", "H100"}), ("H100", {"H100"}), ("", {"H100"})])
def test_an_attempt_on_another_type_keeps_its_type(before: str, expected: set[str]) -> None:
    """A task that was requeued onto another GPU has hours of two types; of one unnamed, those of its last."""
    tries = [attempt("a", "stopped", gpu=before, **measured(10.0, productive=True)), attempt("a", gpu="H100")]
    cost = task_costs([], {"a": entry("a", 5.0)}, tries).productive["a"]
    assert (cost.gpu_s, cost.gpu_types) == (15.0, expected)


@pytest.mark.parametrize(
    ("gpu", "gpu_s", "expected"), [("H100", 1.0, {"H100"}), ("", 1.0, {"unknown"}), ("H100", 0.0, set())]
)
def test_a_type_is_named_where_a_gpu_was_held(gpu: str, gpu_s: float, expected: set[str]) -> None:
    """One that nobody named is unknown, not none; CPU work has none."""
    found = task_costs([], {"a": entry("a", gpu_s, gpu)}, [])
    assert found.productive["a"].gpu_types == expected


def test_a_set_includes_its_parts() -> None:
    """Their attempts where they are planned, else the seconds that the set's record tells, without energy."""
    values = {"shards_gpu_s": 40.0, "shards_cpu_s": 80.0}
    line = PlanLine(key="s", stage="condense", inputs={"shard.0": "p0", "shard.1": "p1"}, label=Label())
    entries = {"s": entry("s", 1.0, values=values), "p0": entry("p0", 20.0), "p1": entry("p1", 20.0, "A100")}
    cost = task_costs([line], entries, []).productive["s"]
    assert (cost.gpu_s, cost.cpu_s, cost.used.joules, cost.gpu_types) == (41.0, 82.0, 300.0, {"H100", "A100"})
    alone = PlanLine(key="s", stage="condense", label=Label())
    cost = task_costs([alone], {"s": entries["s"]}, []).productive["s"]
    assert (cost.gpu_s, cost.cpu_s, cost.used, cost.gpu_types) == (41.0, 82.0, UNKNOWN, {"H100"})


def test_no_sum_without_one_of_its_records() -> None:
    """A cost without a part would look cheap; shares are divided by their users."""
    costs = {"a": Cost(6.0, 3.0, UNKNOWN, frozenset({"x"})), "b": Cost(1.0, 1.0, UNKNOWN, frozenset())}
    assert added(costs, {"a": 1.0, "c": 1.0}) is None
    assert added(costs, {"a": 3.0, "b": 1.0}) == Cost(3.0, 2.0, UNKNOWN, frozenset({"x"}))
