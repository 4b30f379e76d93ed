"""From a manifest to submitted work. Idempotent: what is recorded is skipped, what is live waited for, the rest sent.

One lock per root is held from the survey of the store to the last sbatch.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from condhpc import (
    budget,
    cancelling,
    enforcing,
    estimates,
    facts,
    files,
    handover,
    keys,
    launch,
    manifest,
    needed,
    outside,
    plan,
    predictions,
    reservations,
    retries,
    retrying,
    runs,
    sharding,
    snapshot,
    steward_job,
    store,
    survey,
)
from condhpc import profile as profiles
from condhpc.arrange import Array
from condhpc.budget import Amounts
from condhpc.errors import InputError, SchedulerError
from condhpc.facts import Facts
from condhpc.handover import Handover
from condhpc.index_cache import IndexCache
from condhpc.layout import Layout, RunFolder
from condhpc.outside import Outside
from condhpc.planned import Plan, Planned
from condhpc.predictions import Need
from condhpc.profile import Profile
from condhpc.progress import Progress
from condhpc.retrying import Asked
from condhpc.root_lock import root_lock
from condhpc.runs import PlanLine
from condhpc.scheduler import Slurm
from condhpc.sizing import Sizing
from condhpc.survey import Overview, Survey

Say = Callable[[str], None]
_PROGRESS_S = 3.0


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


_PLAIN = Terms()


@dataclass(frozen=True)
class Prepared:
    """A checked and planned manifest, and what submitting it now would do."""

    source: bytes
    """The manifest file's bytes."""
    plan: Plan
    facts: dict[str, Facts]
    outside: tuple[Outside, ...]
    """What it takes from outside."""
    budget: str
    """As the manifest says it; empty without one."""
    profile: Profile
    overview: Overview
    indexes: IndexCache
    """Listings of folders that are not kept under the root yet."""
    needs: Mapping[str, Need]
    """By key, what new tasks need at the most."""
    arrays: list[Array]
    """What would be sent now; empty on this machine."""

    def sizing(self, layout: Layout) -> Sizing:
        """What single tasks need beside their stage, by the plan and by what was not enough before."""
        tasks = ((item.key, item.task.stage, item.label) for item in self.plan.tasks)
        return Sizing(self.needs, needed.more(layout, tasks))


def prepare(path: Path, profile: Profile) -> Prepared:
    """Read, check and plan a manifest; writes nothing. Raises ProblemsError with all problems."""
    loaded = manifest.load(path)
    taken_in = outside.used(loaded)
    profile = outside.with_downloaded((item.name for item in taken_in if item.form == "file"), profile, os.environ)
    indexes = IndexCache(Layout(profile.root))
    found = facts.gather(loaded, profile, indexes.index)
    layout = Layout(profile.root)
    planned = _spread(plan.expand(loaded, found), layout, profile)
    slurm = _slurm(profile)
    taken = survey.take(planned, layout, slurm, profile.lease_stale_s)
    costs, needs = predictions.forecast(planned, taken.new.keys(), found, profile, layout)
    more = needed.more(layout, ((item.key, item.task.stage, item.label) for item in planned.tasks))
    arrangement, misfits = survey.arranged(taken, profile, slurm, Sizing(needs, more))
    if loaded.precision == "bf16":
        misfits += survey.on_cpus(taken, profile, gpu_here=survey.gpu_here())
    warnings = [*planned.warnings, *outside.problems(taken_in, profile, os.environ), *misfits]
    overview = survey.overview(planned, taken, arrangement, profile, warnings, costs)
    return Prepared(
        source=path.read_bytes(),
        plan=planned,
        facts=found,
        outside=taken_in,
        budget=loaded.budget,
        profile=profile,
        overview=overview,
        indexes=indexes,
        needs=needs,
        arrays=arrangement.arrays,
    )


