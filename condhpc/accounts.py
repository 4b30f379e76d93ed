"""What Slurm charged a run, kept in the run, because sites purge their accounting.

`accounting.jsonl` is only ever added to: one line per attempt of an element, and another one when its word has changed.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import groupby

import msgspec

from condhpc import ledger, runs, tries
from condhpc import profile as profiles
from condhpc.charges import Charge, began, charged_gpu_h, from_rows, is_beyond, of_element, of_tries
from condhpc.errors import SchedulerError, first_few
from condhpc.files import ends_line
from condhpc.layout import Layout, RunFolder
from condhpc.resources import StageResources
from condhpc.runs import Submission
from condhpc.scheduler import Slurm
from condhpc.slurm_ids import parse_job_ids
from condhpc.slurm_text import STATE_CLASS, AcctRow, StateClass
from condhpc.tries import Try

__all__ = ["Accounts", "Charge", "charged_gpu_h", "charges", "is_settled", "own_charges", "read", "refresh"]

SCHEMA = 1
_REQUEUED = frozenset(state for state, kind in STATE_CLASS.items() if kind in {StateClass.WAITING, StateClass.HELD})
"""States of an attempt that is over while its element is not."""


class _Line(msgspec.Struct, frozen=True, kw_only=True):
    schema: int = SCHEMA
    taken_s: int
    charge: Charge


class Accounts(msgspec.Struct, frozen=True):
    """The charges of a run by submission, element and restart, and one line per thing that is odd about them."""

    charges: list[Charge]
    problems: list[str]
    over: frozenset[str] = frozenset()
    """Elements of which the accounting has said the last word."""


_decoder = msgspec.json.Decoder(_Line)
_AMOUNTS = ("elapsed_s", "suspended_s", "cpus", "gpus", "shards", "nodes", "mem_mb", "energy_j")
_TIMES = ("submit_s", "eligible_s", "start_s", "end_s")
_MOST, _LATEST_S = 1e15, 1e11
_INDEX_DIGITS = 20
"""More than anything that is charged, and later than any clock."""


def charges(run: RunFolder, layout: Layout) -> list[Charge]:
    """The charges in the run's snapshot; see `read`, which also says what is wrong with them."""
    del layout  # the snapshot is the run's own
    return read(run).charges


def refresh(run: RunFolder, layout: Layout, slurm: Slurm | None, *, over: bool = False) -> list[str]:
    """Add to the snapshot what the accounting says now, by one batched sacct call, or none where all is settled.

    Starts that the accounting does not know, or not to their end, are charged by condhpc's own attempts; with `over`,
    nothing of the run goes on, so that a silent attempt has ended. Returns in words why the accounting was not of use.
    """
    known = _newest(run, [])
    open_ = _unsettled(run, known)
    if not open_ or (slurm is not None and not slurm.may_ask_history()):
        return []
    rows, why = _history(slurm, open_)
    found = [] if rows is None else from_rows(rows, open_)
    last = _last_words([*known, *found])
    now = {element for row in rows or () for element in row.ids.elements()}
    going_on = {element for row in rows or () if row.end_s is None for element in row.ids.elements()}
    told = going_on | (now - last.keys()) | {element for element, charge in last.items() if _is_last(charge)}
    own = own_charges(run, layout, open_, told, over=over) if _elements(open_) - told else []
    own = [one for one in own if one.element not in last or is_beyond(one, last[one.element])]
    notes = _append(run, _news([*found, *own], known))
    if own:
        notes.append(
            f"run {run.name}: {len(own)} starts of elements are not in the accounting, or not to their end ({why}); "
            "condhpc's own attempts are counted for them, without imports and waiting"
        )
    if stale := last.keys() - now - told - {one.element for one in own}:
        notes.append(
            f"run {run.name}: the accounting says no more of {first_few(sorted(stale), 3)} ({why}), "
            "which had not ended; they are charged as of its last word"
        )
    return notes


