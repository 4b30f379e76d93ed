"""What runs have been charged against their budget, and what is reserved for what goes on."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from condhpc import accounts, budget, files, reservations, runs
from condhpc import profile as profiles
from condhpc.budget import Amounts, Budget
from condhpc.charges import Charge
from condhpc.errors import StoreError
from condhpc.layout import Layout, RunFolder
from condhpc.own_work import OwnWork
from condhpc.queue_view import Queue, pool_is_alive
from condhpc.reservations import Pot, Reserve
from condhpc.run_view import RunView
from condhpc.runs import Submission
from condhpc.scheduler import Slurm
from condhpc.slurm_text import QueueRow, StateClass

_FRESH_S = 120.0
"""The accounting is asked at most so often: squeue knows of what ended since (MinJobAge, by default 300 s)."""
_SAME_START_S = 5.0
_NEVER = float("inf")


class Standing(msgspec.Struct, frozen=True):
    """Where a budget stands."""

    pot: Pot
    charged: Amounts
    reserved: Amounts
    """For what waits or runs, at most, beyond what that was charged so far."""
    by_run: dict[str, Amounts]
    """What each of its runs was charged."""
    vanished: tuple[str, ...] = ()
    """Runs without a folder: nobody knows what they were charged, and nothing of it counts."""

    @property
    def is_used_up(self) -> bool:
        """Whether the charge has reached the budget in any unit."""
        return self.pot.budget is not None and bool(budget.reached(self.pot.budget, self.charged))

    def doubts(self) -> list[str]:
        """A line for each run that its figures are without."""
        return [
            f"run {name}: its folder is gone; what it was charged is not known and is left out"
            for name in self.vanished
        ]


class _Span(NamedTuple):
    """One allocation of an element."""

    element: str
    gpus: int
    cpus: int
    elapsed_s: int

    @property
    def amounts(self) -> Amounts:
        return Amounts(gpu_h=self.gpus * self.elapsed_s / 3600.0, cpu_h=self.cpus * self.elapsed_s / 3600.0)


class _Member(NamedTuple):
    """One run of a budget as it is now."""

    view: RunView
    spans: list[_Span]
    own: Amounts
    """Charged by its own diaries: local work, and all energy."""
    over: frozenset[str] | None
    """Where squeue does not show the run: elements of which its accounting said the last word. None: squeue tells."""

    @property
    def charged(self) -> Amounts:
        return budget.total([*(span.amounts for span in self.spans), self.own])


class Known:
    """What was read of runs, for whoever asks again and again where their budget stands: the next look reads on."""

    def __init__(self) -> None:
        self._views: dict[str, RunView] = {}
        self._works: dict[str, OwnWork] = {}

    def view(self, run: RunFolder) -> RunView:
        """A run's submissions and hints by now."""
        found = self._views.setdefault(run.name, RunView(run))
        found.refresh()
        return found

    def own(self, run: RunFolder, layout: Layout) -> Amounts:
        """What its own diaries and records say it took by now."""
        if run.name not in self._works:
            self._works[run.name] = OwnWork(run, layout)
        return self._works[run.name].amounts()


def look(run: RunFolder, layout: Layout, slurm: Slurm | None, *, fresh: bool = False) -> Standing | None:
    """Where the budget of a run stands, by one squeue call for all its runs; None where it has none.

    `fresh` asks the accounting, too, whenever it was asked last. Raises SchedulerError where squeue fails.
    """
    pot = reservations.pot_of(run, layout)
    return None if pot is None else standing(pot, layout, slurm, fresh=fresh)


def standing(pot: Pot, layout: Layout, slurm: Slurm | None, *, fresh: bool = False) -> Standing:
    """As `look`, of a budget."""
    return standing_in(pot, layout, queue_of(pot, layout, slurm), slurm, fresh=fresh)


def standing_in(
    pot: Pot,
    layout: Layout,
    queue: Sequence[QueueRow],
    slurm: Slurm | None,
    *,
    fresh: bool,
    known: Known | None = None,
    at_least: bool = False,
) -> Standing:
    """As `standing`, by rows of squeue that are at hand; `known` is what the caller's last look left.

    Raises StoreError where a run that shares the budget is closed to us; with `at_least` not where the others have used
    it up by themselves, whose figures then are the answer.
    """
    known, shown = known or Known(), Queue(queue)
    members: list[_Member] = []
    reserved: list[Amounts] = []
    closed: PermissionError | None = None
    for run in map(layout.run, pot.runs):
        try:
            member = _member(run, layout, queue, pot.budget, slurm, known, fresh=fresh)
            reserved += _outstanding(member, shown)
            members.append(member)
        except PermissionError as error:
            closed = closed or error
    found = _summed(pot, layout, members, reserved)
    if closed is not None and not (at_least and found.is_used_up):
        raise StoreError(
            f"{closed.filename}: {closed.strerror}, and what a budget was charged must be read whole; ask the owner "
            "for the right to read the run, or use a budget of your own"
        ) from closed
    return found


def _summed(pot: Pot, layout: Layout, members: Sequence[_Member], reserved: Iterable[Amounts]) -> Standing:
    return Standing(
        pot=pot,
        charged=budget.total(member.charged for member in members),
        reserved=budget.total(reserved),
        by_run={member.view.run.name: member.charged for member in members},
        vanished=tuple(name for name in pot.runs if not layout.run(name).path.exists()),
    )


def queue_of(pot: Pot, layout: Layout, slurm: Slurm | None) -> list[QueueRow]:
    """What squeue shows of our own runs of a budget, by one call; nothing without Slurm."""
    if slurm is None:
        return []
    jobs = sorted(job for run in filter(is_own, map(layout.run, pot.runs)) for job in jobs_of(run))
    return slurm.queue(jobs) if jobs else []


