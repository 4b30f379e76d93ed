"""`condhpc status`, `watch`, `logs`, `ls`, `doctor`: looking, at runs and at what there is."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from condhpc.cli_session import (
    EXIT_OF_STATE,
    Session,
    exit_by,
    keep_accounts,
    observer_of,
    print_json,
    profile_of,
    slurm_of,
    watcher_of,
)
from condhpc.errors import InputError
from condhpc.talk import on_terminal, say

if TYPE_CHECKING:
    from condhpc.actions import Actions
    from condhpc.findings import Snapshot
    from condhpc.layout import Layout, RunFolder
    from condhpc.observe import Observer
    from condhpc.scheduler import Slurm
    from condhpc.spending import Standing

_LISTED = ("methods", "coresets", "metrics", "protocols", "datasets", "runs")


@click.command()
@click.argument("run", required=False)
@click.option("--json", "as_json", is_flag=True, help="Everything that is known, one JSON document.")
@click.option("--rescan", is_flag=True, help="Trust no hint: look at every task's record.")
@click.option("-f", "--follow", "following", is_flag=True, help="A line whenever something changed, until the end.")
@click.pass_obj
def status(session: Session, run: str | None, *, as_json: bool, rescan: bool, following: bool) -> None:
    """How far a run is. Exits with 0 when all is recorded, 1 when it ended otherwise, 10 while it goes on."""
    folder, layout = session.run(run)
    if following and rescan:
        raise click.UsageError("--rescan looks once; leave --follow out")
    observer, slurm = watcher_of(folder, layout, once=not following)
    observer.distrust()
    standing = _keep_to_budget(folder, layout, slurm)
    if following:
        shot = _follow(folder, observer, as_json=as_json)
        keep_accounts(folder, layout, shot, slurm)
        click.get_current_context().exit(EXIT_OF_STATE[shot.state])
    shot = observer.snapshot(rescan=rescan)
    if shot.state != "running":
        keep_accounts(folder, layout, shot)
    if not as_json:
        exit_by(shot)
    from condhpc.outlooks import Outlooks

    print_json(Outlooks(folder, layout).added(shot, standing))
    click.get_current_context().exit(EXIT_OF_STATE[shot.state])


def _follow(run: RunFolder, observer: Observer, *, as_json: bool) -> Snapshot:
    """The run's last snapshot; its changes are on stdout by then."""
    import time

    from condhpc.following import LOOK_S, follow
    from condhpc.outlooks import SLICE_S, Filled, Outlooks

    look_s = min(profile_of(run).poll_s, LOOK_S)

    def wait() -> None:
        sys.stdout.flush()
        time.sleep(look_s)

    source = Filled(observer, Outlooks(run, observer.layout, slice_s=SLICE_S)) if as_json else observer
    return follow(source, click.echo, wait, as_json=as_json)


def _keep_to_budget(run: RunFolder, layout: Layout, slurm: Slurm | None) -> Standing | None:
    """Where it stands. Looking at a run fails neither of a silent queue nor of a budget that cannot be read."""
    from condhpc import enforcing
    from condhpc.errors import SchedulerError, StoreError

    if not run.budget.exists():
        return None
    try:
        return enforcing.enforce(run, layout, slurm, say)
    except (SchedulerError, StoreError, PermissionError) as error:  # a closed run that shares it
        say(f"the budget could not be looked at: {error}")
        return None


