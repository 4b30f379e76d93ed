"""What people do to a run's tasks: cancel, try again, hold, release, throttle. Says what it did; asks nobody.

Every function does its Slurm calls at once and may take seconds: call them beside the screen, not on its thread. All
raise CondhpcError with what to do where something cannot be done, and nothing was done then, unless the text says so.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import groupby

from condhpc import handover, runs, submit
from condhpc import profile as profiles
from condhpc.errors import InputError
from condhpc.findings import Snapshot
from condhpc.layout import Layout, RunFolder
from condhpc.profile import Profile
from condhpc.retrying import BY_HAND, Asked
from condhpc.root_lock import root_lock
from condhpc.run_view import Place, RunView
from condhpc.runs import PlanLine
from condhpc.scheduler import Slurm
from condhpc.spec import Stage
from condhpc.stakes import Stakes, stakes_of, waiting_for


class Actions:
    """Actions on one run. `current` is the profile in force, by which work is sent again."""

    def __init__(self, run: RunFolder, layout: Layout, current: Profile) -> None:
        self.run = run
        self._layout = layout
        self._current = current
        self._own = profiles.of_run(run.profile)
        self._slurm = Slurm() if self._own.backend == "slurm" else None
        self._plan: list[PlanLine] = []

    def stakes(self, keys: Iterable[str], shot: Snapshot) -> Stakes:
        """What cancelling these tasks concerns, as of a snapshot: reads the run's folder, asks nobody. For dialogs."""

    def cancel(self, keys: Collection[str]) -> list[str]:
        """Cancel the elements that hold these tasks, and those that can do nothing without them. What was done, in words.

        Running tasks checkpoint. These tasks are sent again only by `retry` and `submit --continue`; others that went
        with them also by the steward.
        """

    def retry(
        self,
        keys: Collection[str],
        *,
        time_min: int | None = None,
        mem_gb: float | None = None,
        accept_code: bool = False,
    ) -> list[str]:
        """Send these tasks again, with what they wait for and what waits for them. What was done, in words.

        Failed ones that met a limit get half as much again, or `time_min` minutes and `mem_gb` gigabytes where given.
        Local work is started and not waited for.
        """

    def hold(self, keys: Collection[str] | None = None) -> list[str]:
        """Hold the waiting elements of these tasks, or of the whole run (None). What was done, in words."""

    def release(self, keys: Collection[str] | None = None) -> list[str]:
        """Let held elements of these tasks, or of the whole run (None), go on. What was done, in words.

        Raises InputError where the run's budget is used up.
        """

    def throttle(self, running: int, stage: Stage | None = None) -> list[str]:
        """Let at most so many elements of each array run at a time; 0: no bound. Of a stage, or of all (None)."""

    def by_hand(self, key: str) -> str:
        """The shell line that runs a task by hand, exactly as its element does; raises InputError before its first try."""
