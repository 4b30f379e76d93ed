"""What the screen asks of whoever acts on a run: `actions.Actions`, or a recorder in tests."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Protocol

from condhpc.findings import Snapshot
from condhpc.spec import Stage
from condhpc.stakes import Stakes


class Doer(Protocol):
    """Each may take seconds and is called in a thread; raises CondhpcError where something cannot be done."""

    def stakes(self, keys: Iterable[str], shot: Snapshot) -> Stakes:
        """What cancelling concerns."""

    def cancel(self, keys: Collection[str]) -> list[str]:
        """Cancel tasks; what was done, in words, as of all below."""

    def retry(
        self,
        keys: Collection[str],
        *,
        time_min: int | None = None,
        mem_gb: float | None = None,
        accept_code: bool = False,
    ) -> list[str]:
        """Send tasks again."""

    def hold(self, keys: Collection[str] | None = None) -> list[str]:
        """Hold what waits."""

    def release(self, keys: Collection[str] | None = None) -> list[str]:
        """Let it go on."""

    def throttle(self, running: int, stage: Stage | None = None) -> list[str]:
        """At most so many elements of each array at a time."""

    def by_hand(self, key: str) -> str:
        """The shell line that runs a task by hand."""
