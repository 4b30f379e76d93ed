"""Shards of a set: what they are, and that a set made in shards is the set made in one go, under the same key."""

from __future__ import annotations

from pathlib import Path

import made_stages
import numpy as np
import pytest
from made_stages import Lab

from condhpc import arrays, keys, sharding
from condhpc.planned import Label, Plan, Planned
from condhpc.spec import CondenseSpec, Groups, Task

OBSERVER = made_stages.teacher(steps=6)
"""Trained for half an epoch: that it ranks crops at all is enough."""


def rded(ipc: int = 2, observer: str = "00") -> Task:
    """A set of the ten digits, a group each."""
    return made_stages.condense("rded", {"observer": observer}, ipc=ipc)


def parts_of(task: Task, count: int) -> list[tuple[int, int]]:
    """(first, count) of each shard's groups."""
    found = []
    for shard in sharding.shards_of(task, count):
        assert isinstance(shard.spec, CondenseSpec)
        assert isinstance(shard.spec.groups, Groups)
        found.append((shard.spec.groups.first, shard.spec.groups.count))
    return found


def test_shards_cover_all_groups_once() -> None:
    """Contiguous, in order, of sizes that differ by one at most; never more than there are groups."""
    assert parts_of(rded(), 3) == [(0, 3), (3, 3), (6, 4)]
    assert parts_of(rded(), 10) == parts_of(rded(), 99) == [(i, 1) for i in range(10)]


def test_what_is_not_split() -> None:
    """A count of one, a coreset, a shard."""
    assert sharding.shards_of(rded(), 1) == []
    assert sharding.shards_of(made_stages.condense("random"), 4) == []
    assert sharding.shards_of(sharding.shards_of(rded(), 2)[0], 2) == []
    assert sharding.shards_of(made_stages.teacher(), 4) == []


def test_a_shard_has_a_key_of_its_own_and_the_set_keeps_its() -> None:
    """How a set is made is no part of its key; shards of different counts never share one."""
    task = rded()
    made = {keys.key(shard) for count in (2, 3) for shard in sharding.shards_of(task, count)}
    assert len(made) == 5
    assert keys.key(task) not in made
    assert keys.key(rded()) == keys.key(task)


def test_a_plan_is_spread_where_sets_are_still_to_be_made() -> None:
    """Shards stand before their set, which waits for them; recorded sets and other tasks stay as they are."""
    open_, done = rded(2), rded(3)
    tasks = [Planned(keys.key(task), task, Label(condenser="rded")) for task in (open_, done)]
    plan = Plan("p", tasks, [], (), provisional=False)
    found = sharding.spread(plan, 2, lambda key: key == keys.key(done)).tasks
    assert [item.label.shard for item in found] == ["1/2", "2/2", None, None]
    assert found[2].key == keys.key(open_)
    assert found[2].task.shards == (found[0].key, found[1].key)
    assert found[2].task.waits_for == ("00", found[0].key, found[1].key)
    assert found[3] == tasks[1]
    assert sharding.spread(plan, 1, lambda _: False) == plan


def test_shards_give_the_bits_of_the_whole(tmp_path: Path) -> None:
    """Same images, in the same order; the record sums up what the shards took."""
    whole = Lab(tmp_path / "whole")
    task = rded(observer=whole.key(OBSERVER))
    expected = arrays.read_condensed_set(whole.artefact(task, "set"))
    split = Lab(tmp_path / "split", shards=3)
    split.key(OBSERVER)
    records = [split.record(shard) for shard in sharding.shards_of(task, 3)]
    assert [record.values["count"] for record in records] == [6, 6, 8]
    found = arrays.read_condensed_set(split.artefact(task, "set"))
    np.testing.assert_array_equal(found.images_NHWC, expected.images_NHWC)
    np.testing.assert_array_equal(found.labels_N, expected.labels_N)
    told = split.record(task).values
    assert told["shards"] == 3
    assert told["shards_cpu_s"] == pytest.approx(sum(record.cost["cpu_s"] for record in records), abs=1e-5)


def test_a_set_waits_for_its_shards(tmp_path: Path) -> None:
    """Without them it is blocked, and names what is missing."""
    lab = Lab(tmp_path, shards=2)
    task = rded(observer=lab.key(OBSERVER))
    lab.key(sharding.shards_of(task, 2)[0])
    assert lab.attempt(task) == "blocked"
    assert keys.key(sharding.shards_of(task, 2)[1]) in lab.reason(task)
