"""From a manifest to submitted work. Idempotent: what is recorded is skipped, what is live waited for, the rest sent.

One lock per root is held from the survey of the store to the last sbatch.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from condhpc import (
    budget,
    enforcing,
    files,
    handover,
    keys,
    launch,
    reservations,
    retrying,
    runs,
    spending,
    steward_job,
)
from condhpc import profile as profiles
from condhpc.advancing import advance, set_aside
from condhpc.layout import Layout, RunFolder
from condhpc.preparing import Prepared, require_data, slurm_of, without_shards
from condhpc.profile import Profile
from condhpc.progress import Progress
from condhpc.retrying import Asked
from condhpc.root_lock import root_lock
from condhpc.runs import PlanLine
from condhpc.sending import PLAIN, Terms, bound_later, claimed, hand_over, start_steward, surveyed
from condhpc.survey import Survey

Say = Callable[[str], None]
_PROGRESS_S = 3.0


def send(prepared: Prepared, *, accept_code: bool, say: Say, progress: Say, terms: Terms = PLAIN) -> RunFolder:
    """Submit what is new. On Slurm it returns at once, on the local back-end when the workers have ended.

    Raises InputError where data is missing here, a plug-in's code changed at an equal version, or a budget is exceeded.
    """
    require_data(prepared)
    layout = Layout(prepared.profile.root)
    with root_lock(layout):
        prepared.indexes.keep()
        taken = surveyed(prepared, layout, accept_code=accept_code)
        run = None if taken.new else _same_run(layout, prepared)
        if run is not None:
            say(f"nothing to submit: {len(taken.cached)} recorded, {len(taken.live)} live; see run {run.name}")
            if not terms.budget:  # else it may be raised now
                enforcing.enforce(run, layout, slurm_of(prepared.profile), say)
            bound_later(run, layout, taken, prepared, terms, say)
            return run
        said = terms.budget or prepared.budget
        upper = claimed(None, layout, prepared, taken, said, say)
        run = _open_run(layout, prepared, taken)
        say(f"run {run.name}")
        if said:
            reservations.join(run, layout, budget.parse(said), said, hard=terms.hard)
        pool = hand_over(run, layout, taken, prepared, upper, say)
        start_steward(run, layout, prepared.profile, say, wanted=terms.steward)
    return _follow(run, pool, layout, prepared.profile, say, progress)


def resume(
    run: RunFolder,
    layout: Layout,
    current: Profile,
    *,
    accept_code: bool,
    say: Say,
    progress: Say,
    terms: Terms = PLAIN,
) -> RunFolder:
    """Send what a run still misses (`submit --continue`): kept back by a limit, stopped, lost, or failed as asked for.

    The profile in force counts, so that more memory or time helps, unless it is for another back-end.
    """
    if not terms.budget:  # else it may be raised now
        enforcing.enforce(run, layout, slurm_of(profiles.of_run(run.profile)), say)
    step = advance(run, layout, current, accept_code=accept_code, say=say, terms=terms)
    return _follow(run, step.pool, layout, step.profile, say, progress)


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


def cancel(run: RunFolder, layout: Layout, *, say: Say) -> int:
    """Cancel what is queued or runs; running tasks checkpoint. Returns the number of submissions that were told."""
    profile = profiles.of_run(run.profile)
    run.cancel.touch()
    with root_lock(layout):
        slurm = slurm_of(profile)
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


def _same_run(layout: Layout, prepared: Prepared) -> RunFolder | None:
    """The newest run of exactly this manifest and plan, if any."""
    planned = without_shards(prepared.plan.tasks)
    for run in map(layout.run, reversed(layout.run_names())):
        try:
            if not run.plan.is_file() or run.manifest.read_bytes() != prepared.source:
                continue
            if without_shards(runs.plan(run)) == planned:
                return run
        except PermissionError:  # a colleague's, who keeps it closed
            continue
    return None


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


def _follow(
    run: RunFolder, pool: launch.Pool | None, layout: Layout, profile: Profile, say: Say, show: Say
) -> RunFolder:
    """Stay with local workers to the end, and keep to the budget; Ctrl-C lets their tasks checkpoint first."""
    if pool is None:
        return run
    progress, known = Progress(run), spending.Known()
    try:
        while not pool.wait(_PROGRESS_S):
            enforcing.enforce(run, layout, None, say, known=known)
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
