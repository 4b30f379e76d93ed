"""What an action on tasks concerns: its elements, what else they hold, hours of running work, dependants. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import msgspec

from condhpc.findings import Row
from condhpc.run_view import Place
from condhpc.runs import PlanLine
from condhpc.task_state import MOVING

_HOUR_S = 3600.0


class Stakes(msgspec.Struct, frozen=True, kw_only=True):
    """What is lost, and who is hit, when the elements of some tasks are cancelled; the other actions hit `keys` alone.

    Numbers are as of a snapshot: ask again right before acting where they matter.
    """

    keys: list[str]
    """Of the tasks asked for, those that wait or run in an element of this run."""
    others: list[str]
    """Tasks that wait or run in the same elements, and go with them: Slurm ends whole elements."""
    dependants: list[str]
    """Unrecorded tasks that cannot be computed without `keys`, directly or through others."""
    elements: int
    """Array elements, or local pools."""
    running: int
    """Of `keys` and `others`."""
    waiting: int
    gpu_h: float
    """GPU-hours that the running ones have held their GPUs for; they checkpoint, so not all of it is lost."""
    cpu_h: float

    @property
    def total(self) -> int:
        """Tasks that an action on whole elements hits."""
        return len(self.keys) + len(self.others)


def stakes_of(
    keys: Iterable[str],
    rows: Sequence[Row],
    now_s: float,
    places: Mapping[str, Place],
    plan: Sequence[PlanLine],
    cpus: Callable[[Place], int],
) -> Stakes:
    """Of these tasks in a snapshot; `places` are the elements that the run sent them in, `cpus` the cores of one."""
    wanted = set(keys)
    moving = {row.key: row for row in rows if row.state in MOVING and row.key in places}
    elements: dict[tuple[str, int], list[Row]] = defaultdict(list)
    hit = {_element(places[key]) for key in wanted & moving.keys()}
    for key, row in moving.items():
        if _element(places[key]) in hit:
            elements[_element(places[key])].append(row)
    found = [row for of_element in elements.values() for row in of_element]
    held = [(places[of[0].key], _held_h(of, now_s)) for of in elements.values()]
    own = [row.key for row in found if row.key in wanted]
    unrecorded = {row.key for row in rows if row.state != "recorded"}
    return Stakes(
        keys=own,
        others=[row.key for row in found if row.key not in wanted],
        dependants=[key for key in waiting_for(own, plan) if key in unrecorded],
        elements=len(elements),
        running=sum(row.state == "running" for row in found),
        waiting=sum(row.state == "queued" for row in found),
        gpu_h=round(sum(hours * place.submission.intent.gpus for place, hours in held), 6),
        cpu_h=round(sum(hours * cpus(place) for place, hours in held), 6),
    )


def _element(place: Place) -> tuple[str, int]:
    return place.name, place.index


def _held_h(rows: Sequence[Row], now_s: float) -> float:
    """How long an element has worked on what it works on now; tasks beside each other share it."""
    since = [row.since_s for row in rows if row.state == "running" and row.since_s is not None]
    return max(0.0, now_s - min(since)) / _HOUR_S if since else 0.0


def waiting_for(keys: Collection[str], plan: Sequence[PlanLine]) -> list[str]:
    """What rests on these tasks, directly or through others, without them; inputs stand before what consumes them."""
    found = set(keys)
    rest = []
    for line in plan if found else ():
        if line.key not in found and not found.isdisjoint(line.inputs.values()):
            found.add(line.key)
            rest.append(line.key)
    return rest
