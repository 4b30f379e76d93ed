"""Leases: "I am computing this key". Fenced by generations, kept as the diary of an attempt.

`lease.NNNN` is created exclusively with its owner as first line; pulses are appended while the attempt lives,
and its end as last line. A takeover is the exclusive creation of N+1. While a task has no record no generation
is ever removed, so a number is never used twice.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from condhpc.energy import Amount, Energy
from condhpc.files import link_new, temporary
from condhpc.layout import TaskFolder

Outcome = Literal["recorded", "failed", "stopped", "blocked", "superseded"]


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds a lease: enough for another process to prove that it is gone."""

    host: str
    machine: str
    """Machine id, boot id and pid namespace: pids compare only within one of these."""
    boot: str
    pid: int
    pid_start: int
    """Start time of the process in clock ticks since boot: a reused pid has another."""
    job: str = ""
    """Slurm job or array element, `608_3`; empty outside Slurm."""
    restarts: int = 0
    run: str = ""
    started: float = 0.0


class Pulse(msgspec.Struct, frozen=True, kw_only=True):
    """A sign of life with progress and cost so far."""

    beat: int
    time: float
    step: int = 0
    total: int = 0
    values: dict[str, float] = {}
    cost: dict[str, Amount] = {}
    energy: tuple[Energy, ...] = ()
    gpu: str = ""
    """Type as CUDA calls it; empty on a CPU, before the stage looked, and in diaries that did not tell it yet."""


class End(msgspec.Struct, frozen=True, kw_only=True):
    """How an attempt ended, if it could still say so."""

    outcome: Outcome
    time: float
    reason: str = ""
    cost: dict[str, Amount] = {}
    energy: tuple[Energy, ...] = ()
    gpu: str = ""


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One try at a task as its lease file tells it."""

    number: int
    owner: Owner
    pulse: Pulse | None
    end: End | None


class _Line(msgspec.Struct, omit_defaults=True):
    owner: Owner | None = None
    pulse: Pulse | None = None
    end: End | None = None


_decoder = msgspec.json.Decoder(_Line)
_GENERATION = re.compile(r"[^.]+\.(\d{4,})(?:\..*)?")
"""Whatever carries an attempt's number: lease, checkpoint, artefact, record set aside."""


def myself(*, run: str = "") -> Owner:
    """The calling process as an owner."""
    env = os.environ
    array, index = env.get("SLURM_ARRAY_JOB_ID"), env.get("SLURM_ARRAY_TASK_ID")
    job = f"{array}_{index}" if array and index else env.get("SLURM_JOB_ID", "")
    return Owner(
        host=socket.gethostname(),
        machine=_machine(),
        boot=_text("/proc/sys/kernel/random/boot_id"),
        pid=os.getpid(),
        pid_start=process_start(os.getpid()) or 0,
        job=job,
        restarts=int(env.get("SLURM_RESTART_COUNT", "0")),
        run=run,
        started=time.time(),
    )


def process_start(pid: int) -> int | None:
    """Start time of a process in ticks since boot; None where there is no such process (or no /proc)."""
    stat = _text(f"/proc/{pid}/stat")
    if not stat or stat.rpartition(")")[2].split()[0] in {"Z", "X"}:
        return None
    return int(stat.rpartition(")")[2].split()[19])


def _machine() -> str:
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        namespace = ""
    return f"{_text('/etc/machine-id')} {namespace}"


