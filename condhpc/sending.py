"""What a submit and a run that goes on have in common, under the lock: survey, budget, handing over, steward."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from condhpc import (
    budget,
    enforcing,
    estimates,
    handover,
    launch,
    predictions,
    reservations,
    retrying,
    runs,
    snapshot,
    steward_job,
    survey,
)
from condhpc.budget import Amounts
from condhpc.errors import SchedulerError
from condhpc.handover import Handover
from condhpc.layout import Layout, RunFolder
from condhpc.preparing import Prepared, slurm_of
from condhpc.profile import Profile
from condhpc.retrying import Asked
from condhpc.survey import Survey

Say = Callable[[str], None]


@dataclass(frozen=True)
class Terms:
    """What a submit says beside its manifest."""

    budget: str = ""
    """In place of the manifest's; `budget.parse` reads it."""
    hard: bool = False
    """When the budget is used up, running work is ended, too."""
    steward: bool = True
    asked: Asked = retrying.AUTOMATIC
    """Which failures are tried again, and with what."""


PLAIN = Terms()


def surveyed(prepared: Prepared, layout: Layout, *, accept_code: bool) -> Survey:
    """Under the lock: the store and the queue as they are now, lost replies settled first."""
    slurm = slurm_of(prepared.profile)
    if slurm is not None:
        handover.reconcile(layout, slurm)
    taken = survey.take(prepared.plan, layout, slurm, prepared.profile.lease_stale_s)
    if not accept_code:
        survey.require_same_code(prepared.plan, taken, layout)
    return taken


def claimed(
    run: RunFolder | None, layout: Layout, prepared: Prepared, taken: Survey, said: str, say: Say
) -> dict[str, Amounts] | None:
    """Upper estimates of what is new, where a budget covers it; None where none bounds it."""
    todo = estimates.upper(prepared.plan, taken.new.keys(), prepared.needs, prepared.profile)
    return todo.amounts if enforcing.claim(run, layout, said, todo, slurm_of(prepared.profile), say) else None


def bound_later(run: RunFolder, layout: Layout, taken: Survey, prepared: Prepared, terms: Terms, say: Say) -> None:
    """Where nothing is sent: a budget bounds what is live; on a run that is over it would bound nothing, so say it."""
    if not terms.budget:
        return
    bound = budget.parse(terms.budget)
    if taken.live:
        reservations.join(run, layout, bound, terms.budget, hard=terms.hard)
        reserve_live(run, layout, taken, prepared, say)
        enforcing.lift(run, layout, slurm_of(prepared.profile), say)
        say(f"run {run.name}: its budget is {budget.shown(bound)} from now on")
    else:
        say(
            f"run {run.name}: nothing of it waits or runs, so --budget {terms.budget} is not set; "
            f"`condhpc budget {run.name} --set {terms.budget}` sets it all the same"
        )


def reserve_live(run: RunFolder, layout: Layout, taken: Survey, prepared: Prepared, say: Say) -> None:
    """Set aside, under a budget that is said only now, what the run's own work in flight may take.

    Else who submits next under that budget would take it for free.
    """
    kept = reservations.reserved(run)
    sent = [held.intent for held in runs.submissions(run) if held.refusal is None and held.intent.name not in kept]
    mine = taken.live.keys() & {key for intent in sent for pack in intent.elements for key in pack}
    if not mine:
        return
    _, needs = predictions.forecast(prepared.plan, mine, prepared.facts, prepared.profile, layout)
    todo = estimates.upper(prepared.plan, mine, needs, prepared.profile)
    for intent in sent:
        reservations.reserve(run, intent.name, intent.elements, todo.amounts)
    if todo.unknown:
        say(f"what {todo.unknown} tasks in flight may take is not known: nothing is reserved for them")


def hand_over(
    run: RunFolder, layout: Layout, taken: Survey, prepared: Prepared, upper: dict[str, Amounts] | None, say: Say
) -> launch.Pool | None:
    """Send the new tasks; local workers also get those that others compute, to take over should these die."""
    profile = prepared.profile
    slurm = slurm_of(profile)
    code = snapshot.take(layout.root)
    if slurm is None:
        return Handover(run, profile, taken.unrecorded, code, say, upper).to_pool() if taken.unrecorded else None
    arrangement, _ = survey.arranged(taken, profile, slurm, prepared.sizing(layout))
    Handover(run, profile, taken.new, code, say, upper).to_slurm(arrangement.arrays, slurm)
    return None


def start_steward(run: RunFolder, layout: Layout, profile: Profile, say: Say, *, wanted: bool) -> None:
    """Let somebody act when the user has logged out; where nobody can, say so: a submission it is all the same."""
    slurm = slurm_of(profile)
    if slurm is None or not wanted:
        return
    try:
        why = steward_job.ensure(run, layout, profile, snapshot.take(layout.root), slurm)
    except SchedulerError as error:
        why = str(error)
    if why:
        say(f"no steward: {why}; `condhpc watch {run.name}` or `condhpc steward {run.name}` now and then does the same")
