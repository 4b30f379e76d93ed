"""What a run's own diaries and records say it took, look after look: of 20,000 tasks those are read that changed.

A record never changes. A task that nobody began has no folder, and then the folder above it is as it was; one that goes
on changes its folder or adds to its newest diary. So a look costs a call for every task that was begun and is not
recorded, and one for every folder above one that was not begun.
"""

from __future__ import annotations

import os
import stat
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from condhpc import budget, energy_sums, estimates, files, lease, ledger, runs, tries
from condhpc.budget import Amounts
from condhpc.energy import Energy
from condhpc.layout import Layout, RunFolder
from condhpc.ledger import Entry
from condhpc.runs import PlanLine
from condhpc.tries import Try

_SETTLED_S = 2.0
"""A folder that changed less than this before it was looked at could change again within a tick of its clock."""


class _Folder(NamedTuple):
    """How a folder looked."""

    changed_ns: int
    seen_s: float
    """When it was seen so first, on our own clock."""
    settled: bool


class _Diary(NamedTuple):
    """The newest of a task, and how long it was."""

    path: str
    bytes: int


class OwnWork:
    """Of one run."""

    def __init__(self, run: RunFolder, layout: Layout, clock: Callable[[], float] = time.monotonic) -> None:
        self._run = run
        self._layout = layout
        self._clock = clock
        self._waiting: dict[str, dict[str, PlanLine]] = defaultdict(dict)
        """By the folder above theirs: tasks that nobody began, by their folder."""
        self._begun: dict[str, PlanLine] = {}
        """Those without a record, by their folder."""
        self._folders: dict[str, _Folder] = {}
        self._diaries: dict[str, _Diary | None] = {}
        """By folder; None without one."""
        self._took: dict[str, Amounts] = {}
        """By key."""
        for line in runs.plan(run):
            path = str(layout.task(line.stage, line.key).path)
            self._waiting[os.path.dirname(path)][path] = line  # noqa: PTH120 - for each of thousands

    def amounts(self) -> Amounts:
        """Hours of local work, which nobody else counts, and energy of all work, by now.

        Of an attempt with costs below 0 nothing is believed: it would give back what others were charged. Raises
        PermissionError where a folder, record or diary is closed to us, now and whenever it is asked again.
        """
        try:
            return self._amounts()
        except PermissionError:
            self._folders.clear()  # nothing is taken to have been looked at
            self._diaries.clear()
            raise

    def _amounts(self) -> Amounts:
        self._find_begun()
        news = {path: line for path, line in self._begun.items() if self._has_changed(path)}
        lines = list(news.values())
        entries = ledger.read(self._layout, ((line.stage, line.key) for line in lines)).entries
        for path, line in news.items():
            self._took[line.key] = _taken(self._run.name, self._tried(line, entries))
            if line.key in entries:
                for held in (self._begun, self._folders, self._diaries):
                    held.pop(path, None)
        return budget.total(self._took.values())

    def _tried(self, line: PlanLine, entries: Mapping[str, Entry]) -> list[Try]:
        """Attempts at one task. Tables leave out what is closed to them; here that would count as 0."""
        if line.key in entries:
            return tries.read(self._layout, [line], entries).tries
        folder = self._layout.task(line.stage, line.key)
        files.raise_if_closed(folder.record)
        try:
            return [tries.of_attempt(line.stage, line.key, held, recorded=False) for held in lease.attempts(folder)]
        except PermissionError:
            raise
        except OSError:  # a stale handle: as if nobody began it, until it changes
            return []

    def _find_begun(self) -> None:
        for above in [above for above, tasks in self._waiting.items() if tasks and self._is_another(above)]:
            tasks = self._waiting[above]
            for path in [path for path in tasks if _is_folder(path)]:
                self._begun[path] = tasks.pop(path)

    def _is_another(self, path: str) -> bool:
        """Whether a folder has changed, or may have."""
        try:
            changed_ns = os.stat(path).st_mtime_ns  # noqa: PTH116
        except FileNotFoundError:
            return False
        known, now_s = self._folders.get(path), self._clock()
        if known is None or known.changed_ns != changed_ns:
            self._folders[path] = _Folder(changed_ns, now_s, settled=False)
            return True
        if not known.settled:
            self._folders[path] = known._replace(settled=now_s - known.seen_s > _SETTLED_S)
            return True
        return False

    def _has_changed(self, path: str) -> bool:
        """Whether there is a record now, another diary, or a longer one."""
        before = self._diaries.get(path)
        if self._is_another(path) or before is None:
            line = self._begun[path]
            folder = self._layout.task(line.stage, line.key)
            number = lease.latest_number(folder)
            newest = str(folder.lease(number)) if number else None
            is_recorded = _is_there(folder.record)
        else:
            newest, is_recorded = before.path, False
        now = None if newest is None else _Diary(newest, _size(newest))
        self._diaries[path] = now
        return is_recorded or now != before


def _is_folder(path: str) -> bool:
    """Unlike `os.path.isdir` it raises where it is not for us to know."""
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError):
        return False


def _is_there(path: Path) -> bool:
    try:
        os.stat(path)  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116
    except FileNotFoundError:
        return 0


def _taken(run: str, tried: Sequence[Try]) -> Amounts:
    found = [one for one in tried if one.run == run and min(one.cost.values(), default=0.0) >= 0.0]
    local = [one.cost for one in found if not one.element]
    return Amounts(
        gpu_h=sum(cost.get("gpu_s", 0.0) for cost in local) / 3600.0,
        cpu_h=sum(cost.get("cpu_s", 0.0) for cost in local) / 3600.0,
        kwh=sum(_kwh(one.energy, one.cost) for one in found),
    )


def _kwh(energy: Sequence[Energy], cost: Mapping[str, float]) -> float:
    """Of one attempt; where nobody measured it, the most that it can have been."""
    gpu_s, cpu_s = cost.get("gpu_s", 0.0), cost.get("cpu_s", 0.0)
    measured = energy_sums.of_task(energy, gpus=gpu_s > 0.0).kwh
    return measured if measured is not None else estimates.kwh(gpu_s / 3600.0, cpu_s / 3600.0)
