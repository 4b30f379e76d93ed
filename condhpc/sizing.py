"""What each array asks for: its stage's resources, more where tasks needed it, and time by the plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from condhpc import time_limits
from condhpc.arrange import Array
from condhpc.predictions import Need
from condhpc.profile import Profile
from condhpc.resources import More, StageResources
from condhpc.slurm_limits import Limits, Partition

_MB_PER_GB = 1024


@dataclass(frozen=True)
class Sizing:
    """What is known of single tasks beside their stage."""

    needs: Mapping[str, Need] = field(default_factory=dict)
    """By key: upper estimates."""
    more: Mapping[str, More] = field(default_factory=dict)
    """By key: what was not enough before."""

    def apart(self, key: str) -> More | None:
        """Tasks of which this differs need arrays of their own."""
        return self.more.get(key)

    def sized(self, array: Array, profile: Profile, partition: Partition | None) -> Array:
        """The array with what each of its elements gets, and why where the profile and the plan had not been enough."""
        given = profile.stage(array.stage)
        extra = self.more.get(array.packs[0][0])
        wanted = given if extra is None else _within(extra, given, partition).of(given)
        most_min = partition.max_time_min if partition is not None else None
        reserved_s = profile.signal_s + profile.margin_s
        packs = ([self._wall_s(key) for key in pack] for pack in array.packs)
        needed = time_limits.needed_min(packs, wanted.concurrent, reserved_s)
        raised = extra is not None and extra.time_min is not None
        time_min = time_limits.limit_min(
            wanted.time_min, needed, most_min, from_plan=wanted.time_from_plan and not raised
        )
        sized = msgspec.structs.replace(wanted, time_min=time_min)
        return msgspec.structs.replace(array, resources=sized, why=_why(given, sized, extra))

    def _wall_s(self, key: str) -> float | None:
        need = self.needs.get(key)
        return need.wall_s if need is not None else None


def _within(extra: More, given: StageResources, partition: Partition | None) -> More:
    """What this partition grants of it: it may have been needed on another. The profile's own is left as it is."""
    most_min, most_gb = partition.max_time_min if partition is not None else None, node_gb(partition)
    time_min, mem_gb = extra.time_min, extra.mem_gb
    if time_min is not None and most_min is not None:
        time_min = max(min(time_min, most_min), given.time_min or 0)
    if mem_gb is not None and most_gb is not None:
        mem_gb = max(min(mem_gb, most_gb), given.mem_gb or 0.0)
    return msgspec.structs.replace(extra, time_min=time_min, mem_gb=mem_gb)


def partition_of(limits: Limits, given: StageResources) -> Partition | None:
    """The partition that a stage asks for; of several the first that exists speaks for all. None: none exists."""
    if not given.partition:
        return next((part for part in limits.partitions if part.is_default), None)
    by_name = {part.name: part for part in limits.partitions}
    return next((by_name[name] for name in given.partition.split(",") if name in by_name), None)


def node_gb(partition: Partition | None) -> float | None:
    """Memory of a partition's largest node; None where Slurm does not say."""
    return None if partition is None or partition.mem_mb is None else partition.mem_mb / _MB_PER_GB


def _why(given: StageResources, sized: StageResources, extra: More | None) -> str:
    """`90 min, 24 GB: out of memory`; empty where all is the profile's or the plan's."""
    if extra is None:
        return ""
    changes = [f"{sized.time_min} min"] if sized.time_min != given.time_min else []
    changes += [f"{sized.mem_gb:g} GB"] if sized.mem_gb is not None and sized.mem_gb != given.mem_gb else []
    changes += [f"{sized.concurrent} at a time"] if sized.concurrent != given.concurrent else []
    return f"{', '.join(changes)}: {extra.why}" if changes else ""
