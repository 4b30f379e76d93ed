"""What a process and all that it started used: CPU time, memory, bytes. Through psutil.

The kernel adds what a child used to its parent when the parent waits for it. So one instant's sum over the living, of
each one's own use and that of its waited-for children, counts everything once, also children that lived between two
looks. Added to it is what ended without being waited for, as of the last look at it.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Hashable, Iterable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

import psutil

_TICK_S = 0.05
"""CPU times come in ticks of 10 ms, several to a process."""


class Used(NamedTuple):
    """Of one process: its own and its waited-for children's."""

    pid: int = 0
    parent: int = 0
    """Pid of the process among whose children it was found; 0: of none that is ours any more."""
    cpu_s: float = 0.0
    children_cpu_s: float = 0.0
    """The part of `cpu_s` that waited-for children used."""
    read_bytes: int | None = None
    """Through system calls, as Slurm counts; None where unreadable. Mapped files are not in it."""
    written_bytes: int | None = None
    rss_bytes: int = 0


class Look(NamedTuple):
    """Sums over a tree since it was first looked at."""

    cpu_s: float
    read_bytes: int | None
    written_bytes: int | None
    rss_bytes: int
    """Now; shared pages of files and shared memory once, pages that forks have in common more than once."""


class Tree:
    """Sums over the processes of a tree, whatever becomes of them. Not for several threads at a time."""

    def __init__(self) -> None:
        self._known: dict[Hashable, Used] = {}
        self._lost = Used(read_bytes=0, written_bytes=0)
        """Ended without being waited for by one of us."""
        self._start: Look | None = None

    @property
    def pids(self) -> frozenset[int]:
        """Processes that lived at the last look."""
        return frozenset(used.pid for used in self._known.values())

    def note(self, now: Mapping[Hashable, Used]) -> Look:
        """Take one look's processes, the root first; keys tell processes apart of which one had the other's pid."""
        for used in _unclaimed(self._known, now):
            self._lost = self._lost._replace(
                cpu_s=self._lost.cpu_s + used.cpu_s,
                read_bytes=(self._lost.read_bytes or 0) + (used.read_bytes or 0),
                written_bytes=(self._lost.written_bytes or 0) + (used.written_bytes or 0),
            )
        self._known = {key: _kept(used, self._known.get(key)) for key, used in now.items()}
        everyone = [*self._known.values(), self._lost]
        found = Look(
            sum(used.cpu_s for used in everyone),
            _sum(used.read_bytes for used in everyone),
            _sum(used.written_bytes for used in everyone),
            sum(used.rss_bytes for used in self._known.values()),
        )
        self._start = self._start or found
        return _since(self._start, found)


def _unclaimed(before: Mapping[Hashable, Used], now: Mapping[Hashable, Used]) -> list[Used]:
    """Processes that ended, and whose CPU time did not turn up at the nearest ancestor that lives.

    It does where every parent up to there waited for its child; a daemon's goes to init, which is not ours.
    """
    heirs = {used.pid: now[key].children_cpu_s - used.children_cpu_s for key, used in before.items() if key in now}
    parents = {used.pid: used.parent for used in before.values()}
    gone_under: dict[int, list[Used]] = {}
    for key, used in before.items():
        if key not in now:
            gone_under.setdefault(_heir(used.parent, heirs, parents), []).append(used)
    lost: list[Used] = []
    for heir, gone in gone_under.items():
        if heirs.get(heir, 0.0) + _TICK_S * len(gone) < sum(used.cpu_s for used in gone) or not heir:
            lost += gone
    return lost


def _heir(pid: int, heirs: Mapping[int, float], parents: Mapping[int, int]) -> int:
    """The nearest of a process and its ancestors that lives; 0: none of ours."""
    while pid and pid not in heirs:
        pid = parents.get(pid, 0)
    return pid


def _kept(now: Used, before: Used | None) -> Used:
    """What became unreadable (a process that changed its user, a zombie) stays as it was."""
    if before is None:
        return now
    return now._replace(
        read_bytes=before.read_bytes if now.read_bytes is None else now.read_bytes,
        written_bytes=before.written_bytes if now.written_bytes is None else now.written_bytes,
    )


def _sum(values: Iterable[int | None]) -> int | None:
    """None where nothing is known of any; the first is the root's."""
    held = list(values)
    return None if held[0] is None else sum(value or 0 for value in held)


def _since(start: Look, now: Look) -> Look:
    read = None if now.read_bytes is None else max(0, now.read_bytes - (start.read_bytes or 0))
    written = None if now.written_bytes is None else max(0, now.written_bytes - (start.written_bytes or 0))
    return Look(max(0.0, now.cpu_s - start.cpu_s), read, written, now.rss_bytes)


def look(known: Iterable[int] = ()) -> dict[Hashable, Used]:
    """The calling process first, its descendants, then those of `known` that live though their parents do not."""
    found: dict[Hashable, Used] = {}
    seen: set[int] = set()
    for root in (os.getpid(), *known):
        waiting = [(root, 0)]
        while waiting:
            pid, parent = waiting.pop()
            if pid in seen:
                continue
            seen.add(pid)
            with suppress(psutil.Error, OSError):
                process = psutil.Process(pid)
                found[process] = _used(process, parent)
                waiting += [(child, pid) for child in _children(process)]
    return found


def _used(process: psutil.Process, parent: int) -> Used:
    is_me = process.pid == os.getpid()
    with process.oneshot():
        times, memory = process.cpu_times(), process.memory_info()
        own_s, children_s = times.user + times.system, times.children_user + times.children_system
        if is_me:
            own_s, children_s = _exact(resource.RUSAGE_SELF), _exact(resource.RUSAGE_CHILDREN)
        read = written = None
        with suppress(psutil.Error, OSError, AttributeError):  # another user's; AttributeError: a system without them
            counters = process.io_counters()
            read, written = counters.read_chars, counters.write_chars
        shared = 0 if is_me else getattr(memory, "shared", 0)
        rss_bytes = max(0, memory.rss - shared)
        return Used(process.pid, parent, own_s + children_s, children_s, read, written, rss_bytes)


def _exact(who: int) -> float:
    """Microseconds where psutil has ticks."""
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def _children(process: psutil.Process) -> list[int]:
    """Pids of children: from the kernel's own lists, which cost little on a node with thousands of processes."""
    if not _has_lists():
        return [child.pid for child in process.children()]
    found: list[int] = []
    folder = f"/proc/{process.pid}/task"
    for thread in os.listdir(folder):  # noqa: PTH208 - a look at 100 threads in 1 ms
        with suppress(OSError), open(f"{folder}/{thread}/children", "rb", buffering=0) as file:  # noqa: PTH123
            found += map(int, file.read().split())
    return found


@cache
def _has_lists() -> bool:
    return Path(f"/proc/self/task/{os.getpid()}/children").exists()


def peak_rss_bytes() -> int:
    """What the kernel remembers of the calling process, and of its largest waited-for child."""
    return 1024 * max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
