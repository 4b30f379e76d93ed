"""What commands share: the options that all take, who looks at a run, accounts that are kept, exit codes of runs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from condhpc.talk import say

if TYPE_CHECKING:
    from condhpc.findings import Snapshot
    from condhpc.layout import Layout, RunFolder
    from condhpc.observe import Observer
    from condhpc.profile import Profile
    from condhpc.scheduler import Slurm

EXIT_OF_STATE = {"done": 0, "running": 10, "failed": 1, "stopped": 1}
_QUERY_TIMEOUT_S = 30.0


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


def observer_of(run: RunFolder, layout: Layout) -> Observer:
    """Looks at a run with the back-end that it was submitted to."""
    from condhpc.observe import GRACE_S, Observer

    held = profile_of(run)
    grace_s = min(GRACE_S, max(10.0, 2.0 * held.poll_s))
    is_own = run.path.stat().st_uid == os.getuid()
    # Of a colleague's jobs our queue shows nothing: better unknown, and heartbeats tell, than all lost.
    slurm = slurm_of(held) if is_own else None
    return Observer(run, layout, slurm, stale_s=held.lease_stale_s, grace_s=grace_s)


def watcher_of(run: RunFolder, layout: Layout, *, once: bool) -> tuple[Observer, Slurm | None]:
    """Looks at a run again and again, or `once`; Slurm is asked together with all watchers of this user.

    Beside the observer what else a watcher asks Slurm with; None for local work.
    """
    from condhpc.observe import GRACE_S, Observer
    from condhpc.shared_slurm import PATIENCE_S, Asking, SharedQueue, SharedSlurm, cache_of_user

    held = profile_of(run)
    slurm = slurm_of(held)
    if slurm is None or run.path.stat().st_uid != os.getuid():  # a colleague's jobs are not in our queue
        return observer_of(run, layout), slurm
    patience_s = slurm.timeout_s + PATIENCE_S if once else PATIENCE_S
    queue = SharedQueue(slurm, cache_of_user(), Asking(held.poll_s, patience_s, backs_off=not once))
    grace_s = min(GRACE_S, max(10.0, 2.0 * held.poll_s))
    observer = Observer(run, layout, queue, stale_s=held.lease_stale_s, grace_s=grace_s)
    return observer, SharedSlurm(cache_of_user(), held.poll_s, slurm.timeout_s)


def profile_of(run: RunFolder) -> Profile:
    """The profile that a run was submitted with."""
    from condhpc.profile import of_run

    return of_run(run.profile)


def slurm_of(profile: Profile) -> Slurm | None:
    """Slurm for whoever looks, with a time-out of its own; None for local work."""
    from condhpc.scheduler import Slurm

    return Slurm(timeout_s=_QUERY_TIMEOUT_S) if profile.backend == "slurm" else None


def keep_accounts(run: RunFolder, layout: Layout, shot: Snapshot | None = None, slurm: Slurm | None = None) -> None:
    """Snapshot what Slurm charged a run, since sites purge it; says why where that cannot be.

    `slurm` is a watcher's, which leaves it to the next one where another watcher asked just now.
    """
    from condhpc import accounts

    held = profile_of(run)
    if held.backend == "slurm" and run.path.stat().st_uid == os.getuid():  # a colleague keeps their own
        over = shot is not None and shot.state != "running"
        for note in accounts.refresh(run, layout, slurm or slurm_of(held), over=over):
            say(note)


def exit_by(shot: Snapshot, *, talk: bool = False) -> None:
    """Say how far a run is, and end with the exit code of its state."""
    from condhpc.status_text import status_lines

    for line in status_lines(shot):
        click.echo(line, err=talk)
    click.get_current_context().exit(EXIT_OF_STATE[shot.state])


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=1))
