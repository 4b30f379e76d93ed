"""What Slurm charged a run, kept in the run, because sites purge their accounting.

`accounting.jsonl` is only ever added to: one line per attempt of an element, and another one when its word has changed.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

import msgspec

from condhpc import ledger, runs, tries
from condhpc import profile as profiles
from condhpc.charges import Charge, charged_gpu_h, from_rows, of_tries
from condhpc.files import ends_line
from condhpc.layout import Layout, RunFolder
from condhpc.resources import StageResources
from condhpc.runs import Submission
from condhpc.scheduler import Slurm
from condhpc.slurm_ids import parse_job_ids
from condhpc.slurm_text import STATE_CLASS, StateClass, classify
from condhpc.tries import Try

__all__ = ["Accounts", "Charge", "charged_gpu_h", "charges", "own_charges", "read", "refresh"]

SCHEMA = 1
_SHOWN = 3


class _Line(msgspec.Struct, frozen=True, kw_only=True):
    schema: int = SCHEMA
    taken_s: int
    charge: Charge


class Accounts(msgspec.Struct, frozen=True):
    """The charges of a run by submission, element and restart, and one line per thing that is odd about them."""

    charges: list[Charge]
    problems: list[str]


_decoder = msgspec.json.Decoder(_Line)


def charges(run: RunFolder, layout: Layout) -> list[Charge]:
    """The charges in the run's snapshot; see `read`, which also says what is wrong with them."""
    del layout  # the snapshot is the run's own
    return read(run).charges


def refresh(run: RunFolder, layout: Layout, slurm: Slurm | None) -> list[str]:
    """Add to the snapshot what the accounting says now, by one batched sacct call, or none where all is settled.

    Returns why the accounting was not of use, if so: then charges are those of condhpc's own attempts.
    """
    sent = [held for held in runs.submissions(run) if held.intent.backend == "slurm" and held.reply is not None]
    known = read(run).charges
    open_ = _unsettled(sent, known)
    if not open_:
        return []
    rows = None
    if slurm is not None:
        jobs = [held.reply.job for held in open_ if held.reply is not None]
        rows = slurm.history(jobs, int(min(held.intent.time for held in open_)))
    found = own_charges(run, layout, open_) if rows is None else from_rows(rows, open_)
    notes = _append(run, _news(found, known))
    if rows is not None:
        return notes
    why = slurm.accounting_error if slurm is not None else "Slurm was not asked"
    return [*notes, f"no accounting ({why}): charges are of condhpc's own attempts, without waiting and imports"]


def read(run: RunFolder) -> Accounts:
    """The snapshot on disk: the newest word on each attempt. Own attempts count only where sacct has said nothing."""
    newest: dict[tuple[str, str, int | None], Charge] = {}
    problems: list[str] = []
    for charge in _charges(run, problems):
        newest[charge.element, charge.raw_id, charge.start_s] = charge
    accounted = {charge.element for charge in newest.values() if charge.source == "sacct"}
    kept = [c for c in newest.values() if c.source == "sacct" or c.element not in accounted]
    found = list(_in_order(run, kept))
    return Accounts(found, problems + list(_oddities(run, found)))


def _charges(run: RunFolder, problems: list[str]) -> Iterator[Charge]:
    try:
        data = run.accounting.read_bytes()
    except FileNotFoundError:
        return
    for number, line in enumerate(data.split(b"\n"), 1):
        where = f"{run.accounting}:{number}"
        try:
            held = _decoder.decode(line) if line else None
        except ValueError as error:  # msgspec's errors, and bytes that are not UTF-8
            problems.append(f"{where}: not a charge that this condhpc can read ({error}); the others count")
            continue
        if held is not None and held.schema > SCHEMA:
            problems.append(
                f"{where}: schema {held.schema}, this condhpc reads up to {SCHEMA}; update it to count this"
            )
        elif held is not None:
            yield held.charge


