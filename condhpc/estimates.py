"""Upper estimates: what tasks may take at most, as budgets and reservations count it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from condhpc.budget import Amounts
from condhpc.planned import Plan
from condhpc.predictions import Need
from condhpc.profile import Profile
from condhpc.resources import StageResources

GPU_W_MAX, CORE_W_MAX = 1000.0, 20.0
"""No GPU, and no core with its share of the node, draws more for long."""
_J_PER_KWH = 3.6e6


class Upper(msgspec.Struct, frozen=True):
    """Upper estimates by key, and how many of these tasks nothing bounds."""

    amounts: dict[str, Amounts]
    unknown: int


def upper(planned: Plan, keys: Collection[str], needs: Mapping[str, Need], profile: Profile) -> Upper:
    """What each of these tasks may take of the allocations that it shares; `needs` are the plan's upper estimates.

    Tasks that the plan does not know get their share of the time limit. Where there is none either, a task counts as 0
    and is told of as unknown.
    """
    found: dict[str, Amounts] = {}
    unknown = 0
    for item in (item for item in planned.tasks if item.key in keys):
        wanted = profile.stage(item.task.stage)
        need = needs.get(item.key)
        hours = _limit_h(wanted) if need is None or need.wall_s is None else need.wall_s / 3600.0 / wanted.concurrent
        unknown += hours is None
        found[item.key] = Amounts() if hours is None else _of_element(hours, wanted)
    return Upper(found, unknown)


def kwh(gpu_h: float, cpu_h: float) -> float:
    """An upper bound on the energy of so many GPU-hours and core-hours."""
    return (gpu_h * GPU_W_MAX + cpu_h * CORE_W_MAX) * 3600.0 / _J_PER_KWH


def _limit_h(wanted: StageResources) -> float | None:
    """A task's share of its element's time limit."""
    return None if wanted.time_min is None else wanted.time_min / 60.0 / wanted.pack


def _of_element(hours: float, wanted: StageResources) -> Amounts:
    """An element holds its GPUs, and its cores beside them."""
    gpu_h, cpu_h = hours * wanted.all_gpus, hours * wanted.cpus * wanted.ranks
    return Amounts(gpu_h=gpu_h, cpu_h=cpu_h, kwh=kwh(gpu_h, cpu_h))
