"""What consumes what in a plan: everything that a task rests on, found once."""

from __future__ import annotations

from collections.abc import Iterable

from condhpc.runs import PlanLine


class Lineage:
    """The graph of a plan's tasks; keys that the plan does not have rest on nothing."""

    def __init__(self, plan: Iterable[PlanLine]) -> None:
        self._inputs = {line.key: tuple(line.inputs.values()) for line in plan}
        self._order = {key: i for i, key in enumerate(self._inputs)}
        self._known: dict[str, frozenset[str]] = {}

    def ancestors(self, key: str) -> frozenset[str]:
        """Keys of all that a task consumes, directly or through others; without the task itself."""
        if key not in self._known:
            self._known[key] = self.closure(self._inputs.get(key, ()))
        return self._known[key]

    def closure(self, keys: Iterable[str]) -> frozenset[str]:
        """These keys and all their ancestors."""
        found = set(keys)
        return frozenset(found.union(*(self.ancestors(key) for key in found)))

    def ordered(self, keys: Iterable[str]) -> list[str]:
        """In the order of the plan, inputs first; keys that it does not have come last, sorted."""
        return sorted(keys, key=lambda key: (self._order.get(key, len(self._order)), key))
