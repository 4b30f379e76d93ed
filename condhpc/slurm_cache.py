"""What Slurm said last and when it was asked, for all watchers of one user together.

Files in the user's cache folder, which login nodes share: `calls.json` says who may ask next, `squeue.jsonl` holds the
newest answer. Both are replaced as a whole. The lock is held for milliseconds, never while Slurm is asked: who asks
writes down that it does, and a process that dies of it costs one interval.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec

from condhpc import files
from condhpc.slurm_text import QueueRow

Program = Literal["squeue", "sacct"]
LONGEST_S = 300.0
"""Back-off ends here."""
SLOW_S = 2.0
"""A call that takes longer than this says that the controller is busy."""
_HOUR_S = 3600.0
_JITTER = 0.1
_LOCK_PATIENCE_S = 1.0
_LOCK_STALE_S = 10.0
_SKEW_S = 60.0
_MOST_DOUBLINGS = 10
_CLUSTER_NAME = re.compile(r"^\s*ClusterName\s*=\s*([\w.-]+)", re.MULTILINE | re.IGNORECASE)
_CONFIGS = ("/etc/slurm/slurm.conf", "/etc/slurm-llnl/slurm.conf", "/run/slurm/conf/slurm.conf")


class Calls(msgspec.Struct):
    """Calls of one program."""

    last_h: list[float] = []
    """When it was called in the last hour."""
    tried_s: float = 0.0
    """When it was called last, epoch seconds."""
    ended_s: float = 0.0
    """When a call ended last."""
    doublings: int = 0
    """How often the interval was doubled: nothing changed, or the answer was slow."""
    jitter: float = 0.0
    error: str = ""
    digest: str = ""
    """Of the states in the newest answer."""

    def every_s(self, least_s: float) -> float:
        """Seconds between two calls now, for somebody who would ask every `least_s`."""
        return min(least_s * 2.0**self.doublings, max(LONGEST_S, least_s)) * (1 + self.jitter)

    def is_due(self, now: float, least_s: float, *, backs_off: bool = True) -> bool:
        """Whether somebody may ask; a call in the future is another machine's clock that is wrong."""
        since_s = now - self.tried_s
        return since_s >= (self.every_s(least_s) if backs_off else least_s) or since_s < -_SKEW_S

    def in_flight(self, now: float, timeout_s: float) -> bool:
        """Whether somebody waits for an answer."""
        return self.tried_s > self.ended_s and now - self.tried_s < timeout_s


class State(msgspec.Struct):
    """What `calls.json` holds."""

    squeue: Calls
    sacct: Calls


class Shared(msgspec.Struct, frozen=True):
    """The newest answer of squeue."""

    asked_s: float
    rows: list[QueueRow]


class _Head(msgspec.Struct):
    asked_s: float


