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

from condhpc import ledger, runs, tres, tries
from condhpc import profile as profiles
from condhpc.files import ends_line
from condhpc.layout import Layout, RunFolder
from condhpc.resources import StageResources
from condhpc.runs import Submission
from condhpc.scheduler import Slurm
from condhpc.slurm_ids import parse_job_ids
from condhpc.slurm_text import STATE_CLASS, AcctRow, StateClass, classify
from condhpc.tries import Try

SCHEMA = 1
_NODE_W_MAX = 20_000.0
_NODE_W_MIN = 10.0
"""No node uses more, or less, over an attempt: energy beyond these is a counter's fault, not a reading."""
_SHOWN = 3


class Charge(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What one Slurm attempt of one element was charged."""

    element: str
    """`608_3`: array parent and index, as `lease.Owner.job`."""
    raw_id: str
    """JobIDRaw."""
    restart: int
    """Which of the element's attempts, from 0."""
    submission: str
    """Name of the submission (`runs.Intent.name`)."""
    state: str
    """Slurm's own word; `REQUEUED` is an attempt that is over."""
    submit_s: int | None
    eligible_s: int | None
    start_s: int | None
    end_s: int | None
    """Epoch seconds."""
    elapsed_s: int
    """Allocated time without suspension."""
    suspended_s: int
    cpus: int
    mem_mb: int | None
    """MiB, over all nodes."""
    nodes: int
    gpus: int
    gpu_type: str
    """Empty where Slurm does not say; `a100+h100` for an allocation of several."""
    shards: int = 0
    requested: bool = False
    """The accounting keeps no GPUs here: they are as many as were asked for."""
    energy_j: float | None
    """ConsumedEnergyRaw of whole nodes, where it can be one; None: not measured."""
    source: str
    """`sacct`, or `attempts`: diaries and records, where nobody keeps accounts."""

    @property
    def gpu_h(self) -> float:
        """GPU-hours charged."""
        return self.gpus * self.elapsed_s / 3600

    @property
    def cpu_h(self) -> float:
        """Core-hours charged."""
        return self.cpus * self.elapsed_s / 3600

    @property
    def is_over(self) -> bool:
        """Whether this attempt can cost no more."""
        return self.end_s is not None and (self.state.startswith("REQUEUE") or not classify(self.state).in_queue)


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


def charged_gpu_h(charges: Iterable[Charge]) -> dict[str, float]:
    """GPU-hours by GPU type; types are never added up."""
    found: dict[str, float] = defaultdict(float)
    for charge in charges:
        if charge.gpus:
            found[charge.gpu_type] += charge.gpu_h
    return dict(sorted(found.items()))


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
    _append(run, _news(found, known))
    if rows is not None:
        return []
    why = slurm.accounting_error if slurm is not None else "Slurm was not asked"
    return [f"no accounting ({why}): charges are of condhpc's own attempts, without waiting and imports"]


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


# -- from sacct ----------------------------------------------------------------------------------------------------


def from_rows(rows: Iterable[AcctRow], sent: Iterable[Submission]) -> list[Charge]:
    """Charges of attempts that started, and of elements that were ended before they could.

    What still waits has cost nothing. An index set of cancelled elements may name some that have rows of their own.
    """
    of_job = {parse_job_ids(held.reply.job).parent: held for held in sent if held.reply is not None}
    own: list[Charge] = []
    from_sets: list[Charge] = []
    for row in rows:
        held = of_job.get(row.ids.parent)
        if held is None or (row.start_s is None and row.state_class.in_queue):
            continue
        elements = row.ids.elements()
        (own if len(elements) == 1 else from_sets).extend(_of_row(row, element, held) for element in elements)
    told = {charge.element for charge in own}
    return own + [charge for charge in from_sets if charge.element not in told]


def _of_row(row: AcctRow, element: str, held: Submission) -> Charge:
    allocated, asked = tres.parse(row.alloc_tres), tres.parse(row.req_tres)
    requested = bool(row.start_s is not None and held.intent.gpus and not allocated.gpus and not allocated.shards)
    return Charge(
        element=element,
        raw_id=row.job_id_raw,
        restart=0,
        submission=held.intent.name,
        state=row.state,
        submit_s=row.submit_s,
        eligible_s=row.eligible_s,
        start_s=row.start_s,
        end_s=row.end_s,
        elapsed_s=row.elapsed_s,
        suspended_s=row.suspended_s,
        cpus=row.cpus,
        mem_mb=allocated.mem_mb if allocated.mem_mb is not None else asked.mem_mb,
        nodes=row.nodes,
        gpus=(asked.gpus or held.intent.gpus) if requested else allocated.gpus,
        gpu_type=asked.gpu_type if requested else allocated.gpu_type,
        shards=allocated.shards,
        requested=requested,
        energy_j=plausible_j(row.energy_joules, row.nodes, row.elapsed_s),
        source="sacct",
    )


def plausible_j(joules: float | None, nodes: int, elapsed_s: int) -> float | None:
    """A reading that whole nodes can have used in that time; None for all others, 0 and NO_VAL included."""
    if joules is None or elapsed_s <= 0:
        return None
    watts = joules / elapsed_s / max(nodes, 1)
    return float(joules) if _NODE_W_MIN <= watts <= _NODE_W_MAX else None


# -- from own attempts ---------------------------------------------------------------------------------------------


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
        found.append(_of_tries(element, restarts, held, by, given))
    return found


def _of_tries(element: str, restarts: int, held: Sequence[Try], sent: Submission, given: StageResources) -> Charge:
    start_s = min(one.start_s for one in held)
    end_s = max(one.end_s or one.start_s for one in held)
    last = max(held, key=lambda one: one.start_s)
    return Charge(
        element=element,
        raw_id=element,
        restart=restarts,
        submission=sent.intent.name,
        state=_STATE_OF[last.outcome],
        submit_s=int(sent.intent.time),
        eligible_s=None,
        start_s=int(start_s),
        end_s=None if last.outcome == "silent" else round(end_s),
        elapsed_s=max(0, round(end_s - start_s)),
        suspended_s=0,
        cpus=given.cpus * given.ranks,
        mem_mb=None if given.mem_gb is None else round(given.mem_gb * 1024 * given.nodes),
        nodes=given.nodes,
        gpus=sent.intent.gpus,
        gpu_type=next((one.gpu for one in held if one.gpu), ""),
        requested=bool(sent.intent.gpus),
        energy_j=None,
        source="attempts",
    )


_STATE_OF = {
    "recorded": "COMPLETED", "superseded": "COMPLETED", "failed": "FAILED", "blocked": "FAILED",
    "stopped": "REQUEUED", "silent": "RUNNING",
}  # fmt: skip
"""The nearest of Slurm's words. A diary without an end may go on, or have been killed: nobody can tell."""


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


def _append(run: RunFolder, found: Sequence[Charge]) -> None:
    """In one write: several may look at a run at the same time, and none waits for another."""
    if not found:
        return
    taken_s = int(time.time())
    data = b"".join(msgspec.json.encode(_Line(taken_s=taken_s, charge=charge)) + b"\n" for charge in found)
    with run.accounting.open("a+b", buffering=0) as file:
        file.write(data if ends_line(file) else b"\n" + data)
        os.fsync(file.fileno())