def send(prepared: Prepared, *, accept_code: bool, say: Say, progress: Say, terms: Terms = _PLAIN) -> RunFolder:
    """Submit what is new. On Slurm it returns at once, on the local back-end when the workers have ended.

    Raises InputError where data is missing here, a plug-in's code changed at an equal version, or a budget is exceeded.
    """
    _require_data(prepared)
    layout = Layout(prepared.profile.root)
    with root_lock(layout):
        prepared.indexes.keep()
        taken = _survey(prepared, layout, accept_code=accept_code)
        run = None if taken.new else _same_run(layout, prepared)
        if run is not None:
            say(f"nothing to submit: {len(taken.cached)} recorded, {len(taken.live)} live; see run {run.name}")
            _bound_later(run, layout, taken, prepared, terms, say)
            return run
        said = terms.budget or prepared.budget
        upper = _claimed(None, layout, prepared, taken, said, say)
        run = _open_run(layout, prepared, taken)
        say(f"run {run.name}")
        if said:
            reservations.join(run, layout, budget.parse(said), said, hard=terms.hard)
        pool = _hand_over(run, layout, taken, prepared, upper, say)
        start_steward(run, layout, prepared.profile, say, wanted=terms.steward)
    return _follow(run, pool, layout, prepared.profile, say, progress)


def _bound_later(run: RunFolder, layout: Layout, taken: Survey, prepared: Prepared, terms: Terms, say: Say) -> None:
    """Where nothing is sent: a budget bounds what is live; on a run that is over it would bound nothing, so say it."""
    if not terms.budget:
        return
    bound = budget.parse(terms.budget)
    if taken.live:
        reservations.join(run, layout, bound, terms.budget, hard=terms.hard)
        enforcing.lift(run, layout, _slurm(prepared.profile), say)
        say(f"run {run.name}: its budget is {budget.shown(bound)} from now on")
    else:
        say(
            f"run {run.name}: nothing of it waits or runs, so --budget {terms.budget} is not set; "
            f"`condhpc budget {run.name} --set {terms.budget}` sets it all the same"
        )


def start_steward(run: RunFolder, layout: Layout, profile: Profile, say: Say, *, wanted: bool) -> None:
    """Let somebody act when the user has logged out; where nobody can, say so: a submission it is all the same."""
    slurm = _slurm(profile)
    if slurm is None or not wanted:
        return
    try:
        why = steward_job.ensure(run, layout, profile, snapshot.take(layout.root), slurm)
    except SchedulerError as error:
        why = str(error)
    if why:
        say(f"no steward: {why}; `condhpc watch {run.name}` or `condhpc steward {run.name}` now and then does the same")


def _claimed(
    run: RunFolder | None, layout: Layout, prepared: Prepared, taken: Survey, said: str, say: Say
) -> dict[str, Amounts] | None:
    """Upper estimates of what is new, where a budget covers it; None where none bounds it."""
    todo = estimates.upper(prepared.plan, taken.new.keys(), prepared.needs, prepared.profile)
    return todo.amounts if enforcing.claim(run, layout, said, todo, _slurm(prepared.profile), say) else None


def resume(
    run: RunFolder,
    layout: Layout,
    current: Profile,
    *,
    accept_code: bool,
    say: Say,
    progress: Say,
    terms: Terms = _PLAIN,
) -> RunFolder:
    """Send what a run still misses (`submit --continue`): kept back by a limit, stopped, lost, or failed as asked for.

    The profile in force counts, so that more memory or time helps, unless it is for another back-end.
    """
    if not terms.budget:  # else it may be raised now
        enforcing.enforce(run, layout, _slurm(profiles.of_run(run.profile)), say)
    step = advance(run, layout, current, accept_code=accept_code, say=say, terms=terms)
    return _follow(run, step.pool, layout, step.profile, say, progress)


class Step(NamedTuple):
    """What going on with a run came to."""

    sent: int
    """Tasks that were sent, or that a limit keeps back for now."""
    pool: launch.Pool | None
    profile: Profile