class Cache:
    """The shared files; where they cannot be written, this process keeps to the same limits alone."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._folder: Path | None = folder
        self.clock = clock
        self._state = State(Calls(), Calls())
        """Ours, where there is no folder."""
        self._held: Shared | None = None
        self._look: tuple[int, int, int] | None = None
        """Of the file that `_held` is from: inode, size, modification time."""
        self._stale: tuple[tuple[int, int], float] | None = None
        """A lock in our way and since when."""

    def state(self) -> State:
        """Who asked what and when."""
        if self._folder is None:
            return self._state
        try:
            return msgspec.json.decode((self._folder / "calls.json").read_bytes(), type=State)
        except (OSError, ValueError):  # nobody asked yet, or an older version wrote it
            return State(Calls(), Calls())

    def claim(self, program: Program, least_s: float, *, backs_off: bool = True) -> bool:
        """Whether the caller may ask now; then nobody else may for an interval."""
        with self._changing() as state:
            if state is None:
                return False
            calls: Calls = getattr(state, program)
            now = self.clock()
            if not calls.is_due(now, least_s, backs_off=backs_off):
                return False
            self._begun(calls, now)
        return True

    def note(self, program: Program) -> None:
        """Somebody asks, whether it is due or not."""
        with self._changing() as state:
            if state is not None:
                self._begun(getattr(state, program), self.clock())

    def spoil(self) -> None:
        """The user changed something: what was said before does not do any more. Makes no folder."""
        if self._folder is not None and self._folder.is_dir():
            with self._changing() as state:
                if state is not None:
                    state.squeue.tried_s, state.squeue.doublings = 0.0, 0

    def _begun(self, calls: Calls, now: float) -> None:
        calls.last_h = [then for then in calls.last_h if abs(now - then) < _HOUR_S] + [now]
        calls.tried_s = now
        calls.jitter = random.uniform(0.0, _JITTER)  # users do not ask in step

    def answered(self, asked_s: float, rows: list[QueueRow]) -> None:
        """Keep an answer of squeue for all."""
        self._held = Shared(asked_s, rows)
        if self._folder is not None:
            lines = [msgspec.json.encode(_Head(asked_s)), *map(msgspec.json.encode, rows)]
            try:
                self._look = _replace(self._folder / "squeue.jsonl", b"\n".join(lines) + b"\n")
            except OSError:
                self._folder = None
        digest = _digest(rows)
        with self._changing() as state:
            if state is not None:
                calls = state.squeue
                slow = self.clock() - asked_s > SLOW_S
                calls.doublings = min(calls.doublings + 1, _MOST_DOUBLINGS) if slow or digest == calls.digest else 0
                calls.digest, calls.error, calls.ended_s = digest, "", self.clock()

    def failed(self, error: str) -> None:
        """Squeue gave no answer: the old one stands."""
        with self._changing() as state:
            if state is not None:
                calls = state.squeue
                calls.doublings = min(calls.doublings + 1, _MOST_DOUBLINGS)
                calls.error, calls.ended_s = error, self.clock()

    def newest(self) -> Shared | None:
        """The newest answer of squeue; the same object as long as it is the same."""
        if self._folder is None:
            return self._held
        path = self._folder / "squeue.jsonl"
        try:
            if _look_of(path) != self._look:
                with path.open("rb") as file:
                    head, *lines = file
                    self._look = _identity(os.fstat(file.fileno()))
                asked_s = msgspec.json.decode(head, type=_Head).asked_s
                self._held = Shared(asked_s, [_row_decoder.decode(line) for line in lines])
        except (OSError, ValueError):  # none yet, or of another version
            return self._held
        return self._held

    @contextmanager
    def _changing(self) -> Iterator[State | None]:
        """The state under the lock, kept afterwards; None where somebody else is at it."""
        if self._folder is None:
            yield self._state
            return
        lock = self._folder / "lock"
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            locked = self._lock(lock)
        except OSError:  # full, read-only or no home: better the limits alone than none
            self._folder = None
            yield self._state
            return
        if not locked:
            yield None
            return
        try:
            state = self._state = self.state()
            yield state
            with contextlib.suppress(OSError):
                _replace(self._folder / "calls.json", msgspec.json.encode(state))
        finally:
            with contextlib.suppress(OSError):
                lock.unlink()

    def _lock(self, lock: Path) -> bool:
        """Create the lock's file, which also network file systems do for one process only."""
        deadline = time.monotonic() + _LOCK_PATIENCE_S
        while True:
            try:
                os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            except FileExistsError:
                self._break(lock)
            else:
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)

    def _break(self, lock: Path) -> None:
        """Remove a lock that stands still in our way: its owner died. At worst two ask where one would do."""
        try:
            found = lock.stat()
        except FileNotFoundError:
            return
        look = (found.st_ino, found.st_mtime_ns)
        if self._stale is None or self._stale[0] != look:
            self._stale = look, time.monotonic()
        elif time.monotonic() - self._stale[1] > _LOCK_STALE_S:
            lock.unlink(missing_ok=True)


_row_decoder = msgspec.json.Decoder(QueueRow)


def _identity(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_ino, found.st_size, found.st_mtime_ns


def _look_of(path: Path) -> tuple[int, int, int]:
    return _identity(path.stat())


def _replace(path: Path, data: bytes) -> tuple[int, int, int]:
    """A whole file or the old one. Not synced: what is lost in a crash is asked for again."""
    temp = files.temporary(path)
    try:
        temp.write_bytes(data)
        look = _look_of(temp)
        temp.replace(path)
    finally:
        temp.unlink(missing_ok=True)
    return look


def _digest(rows: Sequence[QueueRow]) -> str:
    """Of what watchers tell apart: who is in the queue, in which state and why."""
    found = hashlib.sha256()
    for row in rows:
        found.update(f"{row.ids.parent} {row.ids.indices} {row.state} {row.reason}\n".encode())
    return found.hexdigest()


def folder(environ: Mapping[str, str]) -> Path:
    """Where this user keeps what Slurm said: under the cache folder, one for each cluster."""
    given = environ.get("XDG_CACHE_HOME", "")
    base = Path(given) if given.startswith("/") else Path(environ.get("HOME") or Path.home()) / ".cache"
    return base / "condhpc" / f"slurm-{_cluster(environ)}"


def _cluster(environ: Mapping[str, str]) -> str:
    """A name for the cluster, from files alone; without one for this node, since homes are shared between clusters."""
    said = [environ.get(name, "") for name in ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_CLUSTERS")]
    name = ""
    for path in (said[0], *_CONFIGS) if not said[1] else ():
        with contextlib.suppress(OSError):
            found = _CLUSTER_NAME.search(Path(path).read_text(errors="replace")) if path else None
            name = name or (found[1] if found is not None else "")
    parts = [*said, name or os.uname().nodename]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
