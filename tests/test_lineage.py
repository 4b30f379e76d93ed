"""What consumes what."""

from __future__ import annotations

import random

from condhpc.lineage import Lineage
from condhpc.planned import Label
from condhpc.runs import PlanLine


def line(key: str, *inputs: str) -> PlanLine:
    """A planned task with inputs."""
    return PlanLine(key=key, stage="embed", inputs={str(i): parent for i, parent in enumerate(inputs)}, label=Label())


def reachable(plan: list[PlanLine], key: str) -> set[str]:
    """All that a walk from a task meets, without memory."""
    lines = {line.key: line for line in plan}
    found: set[str] = set()
    to_see = [key]
    while to_see:
        parents = lines[to_see.pop()].inputs.values()
        found.update(parents)
        to_see += parents
    return found


def test_ancestors_are_what_a_walk_finds() -> None:
    """On random graphs in which inputs come first; the order is the plan's."""
    for seed in range(20):
        draw = random.Random(seed)
        keys = [f"{i:02}" for i in range(20)]
        draw.shuffle(keys)
        plan = [line(key, *draw.sample(keys[:i], min(i, draw.randrange(3)))) for i, key in enumerate(keys)]
        lineage = Lineage(plan)
        for key in keys:
            assert lineage.ancestors(key) == reachable(plan, key)
            assert lineage.closure([key]) == reachable(plan, key) | {key}
        assert lineage.ordered(reversed(keys)) == keys


def test_a_key_that_is_not_planned_rests_on_nothing() -> None:
    """It is an ancestor all the same, and comes last."""
    lineage = Lineage([line("b", "gone"), line("a")])
    assert lineage.ancestors("b") == {"gone"}
    assert lineage.ancestors("gone") == set()
    assert lineage.ordered({"gone", "a", "b"}) == ["b", "a", "gone"]