def is_settled(run: RunFolder, known: Accounts | None = None) -> bool:
    """Whether the accounting has had its last word on all that was sent; true of local work, which it never sees.

    `known`: the snapshot, where it was read already.
    """
    over = (known or read(run)).over
    return all(element in over for element in runs.elements(run))


def over(run: RunFolder) -> set[str]:
    """Elements of which the accounting that the run holds has said the last word."""
    return _over(_newest(run, []))


def _history(slurm: Slurm | None, sent: Sequence[Submission]) -> tuple[list[AcctRow] | None, str]:
    """What the accounting says; without an answer, or where it lacks rows, why."""
    if slurm is None:
        return None, "Slurm was not asked"
    jobs = [held.reply.job for held in sent if held.reply is not None]
    try:
        rows = slurm.history(jobs, int(min(held.intent.time for held in sent)))
    except SchedulerError as error:  # an answer that is none
        return None, str(error)
    return rows, slurm.accounting_error or "it does not know them"


def _elements(sent: Iterable[Submission]) -> set[str]:
    return {f"{held.reply.job}_{i}" for held in sent if held.reply for i in range(len(held.intent.elements))}


def read(run: RunFolder) -> Accounts:
    """The snapshot on disk: the newest word on each attempt. Own attempts count only where sacct says no more."""
    problems: list[str] = []
    words: dict[str, list[Charge]] = defaultdict(list)
    newest = _newest(run, problems)
    for charge in newest:
        words[charge.element].append(charge)
    found = list(_in_order(run, (charge for held in words.values() for charge in of_element(held))))
    return Accounts(found, problems + list(_oddities(run, found)), frozenset(_over(newest)))


def _newest(run: RunFolder, problems: list[str]) -> list[Charge]:
    """The last word on every attempt, unsorted."""
    return list({identity(charge): charge for charge in _charges(run, problems)}.values())


def identity(charge: Charge) -> tuple[str, str, int | None]:
    """What names one attempt of an element: of two lines with the same the later counts.

    Slurm starts an id again when it requeues it; our own attempts carry the restart in theirs.
    """
    return charge.element, charge.raw_id, charge.start_s if charge.source == "sacct" else None


def _charges(run: RunFolder, problems: list[str]) -> Iterator[Charge]:
    path = run.accounting
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        problems.append(f"{path}: cannot be read ({error.strerror}); nothing counts as charged")
        return
    yield from parsed(data, f"{path}:", problems)


def parsed(data: bytes, where: str, problems: list[str], first: int = 1) -> Iterator[Charge]:
    """Charges in lines of a snapshot, `first` the number of their first; `where` stands before numbers in problems."""
    for number, line in enumerate(data.split(b"\n"), first):
        if not line:
            continue
        try:
            held = _decoder.decode(line)
        except (ValueError, RecursionError) as error:  # msgspec's errors, and bytes that are not UTF-8
            problems.append(f"{where}{number}: not a charge that this condhpc can read ({error}); the others count")
            continue
        if held.schema > SCHEMA:
            problems.append(f"{where}{number}: schema {held.schema}, known up to {SCHEMA}; a newer condhpc counts this")
        elif strange := _strange(held.charge):
            problems.append(f"{where}{number}: {strange}, which no charge has; it is left out, the others count")
        else:
            yield held.charge


def _strange(charge: Charge) -> str:
    """What cannot be of a charge and would be added up all the same: hours below 0 would give back what others took."""
    index = charge.element.partition("_")[2]
    if index and not (index.isdecimal() and len(index) <= _INDEX_DIGITS):
        return f"element '{charge.element[:40]}'"
    for names, most in ((_AMOUNTS, _MOST), (_TIMES, _LATEST_S)):
        values = [getattr(charge, name) or 0 for name in names]
        if min(values) < 0 or max(values) > most:
            return next(f"{n} {v}" for n, v in zip(names, values, strict=True) if not 0 <= v <= most)
    return ""


