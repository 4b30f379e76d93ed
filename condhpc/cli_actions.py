"""`condhpc hold`, `release`, `throttle`, and `cancel --task`: actions on what waits and runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from condhpc.errors import InputError
from condhpc.talk import say

if TYPE_CHECKING:
    from condhpc.actions import Actions
    from condhpc.cli_session import Session
    from condhpc.findings import Snapshot
    from condhpc.layout import RunFolder
    from condhpc.stakes import Stakes

_STAGES = ("teacher", "generator", "embed", "prepare", "condense", "relabel", "evaluate", "analyze")
_TASKS = click.option("--task", "tasks", multiple=True, metavar="KEY", help="Only this task; may be repeated.")


def found_keys(run: RunFolder, tasks: Sequence[str]) -> list[str]:
    """Keys of the tasks whose keys begin so; raises InputError for none or several."""
    from condhpc import log_view

    return [log_view.find_task(run, task).key for task in tasks]


def _actions(session: Session, run: str | None) -> tuple[Actions, RunFolder]:
    from condhpc.actions import Actions

    folder, layout = session.run(run)
    return Actions(folder, layout, session.profile()), folder


def cancel_tasks(session: Session, run: RunFolder, tasks: Sequence[str], shot: Snapshot, *, yes: bool) -> None:
    """Cancel single tasks, after saying what that concerns and, on a terminal, asking."""
    actions, _ = _actions(session, run.name)
    keys = found_keys(run, tasks)
    text = at_stake(actions.stakes(keys, shot))
    if not yes:
        if not sys.stdin.isatty():
            raise InputError(f"run {run.name}: {text}; cancelling needs --yes here")
        click.confirm(f"Cancel {text}?", abort=True, err=True)
    for line in actions.cancel(keys):
        say(f"run {run.name}: {line}")


def at_stake(found: Stakes) -> str:
    """`3 tasks (2 run, 0.4 GPU-h) and 1 more in their elements; 5 tasks wait for them`."""
    hours = f", {found.gpu_h:.2g} GPU-h" if found.gpu_h else f", {found.cpu_h:.2g} CPU-h" if found.cpu_h else ""
    text = f"{len(found.keys)} tasks" + (f" and {len(found.others)} more in their elements" if found.others else "")
    text += f" ({found.running} run{hours})"
    return text + (f"; {len(found.dependants)} tasks wait for them" if found.dependants else "")


@click.command()
@click.argument("run", required=False)
@_TASKS
@click.pass_obj
def hold(session: Session, run: str | None, tasks: tuple[str, ...]) -> None:
    """Hold what waits in the queue; what runs goes on."""
    actions, folder = _actions(session, run)
    for line in actions.hold(found_keys(folder, tasks) or None):
        say(f"run {folder.name}: {line}")


@click.command()
@click.argument("run", required=False)
@_TASKS
@click.pass_obj
def release(session: Session, run: str | None, tasks: tuple[str, ...]) -> None:
    """Let go on what `hold` holds."""
    actions, folder = _actions(session, run)
    for line in actions.release(found_keys(folder, tasks) or None):
        say(f"run {folder.name}: {line}")


@click.command()
@click.argument("running", type=click.IntRange(min=0))
@click.argument("run", required=False)
@click.option("--stage", type=click.Choice(_STAGES), help="Only arrays of this stage.")
@click.pass_obj
def throttle(session: Session, running: int, run: str | None, stage: str | None) -> None:
    """How many elements of each array run at a time from now on; 0: no bound."""
    from condhpc.spec import STAGES

    actions, folder = _actions(session, run)
    for line in actions.throttle(running, next((known for known in STAGES if known == stage), None)):
        say(f"run {folder.name}: {line}")