def _text(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return ""


def provably_gone(owner: Owner, me: Owner) -> bool:
    """Whether an owner cannot be alive: our own job's earlier start, or a process of this machine that ended."""
    if owner.job and owner.job == me.job and me.restarts > owner.restarts:
        return True
    if (owner.host, owner.machine) != (me.host, me.machine) or not owner.boot or not owner.pid_start:
        return False
    if owner.boot != me.boot:
        return True
    found = process_start(owner.pid)
    return found != owner.pid_start and not (found is None and _is_hidden(owner.pid))


def _is_hidden(pid: int) -> bool:
    """Whether a process lives that /proc does not show us (another user's, under `hidepid`)."""
    try:
        os.kill(pid, 0)
    except OSError as error:
        return isinstance(error, PermissionError)
    return False


def latest_number(folder: TaskFolder) -> int:
    """Highest generation that left a file in a folder, also a record set aside; 0 where there is none."""
    try:
        names = os.listdir(folder.path)  # noqa: PTH208 - names only, the hot path of acquiring
    except FileNotFoundError:
        return 0
    numbers = (_GENERATION.fullmatch(name) for name in names)
    return max((int(found[1]) for found in numbers if found), default=0)


def read_attempt(folder: TaskFolder, number: int) -> Attempt | None:
    """One attempt from its diary; a torn last line is ignored. None where the file is gone or holds no owner."""
    try:
        data = folder.lease(number).read_bytes()
    except FileNotFoundError:
        return None
    return with_lines(None, number, data)


def with_lines(known: Attempt | None, number: int, data: bytes) -> Attempt | None:
    """What is known of an attempt, with further lines of its diary; None while these hold no owner."""
    owner, pulse, end = (known.owner, known.pulse, known.end) if known is not None else (None, None, None)
    lines = (line for line in map(_decode, data.split(b"\n")) if line is not None)
    for at, line in enumerate(lines):
        owner = line.owner if at == 0 and owner is None else owner
        pulse = line.pulse or pulse
        end = line.end or end
    return None if owner is None else Attempt(number=number, owner=owner, pulse=pulse, end=end)


def attempts(folder: TaskFolder, up_to: int | None = None) -> list[Attempt]:
    """All attempts on disk, oldest first."""
    last = latest_number(folder) if up_to is None else up_to
    found = (read_attempt(folder, n) for n in range(1, last + 1))
    return [a for a in found if a is not None]


def _decode(line: bytes) -> _Line | None:
    try:
        return _decoder.decode(line) if line else None
    except ValueError:  # msgspec's errors, and bytes that are not UTF-8
        return None


class Lease:
    """A held lease. One writer: the process that acquired it."""

    def __init__(self, folder: TaskFolder, number: int, handle: int, owner: Owner) -> None:
        self.folder = folder
        self.number = number
        self.owner = owner
        self.gpu = ""
        """What the diary calls the GPU from now on."""
        self._handle = handle
        self._beat = 0

    def pulse(
        self,
        *,
        step: int,
        total: int,
        values: dict[str, float],
        cost: dict[str, float],
        energy: tuple[Energy, ...] = (),
    ) -> None:
        """Append a sign of life."""
        self._beat += 1
        pulse = Pulse(
            beat=self._beat, time=time.time(), step=step, total=total, values=values, cost=cost, energy=energy,
            gpu=self.gpu,
        )  # fmt: skip
        self._append(_Line(pulse=pulse))

    def end(
        self,
        outcome: Outcome,
        reason: str = "",
        cost: dict[str, float] | None = None,
        energy: tuple[Energy, ...] = (),
    ) -> None:
        """Append the end and close the diary: the next contender may take over at once."""
        end = End(outcome=outcome, time=time.time(), reason=reason, cost=cost or {}, energy=energy, gpu=self.gpu)
        self._append(_Line(end=end))
        os.fsync(self._handle)
        os.close(self._handle)
        self._handle = -1

    def is_overtaken(self) -> bool:
        """Whether a newer generation exists: the one metadata operation of a pulse."""
        return self.folder.lease(self.number + 1).exists()

    def is_current(self) -> bool:
        """False once another attempt took over or finished the task (its lease may be tidied away by then)."""
        return not self.is_overtaken() and not self.folder.record.exists()

    def _append(self, line: _Line) -> None:
        os.write(self._handle, msgspec.json.encode(line) + b"\n")


def held_by_rank_0(folder: TaskFolder, number: int) -> Lease:
    """The lease of an attempt that another process leads, to know folder and number by; it cannot be written to."""
    return Lease(folder, number, -1, myself())


def acquire(
    folder: TaskFolder, me: Owner, gone: Callable[[Attempt], bool], *, number: int | None = None
) -> Lease | None:
    """Take the next generation where the latest attempt has ended or `gone` says so; None where it lives.

    The caller looks for a record afterwards: one may have been published between its look and ours.
    """
    latest = latest_number(folder) if number is None else number
    if latest:
        held = read_attempt(folder, latest)
        if held is not None and held.end is None and not gone(held):
            return None
    return _create(folder, latest + 1, me)


def _create(folder: TaskFolder, number: int, me: Owner) -> Lease | None:
    """Exclusive creation with content: a reader never sees a lease without its owner."""
    path = folder.lease(number)
    temp = temporary(path)
    handle = os.open(temp, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o644)
    won = False
    try:
        os.write(handle, msgspec.json.encode(_Line(owner=me)) + b"\n")
        os.fsync(handle)
        won = link_new(temp, path)
    finally:
        temp.unlink(missing_ok=True)
        if not won:
            os.close(handle)
    return Lease(folder, number, handle, me) if won else None


def end_for_dead(folder: TaskFolder, pid: int, outcome: Outcome, reason: str) -> None:
    """End the newest diary on behalf of its owner, a waited-for child of the caller that died without a word."""
    number = latest_number(folder)
    held = read_attempt(folder, number)
    if held is None or held.end is not None:
        return
    owner = held.owner
    if (owner.host, owner.machine, owner.pid) != (socket.gethostname(), _machine(), pid):
        return
    last = held.pulse or Pulse(beat=0, time=0.0)
    end = End(outcome=outcome, time=time.time(), reason=reason, cost=last.cost, energy=last.energy, gpu=last.gpu)
    with folder.lease(number).open("ab") as file:
        file.write(b"\n" + msgspec.json.encode(_Line(end=end)) + b"\n")  # the line before may be torn