def _in_order(run: RunFolder, found: Iterable[Charge]) -> Iterator[Charge]:
    """By submission, element and start, restarts numbered: what sacct has purged still counts."""
    rank = {name: number for number, name in enumerate(runs.stages(run))}

    def place(charge: Charge) -> tuple[int, str, int]:
        parent, _, index = charge.element.partition("_")
        return rank.get(charge.submission, len(rank)), parent, int(index or 0)

    for _, group in groupby(sorted(found, key=lambda c: (place(c), began(c))), key=place):
        for restart, charge in enumerate(group):
            yield msgspec.structs.replace(charge, restart=restart)


def _oddities(run: RunFolder, found: Sequence[Charge]) -> Iterator[str]:
    """One line for each thing that cannot be: ends before starts, states that nobody knows."""
    jumps = [c for c in found if c.start_s is not None and c.end_s is not None and c.end_s < c.start_s]
    if jumps:
        named = first_few([charge.element for charge in jumps], 3)
        yield (
            f"{run.accounting}: {named} ended before they started: a node's clock was set; "
            "their elapsed time counts as Slurm gave it"
        )
    for state in dict.fromkeys(charge.state for charge in found if _is_unknown(charge.state)):
        yield f"{run.accounting}: state '{state}' is not one that condhpc knows; its time counts as charged"


def _is_unknown(state: str) -> bool:
    return state.split(" ", 1)[0].rstrip("+") not in STATE_CLASS


def own_charges(
    run: RunFolder, layout: Layout, sent: Iterable[Submission], without: Collection[str] = (), *, over: bool = False
) -> list[Charge]:
    """What diaries and records know of each start of an element, `without` some elements."""
    of_job = {parse_job_ids(held.reply.job).parent: held for held in sent if held.reply is not None}
    sent_keys = {key for held in of_job.values() for pack in held.intent.elements for key in pack}
    plan = [line for line in runs.plan(run) if line.key in sent_keys]
    entries = ledger.read(layout, ((line.stage, line.key) for line in plan)).entries
    starts: dict[tuple[str, int], list[Try]] = defaultdict(list)
    for one in tries.read(layout, plan, entries).tries:
        if one.run == run.name and one.element not in without and one.element.partition("_")[0] in of_job:
            starts[one.element, one.restarts].append(one)
    last = dict(sorted(starts))
    profile = profiles.of_run(run.profile) if run.profile.exists() else None
    found = []
    for (element, restarts), held in starts.items():
        by = of_job[element.partition("_")[0]]
        stage = by.intent.stage
        given = profile.stage(stage) if profile is not None and stage is not None else StageResources()
        gone = over or restarts < last[element]
        found.append(of_tries(held, by, given, over=gone))
    return found


# -- the file ------------------------------------------------------------------------------------------------------


def _over(known: Iterable[Charge]) -> set[str]:
    """Elements of which the accounting has said the last word."""
    return {element for element, charge in _last_words(known).items() if _is_last(charge)}


def _unsettled(run: RunFolder, known: Iterable[Charge]) -> list[Submission]:
    """Submissions of which sacct may yet say something new."""
    settled = _over(known)
    return [
        one
        for one in runs.submissions(run)
        if one.intent.backend == "slurm"
        and one.reply is not None
        and any(f"{one.reply.job}_{i}" not in settled for i in range(len(one.intent.elements)))
    ]


def _last_words(known: Iterable[Charge]) -> dict[str, Charge]:
    """What sacct says of the newest start of each element; of two words on one the later."""
    last: dict[str, Charge] = {}
    for charge in (charge for charge in known if charge.source == "sacct"):
        held = last.get(charge.element)
        if held is None or began(charge) >= began(held):
            last[charge.element] = charge
    return last


def _is_last(charge: Charge) -> bool:
    """Whether this was sacct's last word on an element: it is over and does not come again."""
    return charge.is_over and charge.state not in _REQUEUED


def _news(found: Iterable[Charge], known: Iterable[Charge]) -> list[Charge]:
    told = {identity(charge): charge for charge in known}
    return [charge for charge in found if told.get(identity(charge)) != charge]


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