def advance(
    run: RunFolder, layout: Layout, current: Profile, *, accept_code: bool, say: Say, terms: Terms = _PLAIN
) -> Step:
    """As `resume`, without waiting for local workers."""
    profile = _profile_for(run, layout, current, say)
    prepared = prepare(run.manifest, profile)
    _require_data(prepared)
    if _without_shards(prepared.plan.tasks) != _without_shards(runs.plan(run)):
        raise InputError(
            f"run {run.name}: its manifest now plans other tasks (the data, condhpc or a plug-in's version changed "
            f"since); submit the manifest again, what is unchanged is reused"
        )
    with root_lock(layout):
        prepared.indexes.keep()
        taken = _chosen(run, layout, prepared, _survey(prepared, layout, accept_code=accept_code), terms, say)
        if not taken.new:
            say(f"run {run.name}: nothing to submit, {len(taken.cached)} recorded, {len(taken.live)} live")
            _bound_later(run, layout, taken, prepared, terms, say)
            start_steward(run, layout, prepared.profile, say, wanted=terms.steward and bool(taken.live))
            return Step(0, None, prepared.profile)
        upper = _claimed(run, layout, prepared, taken, terms.budget, say)
        if terms.asked.keys is not None and run.cancel.exists():
            cancelling.keep_cancelled(run, taken.new.keys())
        run.cancel.unlink(missing_ok=True)
        files.replace(run.profile, profiles.encode(prepared.profile))
        if terms.budget:
            reservations.join(run, layout, budget.parse(terms.budget), terms.budget, hard=terms.hard)
        enforcing.lift(run, layout, _slurm(prepared.profile), say)
        pool = _hand_over(run, layout, taken, prepared, upper, say)
        start_steward(run, layout, prepared.profile, say, wanted=terms.steward)
    return Step(len(taken.new), pool, prepared.profile)


def _chosen(run: RunFolder, layout: Layout, prepared: Prepared, found: Survey, terms: Terms, say: Say) -> Survey:
    """Without what failed and is not asked for, and all that waits for it."""
    labels = {item.key: item.label for item in prepared.plan.tasks}
    profile = prepared.profile
    taken, lines = retries.choose(run, layout, _slurm(profile), found, labels, profile, terms.asked)
    for line in lines:
        say(line)
    return taken


def retry(
    run: RunFolder,
    layout: Layout,
    current: Profile,
    *,
    accept_code: bool,
    say: Say,
    progress: Say,
    asked: Asked = retrying.BY_HAND,
) -> RunFolder:
    """As `resume`, but by hand: failures of all classes, however often they were tried."""
    set_aside(run, layout, asked, say)
    terms = Terms(asked=asked)
    return resume(run, layout, current, accept_code=accept_code, say=say, progress=progress, terms=terms)


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


def cancel(run: RunFolder, layout: Layout, *, say: Say) -> int:
    """Cancel what is queued or runs; running tasks checkpoint. Returns the number of submissions that were told."""
    profile = profiles.of_run(run.profile)
    run.cancel.touch()
    with root_lock(layout):
        slurm = _slurm(profile)
        if slurm is not None:
            handover.reconcile(layout, slurm)  # a job whose reply was lost is cancelled, too
            steward_job.stop(run, slurm)
        told = [held for held in runs.submissions(run) if held.reply is not None]
        if slurm is not None:
            slurm.cancel([held.reply.job for held in told if held.reply is not None and held.reply.job])
        for held in told:
            if held.reply is not None and held.intent.backend == "local":
                launch.Pool.of(held.reply).stop()
            runs.append(run, runs.Cancel(name=held.intent.name, time=runs.now()))
    say(f"run {run.name}: {len(told)} submissions cancelled; what is recorded stays")
    return len(told)


def _slurm(profile: Profile) -> Slurm | None:
    return Slurm() if profile.backend == "slurm" else None


def _require_data(prepared: Prepared) -> None:
    facts.require(prepared.facts)
    outside.require(prepared.outside, prepared.profile, os.environ)


