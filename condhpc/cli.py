"""The command line. What is slow to import is imported by the command that needs it; stdout is data, stderr talk."""

from __future__ import annotations

import errno
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from condhpc.cli_actions import cancel_tasks, found_keys, hold, release, throttle
from condhpc.cli_budget import budget, steward
from condhpc.cli_data import data
from condhpc.cli_preview import preview
from condhpc.errors import CondhpcError, InputError
from condhpc.talk import say, show_progress

if TYPE_CHECKING:
    from condhpc.actions import Actions
    from condhpc.findings import Snapshot
    from condhpc.layout import Layout, RunFolder
    from condhpc.observe import Observer
    from condhpc.profile import Profile
    from condhpc.scheduler import Slurm
    from condhpc.spending import Standing
    from condhpc.table_files import Format

_EXIT_OF_STATE = {"done": 0, "running": 10, "failed": 1, "stopped": 1}
_INTERRUPTED = 130
_LISTED = ("methods", "coresets", "metrics", "protocols", "datasets", "runs")
_QUERY_TIMEOUT_S = 30.0
_FACTOR = click.FloatRange(min=1.0)


_OF_THE_DISK = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT})
_STORE_TROUBLE = 3
_OF_THE_QUEUE = frozenset({"submit", "cancel", "retry", "hold", "release", "throttle", "budget"})
"""Commands after which watchers should ask squeue anew."""


