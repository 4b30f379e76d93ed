"""What an outlook keeps of a task's record or diaries: few numbers, so that 100,000 of them fit into little memory."""

from __future__ import annotations

import os
from array import array
from pathlib import Path
from struct import Struct
from sys import intern
from typing import Any

import msgspec

from condhpc import energy_sums, lease
from condhpc.energy import MOST, Amount, Energy, Grade
from condhpc.energy_sums import Used
from condhpc.layout import Layout
from condhpc.lease import Attempt
from condhpc.spec import Stage
from condhpc.store import SCHEMA
from condhpc.task_costs import UNKNOWN_TYPE
from condhpc.tries import End, Try, of_attempt

_MOST_BYTES = 1 << 16
_NUMBER = (int, float)
_FINITE = 1e100
"""As `measures.Finite`."""


class Tried(msgspec.Struct, frozen=True, gc=False):
    """One attempt, and what it took by its own meters."""

    run: str
    element: str
    """`608_3`; empty outside Slurm."""
    restarts: int
    start_s: float
    end_s: float | None
    outcome: End
    productive: bool
    """It led to the record."""
    gpu_type: str
    """Empty on CPUs."""
    gpu_s: float
    cpu_s: float
    joules: float | None
    """None: not measured."""
    grade: Grade


class Brief(msgspec.Struct, frozen=True, gc=False):
    """One task."""

    tried: tuple[Tried, ...] = ()
    """Of all runs."""
    value: float | None = None
    """Accuracy of an evaluation in percent, value of an analysis."""
    shards_gpu_s: float = 0.0
    """Of a set that was made in parts."""
    shards_cpu_s: float = 0.0
    is_recorded: bool = False


EMPTY = Brief()


class Briefs:
    """Briefs by position in the plan, packed: as objects, those of 100,000 tasks take 40 MB, and so 6 to 12."""

    def __init__(self, count: int) -> None:
        self._kinds: list[Brief] = [EMPTY]
        """What many have in common: a brief of one attempt without its numbers and element."""
        self._kind_of: dict[tuple[object, ...], int] = {}
        """To the place in `_kinds`."""
        self._kind = array("I", bytes(array("I").itemsize * count))
        self._numbers = array("d", bytes(array("d").itemsize * _NUMBERS * count))
        self._elements = [""] * count
        self._whole: dict[int, Brief] = {}
        """Those that several attempts were made for, or parts."""

    def __getitem__(self, at: int) -> Brief:
        if (kind := self._kind[at]) == 0:
            return self._whole.get(at, EMPTY)
        like = self._kinds[kind]
        one = like.tried[0]
        start_s, end_s, gpu_s, cpu_s, joules, value = self._numbers[_NUMBERS * at : _NUMBERS * (at + 1)]
        tried = Tried(
            one.run,
            self._elements[at],
            one.restarts,
            start_s,
            None if one.end_s is None else end_s,
            one.outcome,
            one.productive,
            one.gpu_type,
            gpu_s,
            cpu_s,
            None if one.joules is None else joules,
            one.grade,
        )
        return Brief((tried,), None if like.value is None else value, is_recorded=like.is_recorded)

    def __setitem__(self, at: int, brief: Brief) -> None:
        self._kind[at] = 0
        self._whole.pop(at, None)
        if len(brief.tried) != 1 or brief.shards_gpu_s or brief.shards_cpu_s:
            if brief != EMPTY:
                self._whole[at] = brief
            return
        one = brief.tried[0]
        which = (
            one.run, one.restarts, one.end_s is None, one.outcome, one.productive, one.gpu_type, one.joules is None,
            one.grade, brief.value is None, brief.is_recorded,
        )  # fmt: skip
        kind = self._kind_of.get(which)
        if kind is None:
            kind = self._kind_of[which] = len(self._kinds)
            self._kinds.append(_without_numbers(brief))
        told = (one.start_s, one.end_s or 0.0, one.gpu_s, one.cpu_s, one.joules or 0.0, brief.value or 0.0)
        _PACKED.pack_into(self._numbers, _NUMBERS * _DOUBLE * at, *told)
        self._kind[at], self._elements[at] = kind, one.element

    def value(self, at: int) -> float | None:
        """That of one brief, without unpacking the rest."""
        if (kind := self._kind[at]) == 0:
            return self._whole.get(at, EMPTY).value
        return None if self._kinds[kind].value is None else self._numbers[_NUMBERS * (at + 1) - 1]

    def is_empty(self, at: int) -> bool:
        """Whether nothing is known."""
        return self._kind[at] == 0 and at not in self._whole


_NUMBERS = 6
_DOUBLE = array("d").itemsize
_PACKED = Struct(f"{_NUMBERS}d")


def _without_numbers(brief: Brief) -> Brief:
    """With zeros in place of numbers that there are."""
    one = brief.tried[0]
    like = msgspec.structs.replace(
        one,
        element="",
        start_s=0.0,
        end_s=None if one.end_s is None else 0.0,
        gpu_s=0.0,
        cpu_s=0.0,
        joules=None if one.joules is None else 0.0,
    )
    return Brief((like,), None if brief.value is None else 0.0, is_recorded=brief.is_recorded)