def _survey(prepared: Prepared, layout: Layout, *, accept_code: bool) -> Survey:
    """Under the lock: the store and the queue as they are now, lost replies settled first."""
    slurm = _slurm(prepared.profile)
    if slurm is not None:
        handover.reconcile(layout, slurm)
    taken = survey.take(prepared.plan, layout, slurm, prepared.profile.lease_stale_s)
    if not accept_code:
        survey.require_same_code(prepared.plan, taken, layout)
    return taken


def _same_run(layout: Layout, prepared: Prepared) -> RunFolder | None:
    """The newest run of exactly this manifest and plan, if any."""
    planned = _without_shards(prepared.plan.tasks)
    for run in map(layout.run, reversed(layout.run_names())):
        if not run.plan.is_file() or run.manifest.read_bytes() != prepared.source:
            continue
        if _without_shards(runs.plan(run)) == planned:
            return run
    return None


def _spread(planned: Plan, layout: Layout, profile: Profile) -> Plan:
    """With shards, as many as the profile has, of sets that are not recorded."""
    shards = profile.stage("condense").shards
    return sharding.spread(planned, shards, lambda key: store.is_recorded(layout.task("condense", key)))


def _without_shards(tasks: Iterable[Planned | PlanLine]) -> set[str]:
    """Keys: what is planned, however many parts it is made in."""
    return {task.key for task in tasks if task.label.shard is None}


def _open_run(layout: Layout, prepared: Prepared, taken: Survey) -> RunFolder:
    """Make the run's folder; `plan.jsonl` last, so that a half-made run is not taken for one."""
    for held in prepared.facts.values():
        if held.index is not None:
            path = layout.index(held.digest)
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                files.publish(path, keys.encode(held.index))
    run = _new_folder(layout, prepared.plan.name)
    files.publish(run.manifest, prepared.source)
    files.publish(run.profile, profiles.encode(prepared.profile))
    files.publish(run.forecast, msgspec.json.encode(prepared.overview.costs))
    runs.write_plan(
        run,
        (
            PlanLine(
                key=item.key,
                stage=item.task.stage,
                inputs=item.task.inputs | {f"shard.{i}": key for i, key in enumerate(item.task.shards)},
                label=item.label,
                cached=item.key in taken.cached,
            )
            for item in prepared.plan.tasks
        ),
    )
    return run


def _new_folder(layout: Layout, name: str) -> RunFolder:
    while True:
        run = layout.run(f"{name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
        try:
            run.path.mkdir(parents=True)
        except FileExistsError:
            time.sleep(0.2)
        else:
            return run


def _hand_over(
    run: RunFolder, layout: Layout, taken: Survey, prepared: Prepared, upper: dict[str, Amounts] | None, say: Say
) -> launch.Pool | None:
    """Send the new tasks; local workers also get those that others compute, to take over should these die."""
    profile = prepared.profile
    slurm = _slurm(profile)
    code = snapshot.take(layout.root)
    if slurm is None:
        return Handover(run, profile, taken.unrecorded, code, say, upper).to_pool() if taken.unrecorded else None
    arrangement, _ = survey.arranged(taken, profile, slurm, prepared.sizing(layout))
    Handover(run, profile, taken.new, code, say, upper).to_slurm(arrangement.arrays, slurm)
    return None


def _follow(
    run: RunFolder, pool: launch.Pool | None, layout: Layout, profile: Profile, say: Say, show: Say
) -> RunFolder:
    """Stay with local workers to the end, and keep to the budget; Ctrl-C lets their tasks checkpoint first."""
    if pool is None:
        return run
    progress = Progress(run)
    try:
        while not pool.wait(_PROGRESS_S):
            enforcing.enforce(run, layout, None, say)
            if line := progress.line():
                show(line)
    except KeyboardInterrupt:
        say(f"stopping: tasks have {profile.cancel_grace_s:.0f} s to checkpoint")
        pool.end(profile.cancel_grace_s)
        say("stopped; the same submit goes on from here")
        raise
    if line := progress.line():
        show(line)
    return run
