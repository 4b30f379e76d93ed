"""What tasks cost, and what several cost together: all attempts that led to the record, GPU types kept apart. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import NamedTuple

from condhpc import energy_sums
from condhpc.energy_sums import Used
from condhpc.ledger import Entry
from condhpc.runs import PlanLine
from condhpc.tries import Try

UNKNOWN_TYPE = "unknown"
_SHARD = "shard."
"""Roles of a set's parts among its inputs."""


class Cost(NamedTuple):
    """Of one task or several."""

    gpu_s: float
    cpu_s: float
    used: Used
    gpu_types: frozenset[str]
    """Of all that had a GPU: hours on several are not one figure."""


_NO_TYPES: frozenset[str] = frozenset()


class TaskCosts(NamedTuple):
    """By key."""

    productive: dict[str, Cost]
    """Of recorded tasks: the attempt that left the record, and those whose checkpoints it went on from."""
    wasted: dict[str, tuple[float, float]]
    """GPU and CPU seconds of attempts that led to nothing."""


def task_costs(plan: Iterable[PlanLine], entries: Mapping[str, Entry], tries: Iterable[Try]) -> TaskCosts:
    """Costs of every task of a plan; sets that were made in parts include these."""
    found = {key: _of_record(entry) for key, entry in entries.items()}
    wasted: dict[str, tuple[float, float]] = {}
    for one in tries:
        if not one.productive:
            gpu_s, cpu_s = wasted.get(one.key, (0.0, 0.0))
            wasted[one.key] = gpu_s + one.cost.get("gpu_s", 0.0), cpu_s + one.cost.get("cpu_s", 0.0)
        elif one.outcome != "recorded":
            found[one.key] = _and_before(found[one.key], one)
    for line in plan:
        entry = entries.get(line.key)
        if entry is not None and "shards_gpu_s" in entry.values:
            found[line.key] = _with_shards(found[line.key], entry, line, found)
    return TaskCosts(found, wasted)


def added(costs: Mapping[str, Cost], users: Mapping[str, float]) -> Cost | None:
    """The sum over these tasks, each divided by its users; None where one of them has no record."""
    gpu_s = cpu_s = 0.0
    types: set[frozenset[str]] = set()
    used: list[tuple[Used, float]] = []
    for key, n in users.items():
        cost = costs.get(key)
        if cost is None:
            return None
        gpu_s += cost.gpu_s / n
        cpu_s += cost.cpu_s / n
        types.add(cost.gpu_types)
        used.append((cost.used, n))
    return Cost(gpu_s, cpu_s, energy_sums.total(used), _NO_TYPES.union(*types))


def together(costs: Sequence[Cost]) -> Cost:
    """The sum of these, one at least."""
    return Cost(
        math.fsum([cost.gpu_s for cost in costs]),
        math.fsum([cost.cpu_s for cost in costs]),
        energy_sums.total([(cost.used, 1.0) for cost in costs]),
        _NO_TYPES.union(*{cost.gpu_types for cost in costs}),
    )


def _of_record(entry: Entry) -> Cost:
    """Of the attempt that left the record alone."""
    gpu_s = entry.cost.get("gpu_s", 0.0)
    used = energy_sums.of_task(entry.energy, gpus=gpu_s > 0)
    gpu_types = _type(str(entry.environment.get("gpu", "")) or UNKNOWN_TYPE) if gpu_s > 0 else _NO_TYPES
    return Cost(gpu_s, entry.cost.get("cpu_s", 0.0), used, gpu_types)


@cache
def _type(name: str) -> frozenset[str]:
    return frozenset({name})


def _and_before(cost: Cost, one: Try) -> Cost:
    """With an earlier attempt from whose checkpoint the task went on, on another type of GPU perhaps.

    Where its diary did not name the type, it counts as the last one's.
    """
    gpu_s = one.cost.get("gpu_s", 0.0)
    used = energy_sums.total(((cost.used, 1.0), (energy_sums.of_task(one.energy, gpus=gpu_s > 0), 1.0)))
    named = _type(one.gpu) if one.gpu else cost.gpu_types or _type(UNKNOWN_TYPE)
    types = cost.gpu_types | named if gpu_s > 0 else cost.gpu_types
    return Cost(cost.gpu_s + gpu_s, cost.cpu_s + one.cost.get("cpu_s", 0.0), used, types)


def _with_shards(own: Cost, entry: Entry, line: PlanLine, found: Mapping[str, Cost]) -> Cost:
    """Its own task and its parts; of parts that this plan does not have the set's record tells the seconds only."""
    parts = [key for role, key in line.inputs.items() if role.startswith(_SHARD)]
    if parts and all(key in found for key in parts):
        return added({**found, line.key: own}, dict.fromkeys([line.key, *parts], 1.0)) or own
    gpu_s = own.gpu_s + float(entry.values["shards_gpu_s"])
    cpu_s = own.cpu_s + float(entry.values.get("shards_cpu_s", 0.0))
    types = own.gpu_types or (_type(UNKNOWN_TYPE) if gpu_s > 0 else _NO_TYPES)
    return Cost(gpu_s, cpu_s, energy_sums.UNKNOWN, types)