def jobs_of(run: RunFolder) -> set[str]:
    """Slurm's job ids of a run's submissions."""
    return {held.reply.job for held in runs.submissions(run) if held.reply is not None and held.reply.job}


# -- what was charged ----------------------------------------------------------------------------------------------


def _member(
    run: RunFolder,
    layout: Layout,
    queue: Sequence[QueueRow],
    bound: Budget | None,
    slurm: Slurm | None,
    known: Known,
    *,
    fresh: bool,
) -> _Member:
    view = known.view(run)
    is_shown = slurm is not None and is_own(run)
    if slurm is not None and is_shown and (fresh or _age_s(run) > _FRESH_S):
        accounts.refresh(run, layout, slurm)
        run.accounting_asked.touch()
    by_job = {held.reply.job: held for held in view.submissions if held.reply is not None and held.reply.job}
    files.raise_if_closed(run.accounting)  # `accounts.read` would only say that nothing counts as charged
    kept = accounts.read(run)
    spans = _spans(kept.charges, [row for row in queue if row.ids.parent in by_job], by_job, run)
    wants_kwh = bound is not None and bound.kwh is not None
    is_local = any(held.intent.backend == "local" for held in view.submissions)
    own = known.own(run, layout) if wants_kwh or is_local else Amounts()
    return _Member(view, spans, own, None if is_shown else kept.over)


def is_own(run: RunFolder) -> bool:
    """Whether it is this user's: another's accounting and queue are not ours to ask for, nor its work to stop."""
    try:
        return run.path.stat().st_uid == os.getuid()
    except FileNotFoundError:  # somebody deleted it: that ends nothing for those that share its budget
        return False


def _age_s(run: RunFolder) -> float:
    """Since the accounting was asked for a budget last."""
    try:
        return time.time() - run.accounting_asked.stat().st_mtime
    except FileNotFoundError:
        return float("inf")


def _spans(
    charged: Sequence[Charge], rows: Sequence[QueueRow], by_job: Mapping[str, Submission], run: RunFolder
) -> list[_Span]:
    """One per start of an element. What squeue shows goes on, or has just ended: the longer elapsed time is newer."""
    found: dict[tuple[str, int], _Span] = {}
    for row in (row for row in rows if row.start_s is not None and row.elapsed_s and not _waits(row)):
        held, (element,) = by_job[row.ids.parent], row.ids.elements()[:1]
        cpus = cpus_of(held, run)
        found[row.job_id, row.start_s or 0] = _Span(element, held.intent.gpus, cpus, row.elapsed_s or 0)
    began = {span.element: start for (_, start), span in found.items()}
    for charge in charged:
        if charge.source == "attempts" and (charge.start_s or 0) >= began.get(charge.element, _NEVER) - _SAME_START_S:
            continue  # squeue knows this very start, with its waiting and imports
        key = (charge.raw_id, charge.start_s or 0)
        shown_s = found[key].elapsed_s if key in found else 0
        found[key] = _Span(charge.element, charge.gpus, charge.cpus, max(charge.elapsed_s, shown_s))
    return list(found.values())


def _waits(row: QueueRow) -> bool:
    return row.state_class in {StateClass.WAITING, StateClass.HELD, StateClass.BLOCKED}


def cpus_of(held: Submission, run: RunFolder) -> int:
    """Cores of a running element, as the run's profile asks for them; the accounting says later how many it got."""
    wanted = profiles.of_run(run.profile).stage(held.intent.stage or "evaluate")
    return wanted.cpus * wanted.ranks


# -- what is reserved ----------------------------------------------------------------------------------------------


def _outstanding(member: _Member, queue: Queue) -> Iterator[Amounts]:
    """What each element that may yet compute can still take: released task by task as these are recorded."""
    charged: dict[str, list[Amounts]] = defaultdict(list)
    for span in member.spans:
        charged[span.element].append(span.amounts)
    kept = reservations.reserved(member.view.run)
    for held in member.view.submissions:  # refused ones are not among them
        reserve = kept.get(held.intent.name)
        if reserve is None:
            continue
        for index, pack in enumerate(held.intent.elements):
            if _may_compute(held, index, queue, member.over):
                element = f"{held.reply.job}_{index}" if held.reply is not None else ""
                yield _left(member.view, held, reserve, index, pack, budget.total(charged[element]))


def _may_compute(held: Submission, index: int, queue: Queue, over: frozenset[str] | None) -> bool:
    """`over`: of a run that squeue does not show, the elements that are; of the others nobody knows that they are."""
    if held.reply is None:
        return True  # nobody knows: it counts until it is reconciled
    if held.intent.backend == "local":
        return pool_is_alive(held.reply) is not False
    element = f"{held.reply.job}_{index}"
    return queue.standing(element) is not None if over is None else element not in over


def _left(
    view: RunView, held: Submission, reserve: Reserve, index: int, pack: Sequence[str], charged: Amounts
) -> Amounts:
    """The smaller of two bounds: its tasks that are not over, and all its tasks less what it was charged."""
    said = (view.hints.of(held.intent.name, key) for key in pack)
    over = [hint is not None and hint.result != "stopped" for hint in said]
    todo = budget.total(reserve.of(index, task) for task, done in enumerate(over) if not done)
    whole = budget.total(reserve.of(index, task) for task in range(len(pack)))
    return todo.at_most(msgspec.structs.replace(whole.less(charged), kwh=whole.kwh))
