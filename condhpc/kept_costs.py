"""Costs of a run's tasks as columns, so that a set's students are added up again without their records. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from condhpc.energy import Grade, Part
from condhpc.energy_sums import Used
from condhpc.task_costs import Cost

_NONE = -1
"""Kind of a task without a cost."""


class Kind(msgspec.Struct, frozen=True, array_like=True):
    """What costs of many tasks have in common."""

    is_measured: bool
    grade: Grade
    parts: frozenset[Part]
    gpu_types: frozenset[str]


class KeptCosts(msgspec.Struct, frozen=True, array_like=True):
    """The columns as they are kept."""

    gpu_s: bytes
    cpu_s: bytes
    joules: bytes
    of_kind: bytes
    kinds: list[Kind]


class CostColumns:
    """One cost, or none, for each task by its place in the plan."""

    def __init__(self, kept: KeptCosts) -> None:
        self._gpu_s, self._cpu_s, self._joules = map(_floats, (kept.gpu_s, kept.cpu_s, kept.joules))
        self._of_kind = array("i")
        self._of_kind.frombytes(kept.of_kind)
        self._kinds = dict(zip(kept.kinds, range(len(kept.kinds)), strict=True))

    def put(self, place: int, cost: Cost | None) -> None:
        """In place of what was there."""
        if cost is None:
            self._of_kind[place] = _NONE
            return
        used = cost.used
        self._gpu_s[place], self._cpu_s[place], self._joules[place] = cost.gpu_s, cost.cpu_s, used.joules or 0.0
        self._of_kind[place] = _number(cost, self._kinds)

    def costs(self, places: Iterable[int]) -> Iterator[Cost]:
        """Of these tasks, all of which have one."""
        kinds = [(one.is_measured, one.grade, one.parts, one.gpu_types) for one in self._kinds]
        gpu_s, cpu_s, joules, of_kind = self._gpu_s, self._cpu_s, self._joules, self._of_kind
        for i in places:
            is_measured, grade, parts, types = kinds[of_kind[i]]
            yield Cost(gpu_s[i], cpu_s[i], Used(joules[i] if is_measured else None, grade, parts), types)

    def kept(self) -> KeptCosts:
        """To be kept."""
        return _packed(self._gpu_s, self._cpu_s, self._joules, self._of_kind, self._kinds)


def keep(costs: Sequence[Cost | None]) -> KeptCosts:
    """Of all tasks, in the order of the plan."""
    kinds: dict[Kind, int] = {}
    of_kind = array("i", [_NONE if cost is None else _number(cost, kinds) for cost in costs])
    gpu_s = array("d", [0.0 if cost is None else cost.gpu_s for cost in costs])
    cpu_s = array("d", [0.0 if cost is None else cost.cpu_s for cost in costs])
    joules = array("d", [0.0 if cost is None else cost.used.joules or 0.0 for cost in costs])
    return _packed(gpu_s, cpu_s, joules, of_kind, kinds)


def _number(cost: Cost, kinds: dict[Kind, int]) -> int:
    used = cost.used
    return kinds.setdefault(Kind(used.joules is not None, used.grade, used.parts, cost.gpu_types), len(kinds))


def _packed(
    gpu_s: array[float], cpu_s: array[float], joules: array[float], of_kind: array[int], kinds: Iterable[Kind]
) -> KeptCosts:
    return KeptCosts(gpu_s.tobytes(), cpu_s.tobytes(), joules.tobytes(), of_kind.tobytes(), list(kinds))


def _floats(data: bytes) -> array[float]:
    found = array("d")
    found.frombytes(data)
    return found
