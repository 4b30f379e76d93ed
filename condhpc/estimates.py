"""Upper estimates: what tasks may take at most, as budgets and reservations count it. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence

import msgspec

from condhpc.budget import Amounts
from condhpc.planned import Plan, Planned
from condhpc.predictions import CostRow
from condhpc.profile import Profile
from condhpc.resources import StageResources
from condhpc.spec import Stage

GPU_W_MAX, CORE_W_MAX = 1000.0, 20.0
"""No GPU, and no core with its share of the node, draws more for long."""
_J_PER_KWH = 3.6e6


class Upper(msgspec.Struct, frozen=True):
    """Upper estimates by key, and how many of these tasks nothing bounds."""

    amounts: dict[str, Amounts]
    unknown: int


def upper(planned: Plan, keys: Collection[str], costs: Sequence[CostRow], profile: Profile) -> Upper:
    """What each of these tasks may take. Tasks that the predictions do not know get their share of the time limit.

    Where there is no time limit either, a task counts as 0 and is told of as unknown.
    """
    hours = {kind: _upper_h(row for row in costs if _kind_of(row) == kind) for kind in map(_kind_of, costs)}
    found: dict[str, Amounts] = {}
    unknown = 0
    for item in (item for item in planned.tasks if item.key in keys):
        wanted = profile.stage(item.task.stage)
        known_h = hours.get(_kind(item))
        amounts = _limit(wanted) if known_h is None else _of_hours(known_h, wanted, profile)
        unknown += amounts is None
        found[item.key] = amounts or Amounts()
    return Upper(found, unknown)


def upper_h(row: CostRow) -> float | None:
    """Hours that the tasks of a row take at most; None where nothing is known of them."""
    return row.high_h


def kwh(gpu_h: float, cpu_h: float) -> float:
    """An upper bound on the energy of so many GPU-hours and core-hours."""
    return (gpu_h * GPU_W_MAX + cpu_h * CORE_W_MAX) * 3600.0 / _J_PER_KWH


def _kind_of(row: CostRow) -> tuple[Stage, str, str]:
    return row.stage, row.condenser, row.dataset


def _kind(item: Planned) -> tuple[Stage, str, str]:
    name = (item.label.condenser or "") if item.task.stage in {"prepare", "condense"} else ""
    return item.task.stage, name, item.task.spec.dataset.name


def _upper_h(rows: Iterable[CostRow]) -> float | None:
    """Hours of one task of a kind."""
    known = [(h, row.tasks - row.unknown) for row in rows if (h := upper_h(row)) is not None]
    tasks = sum(count for _, count in known)
    return math.fsum(h for h, _ in known) / tasks if tasks else None


def _of_hours(hours: float, wanted: StageResources, profile: Profile) -> Amounts:
    """GPU-hours of a stage with GPUs, else CPU-hours; an element holds its cores beside its GPUs."""
    cores = wanted.cpus * wanted.ranks
    if not wanted.gpus or profile.device == "cpu":
        gpu_h, cpu_h = hours / max(1, wanted.cpus) * wanted.all_gpus, hours
    else:
        gpu_h, cpu_h = hours, hours / wanted.all_gpus * cores
    return Amounts(gpu_h=gpu_h, cpu_h=cpu_h, kwh=kwh(gpu_h, cpu_h))


def _limit(wanted: StageResources) -> Amounts | None:
    """A task's share of what its element may take until its time limit."""
    if wanted.time_min is None:
        return None
    hours = wanted.time_min / 60.0 / wanted.pack
    gpu_h, cpu_h = hours * wanted.all_gpus, hours * wanted.cpus * wanted.ranks
    return Amounts(gpu_h=gpu_h, cpu_h=cpu_h, kwh=kwh(gpu_h, cpu_h))