@click.command()
@click.argument("run", required=False)
@click.option("--read-only", is_flag=True, help="Offer nothing that changes anything.")
@click.pass_obj
def watch(session: Session, run: str | None, *, read_only: bool) -> None:
    """A table of the run's tasks that keeps itself up to date; where there is no run yet, it waits for one."""
    if not (on_terminal() and sys.stdout.isatty()):
        raise InputError("watch needs a terminal; `condhpc status` and `condhpc status --json` do without")
    from condhpc.following import LOOK_S
    from condhpc.steward import Beside
    from condhpc.tui import start

    layout = session.layout()
    folder = start.found(layout, run, os.environ)
    if isinstance(folder, int):
        click.get_current_context().exit(folder)
    held = profile_of(folder)
    observer, slurm = watcher_of(folder, layout, once=False)
    source = Beside(observer, folder, held, slurm, only_looks=read_only)
    # Files are looked at more often than Slurm, which the observer asks by `poll_s` whoever looks.
    poll_s = min(held.poll_s, LOOK_S) if held.backend == "slurm" else 1.0
    doer = _doer_of(session, folder, layout)
    code = start.watch(source, poll_s, folder, layout, os.environ, doer, read_only=read_only)
    click.get_current_context().exit(code)


def _doer_of(session: Session, run: RunFolder, layout: Layout) -> Actions | None:
    """Who acts on a run for `watch`; nobody where no profile is in force: looking at a run needs none."""
    from condhpc.actions import Actions
    from condhpc.shared_slurm import cache_of_user

    try:
        return Actions(run, layout, session.profile(), after=lambda: cache_of_user().spoil())
    except InputError as error:
        say(f"nothing can be done to this run from here: {error}")
        return None


@click.command()
@click.argument("run", required=False)
@click.option("--task", metavar="KEY", help="Only this task: the beginning of its key.")
@click.option("--failed", is_flag=True, help="All tasks that failed or were blocked.")
@click.option("-f", "--follow", "following", is_flag=True, help="Go on as the logs grow.")
@click.option("-n", "--lines", default=40, show_default=True, help="Lines from the end of each log.")
@click.pass_obj
def logs(session: Session, run: str | None, task: str | None, *, failed: bool, following: bool, lines: int) -> None:
    """What tasks printed and why they failed.

    Without an option: the log that was written last.
    """
    from condhpc import log_view

    folder, layout = session.run(run)
    if task is None and not failed:
        paths = log_view.newest_logs(folder)[:1]
        if not paths:
            raise InputError(f"run {folder.name} has no logs yet; `condhpc status` says what it waits for")
        for line in log_view.log_lines(paths, lines):
            click.echo(line)
    else:
        wanted = [log_view.find_task(folder, task)] if task is not None else []
        wanted += log_view.bad_tasks(observer_of(folder, layout).snapshot()) if failed else []
        paths = [path for line in wanted for path in log_view.task_logs(folder, line.key)]
        for text in (text for line in wanted for text in log_view.task_lines(folder, layout, line, lines)):
            click.echo(text)
    if following:
        log_view.follow(dict.fromkeys(paths), click.echo)


@click.command()
@click.argument("what", required=False, type=click.Choice(_LISTED))
@click.pass_obj
def ls(session: Session, what: str | None) -> None:
    """What a manifest can name, with parameters; or runs."""
    from condhpc import listing, registry
    from condhpc.tables import aligned

    if what == "runs":
        lines = aligned(("run", "tasks", "submissions"), listing.run_rows(session.layout()))
    elif what is None:
        lines = [f"{kind}: {', '.join(registry.names(kind))}" for kind in registry.KINDS]
    else:
        lines = [line for kind in registry.KINDS if kind == what for line in listing.plugin_lines(kind)]
    for line in lines:
        click.echo(line)


@click.command()
@click.option("--scan", is_flag=True, help="List the files of every dataset, too.")
@click.pass_obj
def doctor(session: Session, *, scan: bool) -> None:
    """Check profile, file system, cluster, data and Python.

    Exits with 1 when something will not work; says what to do.
    """
    from condhpc import doctor as examination
    from condhpc.tables import printable

    profile = session.profile()
    failed = False
    for check in examination.examine(profile, slurm_of(profile), scan=scan):
        failed |= check.verdict == "fail"
        click.echo(f"{check.verdict:<4}  {check.name}: {printable(check.found)}")
        if check.advice:
            click.echo(f"      {printable(check.advice)}")
    click.get_current_context().exit(1 if failed else 0)
