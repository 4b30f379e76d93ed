"""From one condensed set to tasks that make parts of it; how many they are changes neither its key nor its images."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from condhpc import keys, registry
from condhpc.planned import Plan, Planned
from condhpc.spec import CondenseSpec, Groups, Task

if TYPE_CHECKING:
    from condhpc.methods.base import Group


def groups_of(spec: CondenseSpec) -> list[Group]:
    """The groups that a task makes: all of its method's, or those of a shard."""
    method: Any = registry.load("methods", spec.condenser)
    found: list[Group] = method.groups(spec, msgspec.convert(spec.params, method.Params))
    if not isinstance(spec.groups, Groups):
        return found
    return found[spec.groups.first : spec.groups.first + spec.groups.count]


def shards_of(task: Task, count: int) -> list[Task]:
    """At most `count` tasks that make a set's groups between them; none where it is made in one go.

    Sizes differ by one group at most. A shard has no shards.
    """
    spec = task.spec
    if count < 2 or not isinstance(spec, CondenseSpec) or spec.kind != "method" or spec.is_shard:
        return []
    total = len(groups_of(spec))
    count = min(count, total)
    bounds = [total * i // count for i in range(count + 1)]
    parts = [Groups(first=start, count=stop - start) for start, stop in itertools.pairwise(bounds)]
    return [_shard(task, spec, part) for part in parts] if count > 1 else []


def _shard(task: Task, spec: CondenseSpec, part: Groups) -> Task:
    return msgspec.structs.replace(task, spec=msgspec.structs.replace(spec, groups=part))


def spread(plan: Plan, count: int, is_recorded: Callable[[str], bool]) -> Plan:
    """The plan with shards before each set that is still to be made and can be split."""
    tasks: list[Planned] = []
    for item in plan.tasks:
        is_open = count > 1 and item.task.stage == "condense" and not is_recorded(item.key)
        tasks += _with_shards(item, shards_of(item.task, count) if is_open else [])
    return msgspec.structs.replace(plan, tasks=tasks)


def _with_shards(item: Planned, shards: list[Task]) -> list[Planned]:
    found = [
        Planned(keys.key(shard), shard, msgspec.structs.replace(item.label, shard=f"{number}/{len(shards)}"))
        for number, shard in enumerate(shards, 1)
    ]
    whole = msgspec.structs.replace(item.task, shards=tuple(shard.key for shard in found))
    return [*found, Planned(item.key, whole, item.label)]