class _Values(msgspec.Struct, gc=False):
    top1_pct: Any = None
    value: Any = None
    shards_gpu_s: Any = 0.0
    shards_cpu_s: Any = 0.0


class _Environment(msgspec.Struct, gc=False):
    run: str = ""
    job: str = ""
    restarts: int = 0
    host: str = ""
    gpu: Any = ""


class _Record(msgspec.Struct):
    stage: str
    key: str
    attempt: int
    values: _Values
    cost: dict[str, Amount]
    environment: _Environment
    energy: tuple[Energy, ...] = ()
    started: float = 0.0
    ended: float = 0.0
    attempts: tuple[Attempt, ...] = ()
    schema: int = SCHEMA


_decoder = msgspec.json.Decoder(_Record)


def of_record(layout: Layout, stage: Stage, key: str) -> Brief:
    """Of a recorded task, with the attempts before; raises OSError or ValueError where that cannot be read."""
    found = _decoder.decode(_bytes(layout.record_text(stage, key)))
    if found.schema > SCHEMA:
        raise ValueError(f"schema {found.schema}, known up to {SCHEMA}: a newer condhpc can count it")
    if (found.stage, found.key) != (stage, key):
        raise ValueError(f"it is the record of {found.stage} {found.key}")
    environment, values = found.environment, found.values
    gpu_s, cpu_s, used = _used(found.cost, found.energy)
    last = Tried(  # by position: of 100,000 records, names take a tenth of the time
        intern(environment.run),
        intern(environment.job),
        environment.restarts,
        found.started,
        found.ended,
        "recorded",
        True,  # noqa: FBT003 - it led to the record
        intern(str(environment.gpu or UNKNOWN_TYPE)) if gpu_s else "",
        gpu_s,
        cpu_s,
        used.joules,
        used.grade,
    )
    before = [_tried(of_attempt(stage, key, held, recorded=True)) for held in found.attempts]
    return Brief(
        tried=(*before, last),
        value=_number(values.top1_pct, 0.0, 100.0) if stage == "evaluate" else _number(values.value, -_FINITE, _FINITE),
        shards_gpu_s=_number(values.shards_gpu_s, -MOST, MOST) or 0.0,
        shards_cpu_s=_number(values.shards_cpu_s, -MOST, MOST) or 0.0,
        is_recorded=True,
    )


def _bytes(path: str) -> bytes:
    """A small file in three calls: a hundred thousand of them are read."""
    handle = os.open(path, os.O_RDONLY)
    try:
        data = os.read(handle, _MOST_BYTES)
        if len(data) < _MOST_BYTES:
            return data
    finally:
        os.close(handle)
    return Path(path).read_bytes()


def of_diaries(layout: Layout, stage: Stage, key: str, *, running: bool) -> Brief:
    """Of a task without a record; the attempt that goes on (`running`) is left out."""
    held = lease.attempts(layout.task(stage, key))
    if running and held and held[-1].end is None:
        held = held[:-1]
    return Brief(tried=tuple(_tried(of_attempt(stage, key, one, recorded=False)) for one in held))


def lost_h(brief: Brief) -> tuple[float | None, float | None]:
    """GPU-hours and core-hours that led to nothing; None where nobody counted any."""
    lost = [one for one in brief.tried if not one.productive and (one.gpu_s or one.cpu_s)]
    if not lost:
        return None, None
    return sum(one.gpu_s for one in lost) / 3600, sum(one.cpu_s for one in lost) / 3600


def _tried(one: Try) -> Tried:
    gpu_s, cpu_s, used = _used(one.cost, one.energy)
    return Tried(
        run=intern(one.run),
        element=intern(one.element),
        restarts=one.restarts,
        start_s=one.start_s,
        end_s=one.end_s,
        outcome=one.outcome,
        productive=one.productive,
        gpu_type=UNKNOWN_TYPE if gpu_s else "",  # diaries do not say it
        gpu_s=gpu_s,
        cpu_s=cpu_s,
        joules=used.joules,
        grade=used.grade,
    )


def _used(cost: dict[str, float], energy: tuple[Energy, ...]) -> tuple[float, float, Used]:
    """GPU and CPU seconds, and energy; negative costs, of other code or by hand, count as none."""
    gpu_s, cpu_s = max(0.0, cost.get("gpu_s", 0.0)), max(0.0, cost.get("cpu_s", 0.0))
    return gpu_s, cpu_s, energy_sums.of_task(energy, gpus=gpu_s > 0)


def _number(value: Any, least: float, most: float) -> float | None:
    """A number within bounds, None of what is none; raises ValueError for one that tables leave out, too."""
    if not isinstance(value, _NUMBER):
        return None
    if not least <= value <= most:
        raise ValueError(f"a value is not of {least:g} to {most:g}")
    return float(value)
