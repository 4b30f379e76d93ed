"""Keeping to a budget: what it lets in, what is held and stopped when it is used up, what goes on when it is raised."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from condhpc import budget, estimates, files, reservations, runs
from condhpc.budget import Amounts, Budget
from condhpc.errors import InputError, SchedulerError
from condhpc.estimates import Upper
from condhpc.layout import Layout, RunFolder
from condhpc.root_lock import root_lock
from condhpc.run_view import RunView
from condhpc.scheduler import Slurm
from condhpc.slurm_text import QueueRow, StateClass
from condhpc.spending import Known, Standing, cpus_of, is_own, jobs_of, queue_of, standing, standing_in

Say = Callable[[str], None]


def claim(run: RunFolder | None, layout: Layout, said: str, todo: Upper, slurm: Slurm | None, say: Say) -> bool:
    """Whether a budget bounds a submission: of its run, or of the text that is said of it now. Under the root's lock.

    Raises InputError where upper estimates exceed what is neither charged nor reserved.
    """
    given = budget.parse(said) if said else None
    pot = reservations.shared(layout, given.name) if given is not None and given.name else None
    if pot is None and run is not None:
        pot = reservations.pot_of(run, layout)
    if given is not None and pot is not None and pot.said == said:
        given = None  # no news: what was set by hand since stands
    bound = given or (pot.budget if pot is not None else None)
    if bound is not None:
        at = standing(pot, layout, slurm, fresh=True) if pot is not None else None
        for doubt in at.doubts() if at is not None else ():
            say(doubt)
        _admit(bound, budget.total(todo.amounts.values()), at)
        if todo.unknown:
            say(f"what {todo.unknown} tasks may take is not known (no `time_min`, no records): nothing is reserved")
    return bound is not None or pot is not None


def foreseen(layout: Layout, said: str, todo: Upper) -> str:
    """Why `submit` will refuse a plan under the budget that its manifest says, as far as nobody need be asked.

    What is charged and reserved already is left out; empty where it may fit.
    """
    bound = budget.parse(said)
    pot = reservations.shared(layout, bound.name) if bound.name else None
    if pot is not None and pot.said == said:  # set by hand since
        bound = pot.budget or Budget()
    why = budget.refusal(bound, Amounts(), Amounts(), budget.total(todo.amounts.values()))
    return f"`submit` refuses this: the budget of {budget.shown(bound)} does not cover it: {why}" if why else ""


def _admit(bound: Budget, wanted: Amounts, at: Standing | None) -> None:
    charged, reserved = (at.charged, at.reserved) if at is not None else (Amounts(), Amounts())
    if why := budget.refusal(bound, charged, reserved, wanted):
        raise InputError(
            f"the budget of {budget.shown(bound)} does not cover this: {why}. Nothing was sent; plan less, or raise it "
            f"(`submit --budget`, `condhpc budget RUN --set`)"
        )


def enforce(
    run: RunFolder,
    layout: Layout,
    slurm: Slurm | None,
    say: Say,
    *,
    fresh: bool = False,
    known: Known | None = None,
) -> Standing | None:
    """Where a run's budget stands; when it is used up, all its runs begin nothing more and what waits is held.

    A closed run that shares it lets no other go beyond it; while these are within it, StoreError is raised.
    None for a run without a budget, and for another user's, who enforces it. What runs is ended where it is `hard`.
    Who looks often keeps one `known` from look to look.
    """
    if not run.budget.exists() or not is_own(run):
        return None
    pot = reservations.pot_of(run, layout)
    if pot is None:
        return None
    rows = queue_of(pot, layout, slurm)
    at = standing_in(pot, layout, rows, slurm, fresh=fresh, known=known, at_least=True)
    if at.is_used_up and pot.budget is not None:
        told = f"budget used up: {budget.used_text(pot.budget, at.charged)}"
        for one in filter(is_own, map(layout.run, pot.runs)):
            _stop(one, rows, slurm, told, say, hard=pot.hard)
    return at


def _stop(run: RunFolder, rows: Sequence[QueueRow], slurm: Slurm | None, told: str, say: Say, *, hard: bool) -> None:
    if files.publish(run.over_budget, f"{told}\n".encode()):
        say(f"run {run.name}: {told}; nothing more is begun, `condhpc budget {run.name}` shows it and raises it")
    jobs = jobs_of(run)
    own = [row for row in rows if row.ids.parent in jobs]
    if slurm is not None:
        hold(slurm, own, say)
    if hard:
        _end(run, own, slurm)


def hold(slurm: Slurm, rows: Sequence[QueueRow], say: Say) -> None:
    """Hold what waits; where Slurm refuses that, cancel it: the next submit sends it again."""
    waiting = sorted({row.ids.parent for row in rows if _is_free_to_start(row)})
    if not waiting:
        return
    try:
        slurm.hold(waiting)
    except SchedulerError as error:
        say(f"scontrol hold: {error}")
    left = [row for row in slurm.queue(waiting) if _is_free_to_start(row)]
    if left:
        elements = [element for row in left for element in row.ids.elements()]
        say(f"{len(elements)} waiting elements could not be held: cancelled; `submit --continue` sends them again")
        slurm.cancel_pending(elements)


def _is_free_to_start(row: QueueRow) -> bool:
    """Whether it waits and will start by itself; what is held has priority 0, also while it shows another reason."""
    return row.state_class is StateClass.WAITING and row.priority > 0


def _end(run: RunFolder, rows: Sequence[QueueRow], slurm: Slurm | None) -> None:
    """End what runs: tasks checkpoint, as on `condhpc cancel`."""
    from condhpc import launch  # submitit: half a second that looking at a budget need not take

    active = [element for row in rows if row.state_class is StateClass.ACTIVE for element in row.ids.elements()]
    if slurm is not None and active:
        slurm.cancel(active)
    for held in runs.submissions(run):
        if held.reply is not None and held.intent.backend == "local":
            launch.Pool.of(held.reply).stop()


def change(run: RunFolder, layout: Layout, slurm: Slurm | None, text: str | None, say: Say, *, hard: bool) -> None:
    """Give the budget of a run, or of all runs that share it, another bound; None lifts it. What it stopped goes on."""
    with root_lock(layout):
        pot = reservations.pot_of(run, layout)
        bound = budget.parse(text) if text is not None else None
        if bound is not None and pot is None:
            reservations.join(run, layout, bound, "", hard=hard)
        elif pot is not None:
            own = pot.budget.name if pot.budget is not None else ""
            if bound is not None and bound.name not in {"", own}:
                raise InputError(
                    f"run {run.name} is charged to the budget '{own}', not to '{bound.name}'; leave the name out"
                )
            reservations.set_limit(pot, None if bound is None else msgspec.structs.replace(bound, name=own), hard=hard)
        if bound is not None and is_own(run):
            _set_aside(run, say)
        lift(run, layout, slurm, say)


def _set_aside(run: RunFolder, say: Say) -> None:
    """Reserve for what was sent before there was a budget the time limits of its elements: no plan is at hand here."""
    kept = reservations.reserved(run)
    view = RunView(run)
    view.refresh()
    unbounded = 0
    for held in view.unfinished():
        intent = held.intent
        if intent.name in kept:
            continue
        if not intent.time_min:
            unbounded += len(intent.elements)
            continue
        hours = intent.time_min / 60.0
        gpu_h, cpu_h = hours * intent.gpus, hours * cpus_of(held, run)
        whole = Amounts(gpu_h=gpu_h, cpu_h=cpu_h, kwh=estimates.kwh(gpu_h, cpu_h))
        upper = {key: whole.share(len(pack)) for pack in intent.elements for key in pack}
        reservations.reserve(run, intent.name, intent.elements, upper)
    if unbounded:
        say(f"{unbounded} elements were sent without a time limit of their own: nothing is reserved for them")


def lift(run: RunFolder, layout: Layout, slurm: Slurm | None, say: Say) -> Standing | None:
    """Let go on what a budget stopped, where it is not used up any more: markers go, held elements are released."""
    pot = reservations.pot_of(run, layout)
    if pot is None:
        return None
    rows = queue_of(pot, layout, slurm)
    at = standing_in(pot, layout, rows, slurm, fresh=False)
    stopped = [one for one in map(layout.run, pot.runs) if one.over_budget.exists() and is_own(one)]
    if at.is_used_up or not stopped:
        return at
    jobs = {job for one in stopped for job in jobs_of(one)}
    # What runs was held with the rest of its array, and would stay so when it is requeued.
    held = sorted({r.ids.parent for r in rows if r.ids.parent in jobs and r.state_class.in_queue and not r.priority})
    why = runs.over_budget(stopped[0])
    for one in stopped:  # before the release, or what starts at once would still see it
        one.over_budget.unlink(missing_ok=True)
    try:
        if slurm is not None and held:
            slurm.release(held)
    except SchedulerError:
        for one in stopped:
            files.publish(one.over_budget, f"{why}\n".encode())
        raise
    for one in stopped:
        say(f"run {one.name}: goes on; `condhpc submit --continue {one.name}` sends what was stopped")
    return at
