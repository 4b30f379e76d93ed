"""What Slurm charged one attempt of one element: from rows of sacct, or from condhpc's own attempts. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from condhpc import tres
from condhpc.resources import StageResources
from condhpc.runs import Submission
from condhpc.slurm_ids import parse_job_ids
from condhpc.slurm_text import AcctRow, classify
from condhpc.tries import Try

_NODE_W_MAX = 20_000.0
_NODE_W_MIN = 10.0
"""No node uses more, or less, over an attempt: energy beyond these is a counter's fault, not a reading."""


class Charge(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What one Slurm attempt of one element was charged."""

    element: str
    """`608_3`: array parent and index, as `lease.Owner.job`."""
    raw_id: str
    """JobIDRaw."""
    restart: int
    """Which of the element's attempts, from 0; counted when the snapshot is read."""
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
    """`sacct`, `attempts`: diaries and records, where nobody keeps accounts, or `sacct+attempts`: both of one start."""

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


def charged_gpu_h(charges: Iterable[Charge]) -> dict[str, float]:
    """GPU-hours by GPU type; types are never added up."""
    found: dict[str, float] = defaultdict(float)
    for charge in charges:
        if charge.gpus:
            found[charge.gpu_type] += charge.gpu_h
    return dict(sorted(found.items()))


# -- both of one element -------------------------------------------------------------------------------------------


def of_element(found: Iterable[Charge]) -> list[Charge]:
    """What counts of the words on one element: sacct's, and own attempts where it says nothing, or nothing more.

    These are starts after its last one, and the rest of one that it left open. No second counts twice.
    """
    said: list[Charge] = []
    own: list[Charge] = []
    for one in found:
        (said if one.source == "sacct" else own).append(one)
    last = max(said, key=began, default=None)
    if last is None or not own:
        return said or own
    until_s, open_ = told_until_s(last), last.end_s is None
    said.remove(last)
    later = []
    for one in (one for one in own if is_beyond(one, last)):
        if not open_ or _restarts(one) > len(said):
            later.append(_after(one, until_s))
        elif one.is_over:
            last = _closed(last, one)
    return [*said, last, *(one for one in later if one.elapsed_s > 0)]


def began(charge: Charge) -> float:
    """For the order of attempts; one that never started comes after those that did."""
    return charge.start_s if charge.start_s is not None else float("inf")


def told_until_s(last: Charge) -> float:
    """Up to when sacct's word on a start goes."""
    if last.start_s is None:
        return float("inf") if last.end_s is None else last.end_s
    return max(last.end_s or 0, last.start_s + last.elapsed_s + last.suspended_s)


def is_beyond(own: Charge, last: Charge) -> bool:
    """Whether own attempts are of a start after sacct's last one, or of that one where it has no end."""
    if last.end_s is not None:
        return began(own) > told_until_s(last)
    return began(own) + own.elapsed_s >= began(last)


def _restarts(own: Charge) -> int:
    return int(own.raw_id.rpartition(".")[2])


def _after(own: Charge, until_s: float) -> Charge:
    """Own attempts without what sacct has charged."""
    start_s, end_s = began(own), began(own) + own.elapsed_s
    late_s = max(start_s, min(until_s, end_s))
    return msgspec.structs.replace(own, start_s=int(late_s), elapsed_s=round(end_s - late_s))


def _closed(last: Charge, own: Charge) -> Charge:
    """A start that sacct left open, to the end that its own attempts tell."""
    until_s = told_until_s(last)
    end_s = max(until_s, began(own) + own.elapsed_s)
    return msgspec.structs.replace(
        last, state=own.state, end_s=round(end_s), elapsed_s=last.elapsed_s + round(end_s - until_s),
        source="sacct+attempts",
    )  # fmt: skip


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


def of_tries(held: Sequence[Try], sent: Submission, given: StageResources, *, over: bool) -> Charge:
    """What one start of an element cost as far as its tasks tell: from the first one's start to the last one's end.

    One that ended without a word is told apart from one that goes on by `over` only.
    """
    start_s = min(one.start_s for one in held)
    end_s = max(one.end_s or one.start_s for one in held)
    last = max(held, key=lambda one: one.start_s)
    goes_on = last.outcome == "silent" and not over
    return Charge(
        element=last.element,
        raw_id=f"{last.element}.{last.restarts}",
        restart=0,
        submission=sent.intent.name,
        state="RUNNING" if goes_on else _STATE_OF[last.outcome],
        submit_s=int(sent.intent.time),
        eligible_s=None,
        start_s=int(start_s),
        end_s=None if goes_on else round(end_s),
        elapsed_s=max(0, round(end_s - start_s)),
        suspended_s=0,
        cpus=given.cpus * given.ranks,
        mem_mb=None if given.mem_gb is None else round(given.mem_gb * 1024 * given.nodes),
        nodes=given.nodes,
        gpus=sent.intent.gpus,
        gpu_type=given.gpu_type or next((one.gpu for one in held if one.gpu), ""),
        requested=bool(sent.intent.gpus),
        energy_j=None,
        source="attempts",
    )


_STATE_OF = {
    "recorded": "COMPLETED", "superseded": "COMPLETED", "failed": "FAILED", "blocked": "FAILED",
    "stopped": "REQUEUED", "silent": "FAILED",
}  # fmt: skip
"""The nearest of Slurm's words."""