class _Commands(click.Group):
    """Commands in the order of a day's work; our own errors without a traceback, with their exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of definition."""
        del ctx
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a bug keeps its traceback."""
        try:
            return super().invoke(ctx)
        except CondhpcError as error:
            say(f"condhpc: {error}")
            ctx.exit(error.exit_code)
        except OSError as error:
            if error.errno not in _OF_THE_DISK:
                raise
            say(f"condhpc: {error.filename or 'disk'}: {error.strerror}; nothing recorded is lost, mend it and go on")
            ctx.exit(_STORE_TROUBLE)
        except KeyboardInterrupt:
            say("interrupted")
            ctx.exit(_INTERRUPTED)
        finally:
            if ctx.invoked_subcommand in _OF_THE_QUEUE and "condhpc.scheduler" in sys.modules:
                from condhpc.shared_slurm import cache_of_user

                cache_of_user().spoil()


@dataclass
class Session:
    """Options that all commands share."""

    root: str | None
    profile_name: str | None

    def profile(self) -> Profile:
        """The profile in force; raises InputError."""
        from condhpc import profile

        return profile.resolve(self.profile_name, self.root, os.environ)

    def layout(self) -> Layout:
        """The root in force."""
        from condhpc.layout import Layout

        return Layout(self.profile().root)

    def run(self, name: str | None) -> tuple[RunFolder, Layout]:
        """A run by (the beginning of) its name, or the newest one; raises InputError."""
        from condhpc import runs

        layout = self.layout()
        return runs.find(layout, name), layout


def on_terminal() -> bool:
    """Whether somebody can answer."""
    return sys.stdin.isatty()


def observer_of(run: RunFolder, layout: Layout) -> Observer:
    """Looks at a run with the back-end that it was submitted to."""
    from condhpc.observe import GRACE_S, Observer

    held = _profile_of(run)
    grace_s = min(GRACE_S, max(10.0, 2.0 * held.poll_s))
    is_own = run.path.stat().st_uid == os.getuid()
    # Of a colleague's jobs our queue shows nothing: better unknown, and heartbeats tell, than all lost.
    slurm = _slurm(held) if is_own else None
    return Observer(run, layout, slurm, stale_s=held.lease_stale_s, grace_s=grace_s)


def watcher_of(run: RunFolder, layout: Layout, *, once: bool) -> tuple[Observer, Slurm | None]:
    """Looks at a run again and again, or `once`; Slurm is asked together with all watchers of this user.

    Beside the observer what else a watcher asks Slurm with; None for local work.
    """
    from condhpc.observe import GRACE_S, Observer
    from condhpc.shared_slurm import PATIENCE_S, Asking, SharedQueue, SharedSlurm, cache_of_user

    held = _profile_of(run)
    slurm = _slurm(held)
    if slurm is None or run.path.stat().st_uid != os.getuid():  # a colleague's jobs are not in our queue
        return observer_of(run, layout), slurm
    patience_s = slurm.timeout_s + PATIENCE_S if once else PATIENCE_S
    queue = SharedQueue(slurm, cache_of_user(), Asking(held.poll_s, patience_s, backs_off=not once))
    grace_s = min(GRACE_S, max(10.0, 2.0 * held.poll_s))
    observer = Observer(run, layout, queue, stale_s=held.lease_stale_s, grace_s=grace_s)
    return observer, SharedSlurm(cache_of_user(), held.poll_s, slurm.timeout_s)


def _profile_of(run: RunFolder) -> Profile:
    from condhpc.profile import of_run

    return of_run(run.profile)


def _slurm(profile: Profile) -> Slurm | None:
    from condhpc.scheduler import Slurm

    return Slurm(timeout_s=_QUERY_TIMEOUT_S) if profile.backend == "slurm" else None


def _keep_accounts(run: RunFolder, layout: Layout, shot: Snapshot | None = None, slurm: Slurm | None = None) -> None:
    """Snapshot what Slurm charged a run, since sites purge it; says why where that cannot be.

    `slurm` is a watcher's, which leaves it to the next one where another watcher asked just now.
    """
    from condhpc import accounts

    held = _profile_of(run)
    if held.backend == "slurm":
        over = shot is not None and shot.state != "running"
        for note in accounts.refresh(run, layout, slurm or _slurm(held), over=over):
            say(note)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--root", metavar="DIR", help="Folder of the store and of runs [$CONDHPC_ROOT, else the profile's].")
@click.option("--profile", metavar="FILE", help="Profile: a file or `local` [$CONDHPC_PROFILE, else your own].")
@click.version_option(package_name="condhpc", message="condhpc %(version)s")
@click.pass_context
def main(ctx: click.Context, root: str | None, profile: str | None) -> None:
    """What a condensed training set is worth: distillation against coresets, on Slurm or on this machine."""
    ctx.obj = Session(root, profile)


@main.command()
@click.argument("manifest", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Everything that is known, one JSON document.")
@click.pass_obj
def plan(session: Session, manifest: Path, *, as_json: bool) -> None:
    """Check a manifest and show what it would submit, and what that takes; writes nothing."""
    import msgspec

    from condhpc import start_times, steward_job
    from condhpc import submit as submission
    from condhpc.status_text import overview_lines

    prepared = submission.prepare(manifest, session.profile())
    overview = msgspec.structs.replace(prepared.overview, waits=start_times.waits(prepared.arrays))
    if as_json:
        _print_json(overview)
        return
    for line in overview_lines(overview):
        click.echo(line)
    held = session.profile()
    if held.backend == "slurm":
        click.echo(f"steward: {steward_job.in_words(session.layout(), held)}")


def _print_json(value: Any) -> None:
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=1))


@main.command()
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
    from condhpc import submit as submission
    from condhpc.status_text import overview_lines

    if (manifest is None) == (resumed is None):
        raise click.UsageError("give a manifest, or --continue [RUN] without one")
    accept_code = flags["accept_code"]
    terms = submission.Terms(budget=said, hard=flags["hard"], steward=not flags["no_steward"])
    if manifest is None:
        run, layout = session.run(resumed or None)
        run = submission.resume(
            run, layout, session.profile(), accept_code=accept_code, say=say, progress=show_progress, terms=terms
        )
        _keep_accounts(run, layout)
    else:
        prepared = submission.prepare(manifest, session.profile())
        for line in overview_lines(prepared.overview):
            say(line)
        if prepared.overview.warnings and not flags["yes"] and on_terminal():
            click.confirm("Submit in spite of the warnings?", abort=True, err=True)
        run = submission.send(prepared, accept_code=accept_code, say=say, progress=show_progress, terms=terms)
    _sent(session, run)


def _sent(session: Session, run: RunFolder) -> None:
    """The run's name on stdout; local work has ended by now, so say how."""
    click.echo(run.name)
    if _profile_of(run).backend == "local":
        _exit_by(observer_of(run, session.layout()).snapshot(), talk=True)


def _exit_by(shot: Snapshot, *, talk: bool = False) -> None:
    from condhpc.status_text import status_lines

    for line in status_lines(shot):
        click.echo(line, err=talk)
    click.get_current_context().exit(_EXIT_OF_STATE[shot.state])


@main.command()
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
    standing = _keep_to_budget(folder, layout, slurm)
    if following:
        shot = _follow(folder, observer, as_json=as_json)
        _keep_accounts(folder, layout, shot, slurm)
        click.get_current_context().exit(_EXIT_OF_STATE[shot.state])
    shot = observer.snapshot(rescan=rescan)
    if shot.state != "running":
        _keep_accounts(folder, layout, shot)
    if not as_json:
        _exit_by(shot)
    from condhpc.outlooks import Outlooks

    _print_json(Outlooks(folder, layout).added(shot, standing))
    click.get_current_context().exit(_EXIT_OF_STATE[shot.state])