def _in_order(run: RunFolder, found: Iterable[Charge]) -> Iterator[Charge]:
    """By submission, element and start, restarts numbered: what sacct has purged still counts."""
    rank = {held.intent.name: number for number, held in enumerate(runs.submissions(run))}

    def place(charge: Charge) -> tuple[int, str, int]:
        parent, _, index = charge.element.partition("_")
        return rank.get(charge.submission, len(rank)), parent, int(index or 0)

    for _, group in groupby(sorted(found, key=lambda c: (place(c), _began(c))), key=place):
        for restart, charge in enumerate(group):
            yield msgspec.structs.replace(charge, restart=restart)


def _began(charge: Charge) -> float:
    """For the order of attempts; one that never started comes after those that did."""
    return charge.start_s if charge.start_s is not None else float("inf")


def _oddities(run: RunFolder, found: Sequence[Charge]) -> Iterator[str]:
    """One line for each thing that cannot be: ends before starts, states that nobody knows."""
    jumps = [c for c in found if c.start_s is not None and c.end_s is not None and c.end_s < c.start_s]
    if jumps:
        yield (
            f"{run.accounting}: {_named(jumps)} ended before they started: a node's clock was set; "
            "their elapsed time counts as Slurm gave it"
        )
    for state in dict.fromkeys(charge.state for charge in found if _is_unknown(charge.state)):
        yield f"{run.accounting}: state '{state}' is not one that condhpc knows; its time counts as charged"


def _is_unknown(state: str) -> bool:
    return state.split(" ", 1)[0].rstrip("+") not in STATE_CLASS


def _named(found: Sequence[Charge]) -> str:
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ", ".join(charge.element for charge in found[:_SHOWN]) + more


def own_charges(run: RunFolder, layout: Layout, sent: Iterable[Submission]) -> list[Charge]:
    """What diaries and records know of each start of an element: from its first task's start to its last one's end."""
    of_job = {parse_job_ids(held.reply.job).parent: held for held in sent if held.reply is not None}
    plan = runs.plan(run)
    entries = ledger.read(layout, ((line.stage, line.key) for line in plan)).entries
    starts: dict[tuple[str, int], list[Try]] = defaultdict(list)
    for one in tries.read(layout, plan, entries).tries:
        if one.run == run.name and one.element.partition("_")[0] in of_job:
            starts[one.element, one.restarts].append(one)
    profile = profiles.of_run(run.profile) if run.profile.exists() else None
    found = []
    for (element, restarts), held in starts.items():
        by = of_job[element.partition("_")[0]]
        stage = by.intent.stage
        given = profile.stage(stage) if profile is not None and stage is not None else StageResources()
        found.append(of_tries(element, restarts, held, by, given))
    return found


# -- the file ------------------------------------------------------------------------------------------------------


def _unsettled(sent: Iterable[Submission], known: Iterable[Charge]) -> list[Submission]:
    """Submissions of which sacct may yet say something new."""
    last = {charge.element: charge for charge in known if charge.source == "sacct"}
    settled = {
        element
        for element, charge in last.items()
        if charge.is_over and classify(charge.state) not in {StateClass.WAITING, StateClass.HELD}
    }
    return [
        held
        for held in sent
        if held.reply is not None
        and any(f"{held.reply.job}_{i}" not in settled for i in range(len(held.intent.elements)))
    ]


def _news(found: Iterable[Charge], known: Iterable[Charge]) -> list[Charge]:
    told = {(c.element, c.raw_id, c.start_s): msgspec.structs.replace(c, restart=0) for c in known}
    plain = (msgspec.structs.replace(charge, restart=0) for charge in found)
    return [charge for charge in plain if told.get((charge.element, charge.raw_id, charge.start_s)) != charge]


def _append(run: RunFolder, found: Sequence[Charge]) -> list[str]:
    """In one write: several may look at a run at the same time, and none waits for another."""
    if not found:
        return []
    taken_s = int(time.time())
    data = b"".join(msgspec.json.encode(_Line(taken_s=taken_s, charge=charge)) + b"\n" for charge in found)
    try:
        with run.accounting.open("a+b", buffering=0) as file:
            file.write(data if ends_line(file) else b"\n" + data)
            os.fsync(file.fileno())
    except OSError as error:  # another user's run, a full disk
        return [f"{run.accounting}: cannot be added to ({error.strerror}); charges are as of its last lines"]
    return []
