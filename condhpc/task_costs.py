"""What tasks cost, and what several cost together: all attempts that led to the record, GPU types kept apart. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
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


NOTHING = Cost(0.0, 0.0, energy_sums.NOTHING, frozenset())


class TaskCosts(NamedTuple):
    """By key."""

    productive: dict[str, Cost]
    """Of recorded tasks: the attempt that left the record, and those whose checkpoints it went on from."""
    wasted: dict[str, tuple[float, float]]
    """GPU and CPU seconds of attempts that led to nothing."""


def task_costs(plan: Sequence[PlanLine], entries: Mapping[str, Entry], tries: Iterable[Try]) -> TaskCosts:
    """Costs of every task of a plan; sets that were made in parts include these."""
    of_key: dict[str, list[Try]] = defaultdict(list)
    wasted: dict[str, tuple[float, float]] = {}
    for one in tries:
        if one.productive:
            of_key[one.key].append(one)
        else:
            gpu_s, cpu_s = wasted.get(one.key, (0.0, 0.0))
            wasted[one.key] = gpu_s + one.cost.get("gpu_s", 0.0), cpu_s + one.cost.get("cpu_s", 0.0)
    found = {key: _of_task(entry, of_key[key]) for key, entry in entries.items()}
    for line in plan:
        entry = entries.get(line.key)
        if entry is not None and "shards_gpu_s" in entry.values:
            found[line.key] = _with_shards(found[line.key], entry, line, found)
    return TaskCosts(found, wasted)


def added(costs: Mapping[str, Cost], users: Mapping[str, float]) -> Cost | None:
    """The sum over these tasks, each divided by its users; None where one of them has no record."""
    if any(key not in costs for key in users):
        return None
    shares = [(costs[key], n) for key, n in users.items()]
    return Cost(
        gpu_s=math.fsum(cost.gpu_s / n for cost, n in shares),
        cpu_s=math.fsum(cost.cpu_s / n for cost, n in shares),
        used=energy_sums.total((cost.used, n) for cost, n in shares),
        gpu_types=frozenset[str]().union(*(cost.gpu_types for cost, _ in shares)),
    )


def _of_task(entry: Entry, tries: Sequence[Try]) -> Cost:
    gpu_s = math.fsum(one.cost.get("gpu_s", 0.0) for one in tries)
    gpu_type = str(entry.environment.get("gpu", "")) or UNKNOWN_TYPE
    used = [energy_sums.of_task(one.energy, gpus=one.cost.get("gpu_s", 0.0) > 0) for one in tries]
    return Cost(
        gpu_s=gpu_s,
        cpu_s=math.fsum(one.cost.get("cpu_s", 0.0) for one in tries),
        used=energy_sums.total((one, 1.0) for one in used),
        gpu_types=frozenset({gpu_type} if gpu_s > 0 else ()),
    )


def _with_shards(own: Cost, entry: Entry, line: PlanLine, found: Mapping[str, Cost]) -> Cost:
    """Its own task and its parts; of parts that this plan does not have the set's record tells the seconds only."""
    parts = [key for role, key in line.inputs.items() if role.startswith(_SHARD)]
    if parts and all(key in found for key in parts):
        return added({**found, line.key: own}, dict.fromkeys([line.key, *parts], 1.0)) or own
    gpu_s = own.gpu_s + float(entry.values["shards_gpu_s"])
    cpu_s = own.cpu_s + float(entry.values.get("shards_cpu_s", 0.0))
    return Cost(gpu_s, cpu_s, energy_sums.UNKNOWN, own.gpu_types or frozenset({UNKNOWN_TYPE} if gpu_s > 0 else ()))