def _follow(run: RunFolder, observer: Observer, *, as_json: bool) -> Snapshot:
    """The run's last snapshot; its changes are on stdout by then."""
    import time

    from condhpc.following import LOOK_S, follow
    from condhpc.outlooks import SLICE_S, Filled, Outlooks

    look_s = min(_profile_of(run).poll_s, LOOK_S)

    def wait() -> None:
        sys.stdout.flush()
        time.sleep(look_s)

    source = Filled(observer, Outlooks(run, observer.layout, slice_s=SLICE_S)) if as_json else observer
    return follow(source, click.echo, wait, as_json=as_json)


def _keep_to_budget(run: RunFolder, layout: Layout, slurm: Slurm | None) -> Standing | None:
    """Where it stands. Looking at a run fails neither of a queue that does not answer nor of a newer budget file."""
    from condhpc import spending
    from condhpc.errors import SchedulerError, StoreError

    if not run.budget.exists():
        return None
    try:
        return spending.enforce(run, layout, slurm, say)
    except (SchedulerError, StoreError) as error:
        say(f"the budget could not be looked at: {error}")
        return None


@main.command()
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
    held = _profile_of(folder)
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


@main.command()
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


@main.command()
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


@main.command()
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


@main.command()
@click.argument("run", required=False)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder of the files [results/RUN].")
@click.option("--scores", is_flag=True, help="Show scores against random sets and all data instead, as fractions.")
@click.option("--plain", is_flag=True, help="The plain tables alone: neither paper tables, figures nor a verdict.")
@click.option(
    "--format", "said", multiple=True, default=("csv",), metavar="NAME[,NAME]", help="csv, json, parquet [csv]."
)
@click.option("--rescan", is_flag=True, help="Trust nothing that was kept: open every record.")
@click.pass_obj
def collect(session: Session, /, run: str | None, out: Path | None, said: tuple[str, ...], **flags: bool) -> None:
    """Write the results as tables, figures and a verdict, and show the cells.

    Exits with 3 where something could not be used: a line each says what, the rest is written all the same.
    """
    from condhpc import collect as collection
    from condhpc import unchanged
    from condhpc.errors import StoreError
    from condhpc.tables import aligned, printable

    folder, layout = session.run(run)
    formats, rescan = _formats(said), flags["rescan"]
    families = () if flags["plain"] else collection.FAMILIES
    out = out or Path("results") / folder.name
    lost: list[str] = []
    found = None if rescan else collection.unchanged(folder, layout, out, formats, families)
    if found is None:
        shot, lost = _looked_at(folder, layout, rescan=rescan)
        found = collection.collect(folder, layout, out, shot, formats, families=families, anew=rescan)
        if lost:
            unchanged.forget(out)  # or the next call would not say it
    rows = aligned(collection.SCORE_TABLE, found.scores, decimals=4) if flags["scores"] else None
    for line in rows or aligned(found.header, found.table):
        click.echo(line)
    click.echo()
    for path in found.paths:
        click.echo(path)
    for line in [*found.notes, *collection.few([*lost, *found.problems], out)]:
        say(printable(line))
    if lost or found.problems:
        click.get_current_context().exit(StoreError.exit_code)


def _looked_at(run: RunFolder, layout: Layout, *, rescan: bool) -> tuple[Snapshot, list[str]]:
    """What became of a run's tasks, with its accounts kept; of a complete run without a profile, and one line on that.

    What is left of another one cannot be told without its back-end.
    """
    from condhpc.errors import InputError
    from condhpc.observe import Observer

    try:
        _profile_of(run)
    except InputError:
        shot = Observer(run, layout, None).snapshot(rescan=True)
        if shot.state != "done":
            raise
        told = "all tasks are recorded and collected, but the accounting was not asked"
        return shot, [f"{run.profile}: cannot be read; {told}: charges are those that the run already holds"]
    shot = observer_of(run, layout).snapshot(rescan=rescan)
    _keep_accounts(run, layout, shot)
    return shot, []


def _formats(said: tuple[str, ...]) -> list[Format]:
    """Each once; raises UsageError for one that does not exist."""
    from condhpc.table_files import FORMATS

    names = dict.fromkeys(name.strip() for text in said for name in text.split(","))
    if unknown := sorted(names.keys() - set(FORMATS)):
        raise click.UsageError(f"--format {','.join(unknown)}: known are {', '.join(FORMATS)}")
    return [name for name in FORMATS if name in names]


@main.command()
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


main.add_command(hold)
main.add_command(release)
main.add_command(throttle)
main.add_command(budget)
main.add_command(steward)
main.add_command(preview)
main.add_command(data)


@main.command()
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
    for check in examination.examine(profile, _slurm(profile), scan=scan):
        failed |= check.verdict == "fail"
        click.echo(f"{check.verdict:<4}  {check.name}: {printable(check.found)}")
        if check.advice:
            click.echo(f"      {printable(check.advice)}")
    click.get_current_context().exit(1 if failed else 0)
