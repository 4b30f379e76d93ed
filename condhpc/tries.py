"""Every attempt at a run's tasks as diaries and records tell it: when, where, how it ended, what it used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

import msgspec

from condhpc import lease
from condhpc.energy import Energy
from condhpc.layout import Layout
from condhpc.lease import Attempt, Outcome
from condhpc.ledger import Entry
from condhpc.runs import PlanLine
from condhpc.spec import Stage

End = Outcome | Literal["silent"]


class Try(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One attempt at one task."""

    key: str
    stage: Stage
    number: int
    run: str
    element: str
    """`608_3`; empty outside Slurm."""
    restarts: int
    host: str
    start_s: float
    end_s: float | None
    """The end of the diary, else its last pulse; None where it said nothing after its start."""
    outcome: End
    """`silent`: killed before it could say how it ended, or going on."""
    reason: str
    productive: bool
    """It left the record, or a checkpoint from which the task went on to its record."""
    cost: dict[str, float]
    energy: tuple[Energy, ...]
    gpu: str = ""
    """Type as CUDA calls it; empty on a CPU, and where an older diary did not say it."""


class Tries(msgspec.Struct, frozen=True):
    """All of them, and one line per diary or record that could not be read."""

    tries: list[Try]
    problems: list[str]


def read(layout: Layout, plan: Iterable[PlanLine], entries: Mapping[str, Entry]) -> Tries:
    """The attempts at these tasks, in the plan's order. `entries` are the records that the caller has read.

    No record is opened again, and only folders without one are listed.
    """
    found: list[Try] = []
    problems: list[str] = []
    for line in plan:
        entry = entries.get(line.key)
        try:
            found += _of_record(line, entry) if entry is not None else _of_diaries(layout, line)
        except OSError as error:
            problems.append(f"{line.stage} {line.key}: its attempts cannot be read ({error}); they are not counted")
    return Tries(found, problems)


def _of_record(line: PlanLine, entry: Entry) -> list[Try]:
    """The attempt that left the record, after those that the record remembers."""
    said = entry.environment.get
    last = Try(
        key=line.key,
        stage=line.stage,
        number=entry.attempt,
        run=str(said("run", "")),
        element=str(said("job", "")),
        restarts=int(said("restarts", 0)),
        host=str(said("host", "")),
        start_s=entry.started,
        end_s=entry.ended,
        outcome="recorded",
        reason="",
        productive=True,
        cost=entry.cost,
        energy=entry.energy,
        gpu=str(said("gpu", "")),
    )
    if not entry.attempts:
        return [last]
    return [*(of_attempt(line.stage, line.key, held, recorded=True) for held in entry.attempts), last]


def _of_diaries(layout: Layout, line: PlanLine) -> Iterator[Try]:
    for held in lease.attempts(layout.task(line.stage, line.key)):
        yield of_attempt(line.stage, line.key, held, recorded=False)


def of_attempt(stage: Stage, key: str, held: Attempt, *, recorded: bool) -> Try:
    """An attempt without a record of its own; one that stopped at a checkpoint led to the record, if there is one."""
    end, pulse, owner = held.end, held.pulse, held.owner
    last = end or pulse
    outcome: End = end.outcome if end is not None else "silent"
    return Try(
        key=key,
        stage=stage,
        number=held.number,
        run=owner.run,
        element=owner.job,
        restarts=owner.restarts,
        host=owner.host,
        start_s=owner.started,
        end_s=last.time if last is not None else None,
        outcome=outcome,
        reason=end.reason if end is not None else "",
        productive=recorded and outcome == "stopped",
        cost=last.cost if last is not None else {},
        energy=last.energy if last is not None else (),
        gpu=last.gpu if last is not None else "",
    )
