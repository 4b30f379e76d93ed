"""What arrays ask for."""

from __future__ import annotations

from typing import Any

from condhpc.arrange import Array
from condhpc.predictions import Need
from condhpc.profile import Profile
from condhpc.resources import More, StageBlock, StageResources, Stages
from condhpc.sizing import Sizing, node_gb, partition_of
from condhpc.slurm_limits import Partition
from tests.test_survey import LIMITS

PARTITION = Partition("gpu", is_default=True, is_up=True, max_time_min=600, nodes=1, gres={}, mem_mb=65536)
ARRAY = Array(stage="evaluate", packs=(("a", "b"), ("c",)))


def _sized(sizing: Sizing, **block: Any) -> Array:
    profile = Profile(name="site", backend="slurm", stages=Stages(evaluate=StageBlock(**block)))
    return sizing.sized(ARRAY, profile, PARTITION)


def _resources(array: Array) -> StageResources:
    assert array.resources is not None
    return array.resources


def test_without_knowledge_the_profile_stands() -> None:
    """And nothing needs to be explained."""
    found = _sized(Sizing(), time_min=60, mem_gb=8.0)
    assert (_resources(found).time_min, _resources(found).mem_gb, found.why) == (60, 8.0, "")
    assert _resources(_sized(Sizing())).time_min is None


def test_the_plan_gives_a_limit_where_the_profile_has_none() -> None:
    """Its largest pack takes an hour at the most; the partition's own default is not asked for."""
    known = Sizing({"a": Need(1800.0), "b": Need(1800.0), "c": Need(60.0)})
    found = _sized(known)
    assert _resources(found).time_min == 95  # 2 + 1.5 × 60 + 3 min
    assert found.why == "", "the column of limits says it"
    assert _resources(_sized(known, time_min=240)).time_min == 240
    assert _resources(_sized(known, time_min=240, time_from_plan=True)).time_min == 95
    assert _resources(_sized(Sizing({"a": Need(1800.0), "b": Need(None), "c": Need(60.0)}))).time_min is None


def test_what_was_not_enough_is_exceeded() -> None:
    """Time and memory go up, tasks at a time down, and the reason is told; a profile that has more since, stands."""
    more = dict.fromkeys(("a", "b", "c"), More(time_min=90, mem_gb=24.0, concurrent=1, why="out of memory"))
    found = _sized(Sizing(more=more), time_min=60, mem_gb=16.0, pack=2, concurrent=2)
    given = _resources(found)
    assert (given.time_min, given.mem_gb, given.concurrent) == (90, 24.0, 1)
    assert found.why == "90 min, 24 GB, 1 at a time: out of memory"
    larger = _sized(Sizing(more=more), time_min=120, mem_gb=32.0)
    assert (_resources(larger).time_min, _resources(larger).mem_gb, larger.why) == (120, 32.0, "")


def test_raised_time_is_not_lowered_by_the_plan() -> None:
    """The prediction had been wrong."""
    short = dict.fromkeys(("a", "b", "c"), Need(1.0))
    more = dict.fromkeys(("a", "b", "c"), More(time_min=90, why="its time limit was too short"))
    assert _resources(_sized(Sizing(short, more), time_min=60, time_from_plan=True)).time_min == 90


def test_what_another_partition_gave_is_cut_to_this_one() -> None:
    """Or sbatch would refuse the array; what the profile itself asks for is its own affair."""
    more = dict.fromkeys(("a", "b", "c"), More(time_min=9000, mem_gb=512.0, why="out of memory"))
    cut = _resources(_sized(Sizing(more=more), time_min=60, mem_gb=16.0))
    assert (cut.time_min, cut.mem_gb) == (600, 64.0)
    own = _resources(_sized(Sizing(more=more), time_min=700, mem_gb=96.0))
    assert (own.time_min, own.mem_gb) == (700, 96.0)


def test_of_several_partitions_the_first_speaks() -> None:
    """None exists: nobody knows its limits."""
    assert partition_of(LIMITS, StageResources(partition="none,gpu")) == LIMITS.partitions[1]
    assert partition_of(LIMITS, StageResources()) == LIMITS.partitions[0]
    assert partition_of(LIMITS, StageResources(partition="none")) is None
    assert node_gb(PARTITION) == 64.0
    assert node_gb(None) is None
