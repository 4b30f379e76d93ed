"""What a run's diaries and Slurm's words say of tasks without a record: the evidence for `retrying`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from condhpc import accounts, lease, runs
from condhpc.charges import Charge
from condhpc.hints import LEFT, Hints
from condhpc.layout import Layout, RunFolder
from condhpc.lease import Attempt
from condhpc.retrying import Cause, Given, Seen, cause_of, cause_unstarted
from condhpc.run_view import Place
from condhpc.scheduler import Slurm
from condhpc.spec import Stage, Task

_MB_PER_GB = 1024
_BYTES_PER_GB = 1 << 30
_NEAR_LIMIT = 0.2
"""Share of its time that an element which was told to stop for its limit has left at most; at least five minutes."""
_NEAR_LIMIT_S = 300


class Failure(msgspec.Struct, frozen=True):
    """One task that went wrong."""

    cause: Cause
    given: Given
    sent: int
    """How often this run handed it over."""


@dataclass
class Evidence:
    """What a run did with its tasks so far."""

    run: RunFolder
    layout: Layout
    places: dict[str, Place]
    """Key to its newest element."""
    sent: Counter[str]
    charges: Mapping[str, Sequence[Charge]]
    """By element, in the order of its restarts."""
    limits_min: Mapping[str, int]
    """By submission; 0: not asked for."""
    queue: Mapping[str, str]
    """Element to its state in squeue, which remembers for some minutes how it ended and knows it at once."""
    spared: frozenset[str] = frozenset()
    """Tasks that their newest element says it left: it was stopped, or the budget was used up."""


def gather(run: RunFolder, layout: Layout, slurm: Slurm | None) -> Evidence:
    """Read the run; one question to the accounting, which may be silent, and one to the queue."""
    if slurm is not None:
        accounts.refresh(run, layout, slurm)
    charges: dict[str, list[Charge]] = defaultdict(list)
    for charge in accounts.charges(run, layout) if slurm is not None else ():
        charges[charge.element].append(charge)
    places: dict[str, Place] = {}
    sent: Counter[str] = Counter()
    limits_min: dict[str, int] = {}
    for held in runs.submissions(run):
        if held.refusal is not None:
            continue
        limits_min[held.intent.name] = held.intent.time_min
        for index, pack in enumerate(held.intent.elements):
            places.update(dict.fromkeys(pack, Place(held, index)))
            sent.update(pack)
    ended = _ended(slurm, places.values())
    return Evidence(run, layout, places, sent, charges, limits_min, ended, _spared(run, places))


def _spared(run: RunFolder, places: Mapping[str, Place]) -> frozenset[str]:
    hints = Hints(run)
    hints.refresh()
    said = ((key, hints.of(place.name, key)) for key, place in places.items())
    return frozenset(key for key, hint in said if hint is not None and hint.result in LEFT)


def _ended(slurm: Slurm | None, places: Iterable[Place]) -> dict[str, str]:
    """States of elements that are over, as far as squeue still knows them."""
    if slurm is None:
        return {}
    jobs = {held.job for place in places if (held := place.submission.reply) is not None and held.job}
    rows = [row for row in slurm.queue(sorted(jobs)) if not row.state_class.in_queue]
    return {element: row.state for row in rows for element in row.ids.elements()}


def failures(evidence: Evidence, stages: Mapping[str, Stage]) -> dict[str, Failure]:
    """Those of these unrecorded tasks, on which nobody works, that went wrong."""
    found = {}
    for key, stage in stages.items():
        folder = evidence.layout.task(stage, key)
        try:
            attempts = lease.attempts(folder)
        except PermissionError:  # of another user's: why it failed is not for us to know
            continue
        place = evidence.places.get(key)
        if place is None and not attempts:
            continue
        cause = _cause(evidence, place, attempts, spared=key in evidence.spared)
        if cause is not None:
            found[key] = Failure(cause, _given(evidence, place, attempts), evidence.sent[key])
    return found


def _cause(evidence: Evidence, place: Place | None, attempts: Sequence[Attempt], *, spared: bool) -> Cause | None:
    """What the newest element left before it began is new, though Slurm calls an exit status of 75 FAILED."""
    if place is not None and place.is_cancelled:
        return None
    began = place.submission.intent.time if place is not None else 0.0
    if not attempts or attempts[-1].owner.started < began:
        if place is None or place.is_local or spared:
            return None
        state = evidence.queue.get(_element(place)) or _last(evidence.charges.get(_element(place), ()))
        return cause_unstarted(state, len(place.submission.intent.elements[place.index]))
    return cause_of([_seen(evidence, held, newest=held is attempts[-1]) for held in attempts])


def _seen(evidence: Evidence, held: Attempt, *, newest: bool) -> Seen:
    charges = evidence.charges.get(held.owner.job, ())
    known = [charge for charge in charges if charge.restart == held.owner.restarts and charge.source == "sacct"]
    end = held.end
    return Seen(
        outcome=end.outcome if end is not None else None,
        reason=end.reason if end is not None else "",
        step=held.pulse.step if held.pulse is not None else 0,
        state=(evidence.queue.get(held.owner.job) if newest else None) or (known[-1].state if known else ""),
        at_limit=bool(known) and _at_limit(known[-1], evidence.limits_min.get(known[-1].submission, 0)),
    )


def _at_limit(charge: Charge, limit_min: int) -> bool:
    limit_s = 60 * limit_min
    return bool(limit_s) and limit_s - charge.elapsed_s <= max(_NEAR_LIMIT_S, _NEAR_LIMIT * limit_s)


def _given(evidence: Evidence, place: Place | None, attempts: Sequence[Attempt]) -> Given:
    """What was asked for; memory that nobody asked for is what Slurm says it gave, else what the task held at most."""
    if place is None:
        return Given(None, None, 1)
    intent = place.submission.intent
    mem_gb = intent.mem_gb or None
    if mem_gb is None:
        charges = evidence.charges.get(_element(place), ())
        mem_mb = next((charge.mem_mb for charge in reversed(charges) if charge.mem_mb), None)
        mem_gb = mem_mb / _MB_PER_GB / max(1, charges[-1].nodes) if mem_mb is not None else _held_gb(attempts)
    return Given(intent.time_min or None, mem_gb, intent.concurrent)


def _held_gb(attempts: Sequence[Attempt]) -> float | None:
    last = attempts[-1] if attempts else None
    cost = (last.end or last.pulse) if last is not None else None
    peak = cost.cost.get("peak_rss_bytes") if cost is not None else None
    return round(peak / _BYTES_PER_GB, 2) if peak else None


def _element(place: Place) -> str:
    reply = place.submission.reply
    return f"{reply.job}_{place.index}" if reply is not None else ""


def _last(charges: Sequence[Charge]) -> str:
    return charges[-1].state if charges and charges[-1].source == "sacct" else ""


def dependants(tasks: Mapping[str, Task], held: Iterable[str]) -> set[str]:
    """These, and those of the tasks (inputs first) that cannot be computed without them."""
    found = set(held)
    for key, task in tasks.items():
        if not found.isdisjoint(task.waits_for):
            found.add(key)
    return found
