"""`condhpc plan`, `submit`, `cancel`, `retry`: what is sent, and what is taken back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from condhpc.cli_actions import cancel_tasks, found_keys
from condhpc.cli_session import (
    Session,
    exit_by,
    keep_accounts,
    observer_of,
    print_json,
    profile_of,
)
from condhpc.errors import InputError
from condhpc.talk import on_terminal, say, show_progress

if TYPE_CHECKING:
    from condhpc.layout import RunFolder

_FACTOR = click.FloatRange(min=1.0)


@click.command()
@click.argument("manifest", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Everything that is known, one JSON document.")
@click.pass_obj
def plan(session: Session, manifest: Path, *, as_json: bool) -> None:
    """Check a manifest and show what it would submit, and what that takes; writes nothing."""
    import msgspec

    from condhpc import enforcing, estimates, preparing, start_times, steward_job
    from condhpc.status_text import overview_lines

    prepared = preparing.prepare(manifest, session.profile())
    overview = msgspec.structs.replace(prepared.overview, waits=start_times.waits(prepared.arrays))
    if prepared.budget:
        todo = estimates.upper(prepared.plan, prepared.needs.keys(), prepared.needs, prepared.profile)
        if why := enforcing.foreseen(session.layout(), prepared.budget, todo):
            overview = msgspec.structs.replace(overview, warnings=[*overview.warnings, why])
    if as_json:
        print_json(overview)
        return
    for line in overview_lines(overview):
        click.echo(line)
    held = session.profile()
    if held.backend == "slurm":
        click.echo(f"steward: {steward_job.in_words(session.layout(), held)}")


@click.command()
@click.argument("manifest", type=click.Path(path_type=Path), required=False)
@click.option(
    "--continue", "resumed", is_flag=False, flag_value="", metavar="[RUN]", help="Send what a run still misses."
)
@click.option("--accept-code", is_flag=True, help="Reuse results although a plug-in's code changed since.")
@click.option("--yes", is_flag=True, help="Do not ask, whatever the plan warns of.")
@click.option("--budget", "said", metavar="AMOUNT", default="", help="200gpuh, 15kwh, … [the manifest's].")
@click.option("--hard", is_flag=True, help="When the budget is used up, end what runs, too.")
@click.option("--no-steward", is_flag=True, help="No job that goes on with the run by itself.")
@click.pass_obj
def submit(session: Session, /, manifest: Path | None, resumed: str | None, said: str, **flags: bool) -> None:
    """Submit a manifest, or go on with a run. What is recorded is skipped, what is live is not sent again."""
    from condhpc import preparing
    from condhpc import submit as submission
    from condhpc.sending import Terms
    from condhpc.status_text import overview_lines

    if (manifest is None) == (resumed is None):
        raise click.UsageError("give a manifest, or --continue [RUN] without one")
    accept_code = flags["accept_code"]
    terms = Terms(budget=said, hard=flags["hard"], steward=not flags["no_steward"])
    if manifest is None:
        run, layout = session.run(resumed or None)
        run = submission.resume(
            run, layout, session.profile(), accept_code=accept_code, say=say, progress=show_progress, terms=terms
        )
        keep_accounts(run, layout)
    else:
        prepared = preparing.prepare(manifest, session.profile())
        for line in overview_lines(prepared.overview):
            say(line)
        if prepared.overview.warnings and not flags["yes"] and on_terminal():
            click.confirm("Submit in spite of the warnings?", abort=True, err=True)
        run = submission.send(prepared, accept_code=accept_code, say=say, progress=show_progress, terms=terms)
    _sent(session, run)


def _sent(session: Session, run: RunFolder) -> None:
    """The run's name on stdout; local work has ended by now, so say how."""
    click.echo(run.name)
    if profile_of(run).backend == "local":
        exit_by(observer_of(run, session.layout()).snapshot(), talk=True)


@click.command()
@click.argument("run", required=False)
@click.option("--task", "tasks", multiple=True, metavar="KEY", help="Only this task's element; may be repeated.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def cancel(session: Session, run: str | None, tasks: tuple[str, ...], *, yes: bool) -> None:
    """Cancel what waits and what runs.

    Running tasks checkpoint, recorded ones stay.
    """
    folder, layout = session.run(run)
    shot = observer_of(folder, layout).snapshot()
    if tasks:
        cancel_tasks(session, folder, tasks, shot, yes=yes)
        return
    running, queued = shot.total("running"), shot.total("queued")
    if not running + queued and not shot.queue_error:
        say(f"run {folder.name}: nothing waits or runs")
        return
    if not yes:
        if not on_terminal():
            raise InputError(f"run {folder.name}: {running} tasks run, {queued} wait; cancelling them needs --yes here")
        click.confirm(f"Cancel run {folder.name}: {running} running and {queued} waiting tasks?", abort=True, err=True)
    from condhpc import submit as submission

    submission.cancel(folder, layout, say=say)


@click.command()
@click.argument("run", required=False)
@click.option(
    "--class",
    "failures",
    type=click.Choice(["infra", "limit", "code", "all"]),
    default="all",
    show_default=True,
    help="Only what failed through the cluster, a limit of time or memory, or its own code.",
)
@click.option("--task", "tasks", multiple=True, metavar="KEY", help="Only this task; may be repeated.")
@click.option("--time-factor", type=_FACTOR, default=1.5, show_default=True, help="More time after a time limit.")
@click.option("--mem-factor", type=_FACTOR, default=1.5, show_default=True, help="More memory after too little.")
@click.option("--time-min", type=click.IntRange(min=1), help="Minutes for all that is tried again.")
@click.option("--mem-gb", type=click.FloatRange(min=0, min_open=True), help="Memory for all that is tried again.")
@click.option("--accept-code", is_flag=True, help="Keep results although a plug-in's code changed since.")
@click.pass_obj
def retry(
    session: Session, /, run: str | None, *, failures: str, tasks: tuple[str, ...], accept_code: bool, **more: Any
) -> None:
    """Try again what failed, was blocked, lost or damaged; what met a limit gets more."""
    from condhpc import submit as submission
    from condhpc.retrying import CLASSES, Asked

    classes = frozenset(name for name in CLASSES if failures in {name, "all"})
    folder, layout = session.run(run)
    keys = frozenset(found_keys(folder, tasks)) if tasks else None
    asked = Asked(classes=classes, by_hand=True, keys=keys, **more)
    sent = submission.retry(
        folder, layout, session.profile(), accept_code=accept_code, say=say, progress=show_progress, asked=asked
    )
    _sent(session, sent)
