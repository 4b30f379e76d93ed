"""Going on with a run: what it still misses is sent, with the profile in force."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from condhpc import (
    budget,
    cancelling,
    enforcing,
    files,
    launch,
    reservations,
    retries,
    runs,
    store,
)
from condhpc import profile as profiles
from condhpc.errors import InputError
from condhpc.layout import Layout, RunFolder
from condhpc.preparing import Prepared, prepare, require_data, slurm_of, without_shards
from condhpc.profile import Profile
from condhpc.retrying import Asked
from condhpc.root_lock import root_lock
from condhpc.sending import PLAIN, Terms, bound_later, claimed, hand_over, reserve_live, start_steward, surveyed
from condhpc.survey import Survey

Say = Callable[[str], None]


class Step(NamedTuple):
    """What going on with a run came to."""

    sent: int
    """Tasks that were sent, or that a limit keeps back for now."""
    pool: launch.Pool | None
    profile: Profile


def advance(
    run: RunFolder, layout: Layout, current: Profile, *, accept_code: bool, say: Say, terms: Terms = PLAIN
) -> Step:
    """As `submit.resume`, without waiting for local workers."""
    profile = _profile_for(run, layout, current, say)
    prepared = prepare(run.manifest, profile)
    require_data(prepared)
    if without_shards(prepared.plan.tasks) != without_shards(runs.plan(run)):
        raise InputError(
            f"run {run.name}: its manifest now plans other tasks (the data, condhpc or a plug-in's version changed "
            f"since); submit the manifest again, what is unchanged is reused"
        )
    with root_lock(layout):
        prepared.indexes.keep()
        taken = _chosen(run, layout, prepared, surveyed(prepared, layout, accept_code=accept_code), terms, say)
        if not taken.new:
            say(f"run {run.name}: nothing to submit, {len(taken.cached)} recorded, {len(taken.live)} live")
            bound_later(run, layout, taken, prepared, terms, say)
            start_steward(run, layout, prepared.profile, say, wanted=terms.steward and bool(taken.live))
            return Step(0, None, prepared.profile)
        upper = claimed(run, layout, prepared, taken, terms.budget, say)
        if terms.asked.keys is not None and run.cancel.exists():
            cancelling.keep_cancelled(run, taken.new.keys())
        run.cancel.unlink(missing_ok=True)
        files.replace(run.profile, profiles.encode(prepared.profile))
        if terms.budget:
            reservations.join(run, layout, budget.parse(terms.budget), terms.budget, hard=terms.hard)
            reserve_live(run, layout, taken, prepared, say)
        enforcing.lift(run, layout, slurm_of(prepared.profile), say)
        pool = hand_over(run, layout, taken, prepared, upper, say)
        start_steward(run, layout, prepared.profile, say, wanted=terms.steward)
    return Step(len(taken.new), pool, prepared.profile)


def _chosen(run: RunFolder, layout: Layout, prepared: Prepared, found: Survey, terms: Terms, say: Say) -> Survey:
    """Without what failed and is not asked for, and all that waits for it."""
    labels = {item.key: item.label for item in prepared.plan.tasks}
    profile = prepared.profile
    taken, lines = retries.choose(run, layout, slurm_of(profile), found, labels, profile, terms.asked)
    for line in lines:
        say(line)
    return taken


def set_aside(run: RunFolder, layout: Layout, asked: Asked, say: Say) -> None:
    """Set aside the records, of those asked for, whose artefacts no longer have the bytes they vouch for."""
    for line in runs.plan(run):
        if asked.keys is not None and line.key not in asked.keys:
            continue
        if problem := store.set_aside_if_corrupt(layout.task(line.stage, line.key)):
            say(f"{problem}\n{line.stage} {line.key} is computed again")


def _profile_for(run: RunFolder, layout: Layout, current: Profile, say: Say) -> Profile:
    """The profile in force under the run's root; the run's own where that one is for another back-end."""
    own = profiles.of_run(run.profile)
    if current.backend != own.backend:
        say(
            f"profile '{current.name}' is for the {current.backend} back-end: going on with the run's own, '{own.name}'"
        )
        current = own
    # The run's tasks are planned: another number of shards would be tasks that nobody watches.
    condense = msgspec.structs.replace(current.stages.condense, shards=own.stage("condense").shards)
    stages = msgspec.structs.replace(current.stages, condense=condense)
    return msgspec.structs.replace(current, root=layout.root, stages=stages)
