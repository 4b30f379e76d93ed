"""Who pays for what condensed sets consume."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from condhpc.ledger import Entry
from condhpc.lineage import Lineage
from condhpc.planned import Label
from condhpc.runs import PlanLine
from condhpc.set_costs import SetCost, set_costs
from condhpc.spec import Stage


def line(key: str, stage: Stage, role: str = "", **inputs: str) -> PlanLine:
    """A planned task."""
    return PlanLine(key=key, stage=stage, inputs=inputs, label=Label(dataset="digits", role=role or None))


def entry(key: str, stage: Stage, cpu_s: float, gpu_s: float = 0.0, source: str = "") -> Entry:
    """A record's cost."""
    values = {"source": source} if source else {}
    return Entry(key, stage, 1, values, {"wall_s": cpu_s, "cpu_s": cpu_s, "gpu_s": gpu_s}, {})


PLAN = [
    line("t", "teacher", "single"),
    line("j", "teacher", "judge"),
    line("e", "embed", "teacher:single", encoder="t"),
    line("a", "condense", embedding="e"),
    line("b", "condense", embedding="e", observer="t"),
    line("c", "condense", observer="t"),
    line("r", "condense"),
    line("m", "analyze", set="a", encoder="j"),
]
ENTRIES = {
    "t": entry("t", "teacher", 600.0, 120.0, "trained"),
    "j": entry("j", "teacher", 1e6, 1e6, "trained"),
    "e": entry("e", "embed", 30.0, 6.0),
    "a": entry("a", "condense", 1.0),
    "b": entry("b", "condense", 2.0, 0.5),
    "c": entry("c", "condense", 4.0),
    "r": entry("r", "condense", 0.25),
}


def costs(plan: list[PlanLine], entries: dict[str, Entry]) -> dict[str, SetCost]:
    """Costs of all sets of a plan."""
    return set_costs(plan, Lineage(plan), entries)


def test_what_a_set_consumed_is_charged_once_and_by_share() -> None:
    """The teacher has three users, the embedding two; one that is the encoder too counts once, the judge never."""
    found = costs(PLAN, ENTRIES)
    assert found["a"] == SetCost(631.0, 126.0, 1 + 200 + 15, 40 + 3, "teacher single 3; embed teacher:single 2", "")
    assert found["b"] == SetCost(632.0, 126.5, 2 + 200 + 15, 43.5, "teacher single 3; embed teacher:single 2", "")
    assert found["c"] == SetCost(604.0, 120.0, 204.0, 40.0, "teacher single 3", "")
    assert found["r"] == SetCost(0.25, 0.0, 0.25, 0.0, "", "")


def test_parts_of_an_embedding_are_charged_each_and_named_once() -> None:
    """A large split is embedded in many tasks, which are one thing to whoever reads the table."""
    parts = [line(f"e{i}", "embed", "teacher:single", encoder="t") for i in range(3)]
    plan = [PLAN[0], *parts, line("a", "condense", **{f"embedding.{i}": f"e{i}" for i in range(3)})]
    entries = {**ENTRIES, **{part.key: entry(part.key, "embed", 10.0) for part in parts}}
    found = costs(plan, entries)["a"]
    assert (found.standalone_cpu_s, found.shared_by) == (631.0, "teacher single 1; embed teacher:single 1")


@pytest.mark.parametrize("gone", ["t", "e", "a"])
def test_no_partial_sum_where_a_record_is_missing(gone: str) -> None:
    """A cost without one of its parts would look cheap; sets that do not rest on it keep theirs."""
    found = costs(PLAN, {key: entry for key, entry in ENTRIES.items() if key != gone})
    assert found["a"][:4] == (None, None, None, None)
    assert found["a"].shared_by == "teacher single 3; embed teacher:single 2"
    assert found["r"].standalone_cpu_s == 0.25


def test_costs_below_nothing_are_not_known() -> None:
    """A record with one makes no sum of what rests on it, and the others stay what they are."""
    found = costs(PLAN, ENTRIES | {"t": entry("t", "teacher", -600.0, 120.0, "trained")})
    assert {key: (one.standalone_cpu_s, one.amortised_gpu_s) for key, one in found.items()} == {
        "a": (None, None), "b": (None, None), "c": (None, None), "r": (0.25, 0.0),
    }  # fmt: skip


def test_weights_made_elsewhere_are_named_and_what_testing_them_took_is_charged() -> None:
    """Their training is nobody's here; the name stands once, also behind an embedding."""
    entries = {**ENTRIES, "t": entry("t", "teacher", 3.0, source="weights:resnet18_v1")}
    found = costs(PLAN, entries)
    assert (found["b"].uncharged, found["b"].standalone_cpu_s) == ("resnet18_v1", 35.0)
    assert found["r"].uncharged == ""


def test_other_encoders_than_teachers_are_named_by_the_same_word_of_their_record() -> None:
    """An embedding whose own record names weights rests on them; several are listed in the order of the plan."""
    plan = [line("t", "teacher"), line("e", "embed"), line("s", "condense", embedding="e", observer="t")]
    entries = {
        "t": entry("t", "teacher", 1.0, source="weights:b"),
        "e": entry("e", "embed", 1.0, source="weights:a"),
        "s": entry("s", "condense", 1.0),
    }
    assert costs(plan, entries)["s"].uncharged == "b; a"


def test_what_generators_saw_before_is_told() -> None:
    """Once, also of a generator behind latents and their preparation."""
    plan = [
        line("g", "generator", "dit"),
        line("e", "embed", "generator:dit", generator="g"),
        line("p", "prepare", latents="e"),
        line("s", "condense", generator="g", modes="p"),
    ]
    entries = {key: entry(key, "embed", 1.0) for key in ("e", "p", "s")}
    values = {"source": "weights:xl", "pretrained_on": "ImageNet-1K"}
    entries["g"] = Entry("g", "generator", 1, values, {"wall_s": 1.0, "cpu_s": 1.0, "gpu_s": 0.0}, {})
    found = costs(plan, entries)["s"]
    assert (found.uncharged, found.pretrained_on, found.standalone_cpu_s) == ("xl", "ImageNet-1K", 4.0)


@settings(deadline=None)
@given(st.lists(st.frozensets(st.integers(0, 4)), min_size=1, max_size=8), st.lists(st.floats(0, 1e6), min_size=13))
def test_shares_of_all_sets_add_up_to_all_that_was_spent_on_them(
    users: list[frozenset[int]], spent: list[float]
) -> None:
    """Whatever consumes what: nothing is charged twice, nothing that a set used is left out."""
    teachers = [line(f"t{i}", "teacher") for i in range(5)]
    sets = [line(f"s{i}", "condense", **{f"r{t}": f"t{t}" for t in used}) for i, used in enumerate(users)]
    plan = [*teachers, *sets]
    entries = {task.key: entry(task.key, task.stage, cost) for task, cost in zip(plan, spent, strict=False)}
    charged = [cost.amortised_cpu_s for cost in costs(plan, entries).values()]
    used_keys = {f"t{t}" for used in users for t in used} | {task.key for task in sets}
    total = math.fsum(entries[key].cost["cpu_s"] for key in used_keys)
    assert math.fsum(cost or 0.0 for cost in charged) == pytest.approx(total, abs=1e-4)
