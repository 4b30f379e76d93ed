"""What an outlook keeps of a task's record or diaries: a few numbers, so that 100,000 of them fit into little memory."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from condhpc import energy_sums, lease
from condhpc.energy import Energy, Grade
from condhpc.layout import Layout
from condhpc.lease import Attempt
from condhpc.spec import Stage
from condhpc.task_costs import UNKNOWN_TYPE
from condhpc.tries import Try, of_attempt


class Spent(NamedTuple):
    """What one attempt took by its own meters."""

    gpu_type: str
    """Empty on CPUs."""
    gpu_s: float
    cpu_s: float
    joules: float | None
    """None: not measured."""
    grade: Grade
    productive: bool
    """It led to the record."""


class Brief(msgspec.Struct, frozen=True, gc=False):
    """One task."""

    tries: tuple[Try, ...] = ()
    """Of all runs, without costs and energy."""
    spent: tuple[Spent, ...] = ()
    """One for each of `tries`."""
    value: float | None = None
    """Accuracy of an evaluation in percent, value of an analysis."""
    shards_gpu_s: float = 0.0
    """Of a set that was made in parts."""
    shards_cpu_s: float = 0.0
    is_recorded: bool = False


EMPTY = Brief()


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
    key: str
    attempt: int
    values: _Values
    cost: dict[str, float]
    environment: _Environment
    energy: tuple[Energy, ...] = ()
    started: float = 0.0
    ended: float = 0.0
    attempts: tuple[Attempt, ...] = ()


_decoder = msgspec.json.Decoder(_Record)


def of_record(layout: Layout, stage: Stage, key: str) -> Brief:
    """Of a recorded task, with the attempts before; raises OSError or ValueError where that cannot be read."""
    with open(layout.task(stage, key).record, "rb") as file:  # noqa: PTH123 - the hot path
        found = _decoder.decode(file.read())
    environment, values = found.environment, found.values
    last = Try(
        key=key,
        stage=stage,
        number=found.attempt,
        run=sys.intern(environment.run),
        element=sys.intern(environment.job),
        restarts=environment.restarts,
        host=sys.intern(environment.host),
        start_s=found.started,
        end_s=found.ended,
        outcome="recorded",
        reason="",
        productive=True,
        cost=_NO_COST,
        energy=(),
    )
    before = [of_attempt(stage, key, held, recorded=True) for held in found.attempts]
    own = _spent(str(environment.gpu or ""), found.cost, found.energy, productive=True)
    return Brief(
        tries=(*map(_bare, before), last),
        spent=(*map(_of_try, before), own),
        value=_number(values.top1_pct if stage == "evaluate" else values.value),
        shards_gpu_s=_number(values.shards_gpu_s) or 0.0,
        shards_cpu_s=_number(values.shards_cpu_s) or 0.0,
        is_recorded=True,
    )


def of_diaries(layout: Layout, stage: Stage, key: str, *, running: bool) -> Brief:
    """Of a task without a record; the attempt that goes on (`running`) is left out."""
    held = lease.attempts(layout.task(stage, key))
    if running and held and held[-1].end is None:
        held = held[:-1]
    found = [of_attempt(stage, key, one, recorded=False) for one in held]
    return Brief(tries=tuple(map(_bare, found)), spent=tuple(map(_of_try, found)))


def lost_h(brief: Brief) -> tuple[float | None, float | None]:
    """GPU-hours and core-hours that led to nothing; None where nobody counted any."""
    lost = [one for one in brief.spent if not one.productive and (one.gpu_s or one.cpu_s)]
    if not lost:
        return None, None
    return sum(one.gpu_s for one in lost) / 3600, sum(one.cpu_s for one in lost) / 3600


def elements(brief: Brief, run: str) -> Iterator[str]:
    """Elements in which a run tried the task."""
    return (one.element for one in brief.tries if one.element and one.run == run)


_NO_COST: dict[str, float] = {}


def _bare(one: Try) -> Try:
    """Without what is summed elsewhere; equal texts once."""
    return msgspec.structs.replace(
        one,
        run=sys.intern(one.run),
        element=sys.intern(one.element),
        host=sys.intern(one.host),
        reason="",
        cost=_NO_COST,
        energy=(),
    )


def _of_try(one: Try) -> Spent:
    return _spent(one.gpu, one.cost, one.energy, productive=one.productive)


def _spent(gpu_type: str, cost: dict[str, float], energy: Iterable[Energy], *, productive: bool) -> Spent:
    """Negative costs, of other code or by hand, count as none."""
    gpu_s, cpu_s = max(0.0, cost.get("gpu_s", 0.0)), max(0.0, cost.get("cpu_s", 0.0))
    used = energy_sums.of_task(tuple(energy), gpus=gpu_s > 0)
    kind = sys.intern(gpu_type or UNKNOWN_TYPE) if gpu_s > 0 else ""
    return Spent(kind, gpu_s, cpu_s, used.joules, used.grade, productive)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
