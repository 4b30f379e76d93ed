"""Which failures are alike, and what is told of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_runs import MadeRun
from test_accounts import sacct_row
from test_failures import FakeSlurm

from condhpc import accounts, briefs
from condhpc.briefs import Brief
from condhpc.charge_sums import ChargeSums
from condhpc.failure_groups import FailureGroups, signature
from condhpc.findings import Row
from condhpc.runs import PlanLine


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ValueError: 12 classes, expected 10", "ValueError: 7 classes, expected 100"),
        ("FileNotFoundError: /data/a/img_1.png", "FileNotFoundError: ~/b.png"),
        ("torch.OutOfMemoryError: tried to allocate 20.00 MiB", "torch.OutOfMemoryError: tried to allocate 1.5 MiB"),
        (f"blocked: {'0a' * 16} is not recorded", f"blocked: {'b1' * 16} is not recorded"),
        ("segmentation fault at 0x7f00aa", "segmentation fault at 0x1"),
        ("step 3:17:02 of 1,000", "step 4:18:09 of 12,500"),
    ],
)
def test_what_differs_from_task_to_task_is_left_out(one: str, other: str) -> None:
    """Numbers, paths, keys, addresses and times."""
    assert signature(one) == signature(other)
    assert signature(one) != one


def test_different_errors_stay_different() -> None:
    """Words count; a division sign or a decade of letters is no path and no key."""
    lines = ["ValueError: no", "TypeError: no", "ValueError: not", "KeyError: 'deadbeef'", "a / b", "facade"]
    assert len({signature(line) for line in lines}) == len(lines)


@given(st.text(max_size=400))
def test_any_text_has_a_signature(text: str) -> None:
    """Bounded; a second pass changes nothing but what the cut left."""
    found = signature(text)
    assert len(found) <= 160
    assert not any(char in "0123456789" for char in found)


class World:
    """Four sets of one array: two whose code failed alike, one out of memory, one lost with its node."""

    def __init__(self, root: Path) -> None:
        self.made = made = MadeRun(root)
        self.keys = [made.condense(seed=seed) for seed in range(4)]
        made.write().submit(*((key,) for key in self.keys), job="608", name="sub")
        reasons = "Traceback\nValueError: 3 of 5", "Traceback\nValueError: 4 of 5", "MemoryError"
        for at, reason in enumerate(reasons):
            held = made.lease(self.keys[at], f"608_{at}")
            held.end("failed", reason, {"gpu_s": 1800.0, "cpu_s": 3600.0})
        made.lease(self.keys[3], "608_3")
        sacct = sacct_row("608_2", "OUT_OF_MEMORY") + sacct_row("608_3", "NODE_FAIL")
        sacct += sacct_row("608_0", "FAILED") + sacct_row("608_1", "FAILED")
        accounts.refresh(made.run, made.layout, FakeSlurm(sacct=sacct))
        charges = ChargeSums(made.run, lambda _: ())
        charges.read()
        self.groups = FailureGroups(made.run, made.layout, charges.of_element, self.brief, self.keys.index)

    def brief(self, key: str) -> Brief:
        """As read from diaries."""
        return briefs.of_diaries(self.made.layout, "condense", key, running=False)

    def row(self, at: int, **fields: Any) -> Row:
        """A row of the snapshot."""
        line: PlanLine = self.made.lines[at]
        given: dict[str, Any] = {"state": "failed", "element": f"608_{at}", "host": f"n{at % 2}"} | fields
        return Row(key=line.key, stage=line.stage, label=line.label, **given)


@pytest.fixture
def world(root: Path) -> World:
    """Rows not told yet."""
    return World(root)


def test_groups_name_cause_nodes_and_what_was_lost(world: World) -> None:
    """The most frequent first; hours are those of the diaries, None where a diary has none."""
    world.groups.change(world.row(2, detail="MemoryError"))
    world.groups.change(world.row(0, detail="ValueError: 3 of 5"))
    world.groups.change(world.row(3, detail="element 608_3 ended as NODE_FAIL", state="lost", host=""))
    world.groups.change(world.row(1, detail="ValueError: 4 of 5"))
    code, memory, lost = world.groups.now()
    assert (code.signature, code.example) == ("ValueError: N of N", "ValueError: 3 of 5")
    assert (code.keys, code.stages, code.nodes) == (world.keys[:2], ["condense"], ["n0", "n1"])
    assert [group.cause for group in (code, memory, lost)] == ["code", "limit", "infra"]
    assert [group.slurm_state for group in (code, memory, lost)] == ["FAILED", "OUT_OF_MEMORY", "NODE_FAIL"]
    assert [group.state for group in (code, memory, lost)] == ["failed", "failed", "lost"]
    assert [(g.gpu_h_lost, g.cpu_h_lost) for g in (code, memory, lost)] == [(1.0, 2.0), (0.5, 1.0), (None, None)]


def test_a_task_that_goes_on_leaves_its_group(world: World) -> None:
    """And a group without tasks is gone."""
    world.groups.change(world.row(0, detail="ValueError: 3 of 5"))
    world.groups.change(world.row(1, detail="ValueError: 4 of 5"))
    world.groups.change(world.row(0, state="queued"))
    assert [group.keys for group in world.groups.now()] == [[world.keys[1]]]
    world.groups.change(world.row(1, state="recorded"))
    assert world.groups.now() == []


def test_without_a_reason_there_are_words(world: World) -> None:
    """A group always has a name; the example is what was said, nothing."""
    world.groups.change(world.row(0, detail=""))
    (group,) = world.groups.now()
    assert (group.signature, group.example) == ("no reason known", "")
