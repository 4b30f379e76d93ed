"""`condhpc budget` and `condhpc steward`: what a run may be charged, and going on with it by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from condhpc.cli_session import profile_of
from condhpc.errors import InputError
from condhpc.talk import say

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from condhpc.cli_session import Session
    from condhpc.layout import Layout, RunFolder
    from condhpc.spending import Standing
    from condhpc.tables import Cell


@click.command()
@click.argument("run", required=False)
@click.option("--set", "text", metavar="AMOUNT", help="Another bound: 300gpuh, 15kwh, 100cpuh, or several with commas.")
@click.option("--lift", is_flag=True, help="No bound any more.")
@click.option("--hard", is_flag=True, help="With --set: when it is used up, end what runs, too.")
@click.pass_obj
def budget(session: Session, run: str | None, text: str | None, *, lift: bool, hard: bool) -> None:
    """What a run was charged of its budget; raise or lift it."""
    from condhpc import enforcing, spending
    from condhpc.preparing import slurm_of

    if text is not None and lift:
        raise click.UsageError("either --set or --lift")
    folder, layout = session.run(run)
    slurm = slurm_of(profile_of(folder))
    if text is not None or lift:
        stopped = folder.over_budget.exists()
        enforcing.change(folder, layout, slurm, text, say, hard=hard)
        if stopped and not folder.over_budget.exists():
            _go_on(folder, layout)
    at = enforcing.enforce(folder, layout, slurm, say) or spending.look(folder, layout, slurm)
    if at is None:
        raise InputError(f"run {folder.name} has no budget; `condhpc budget {folder.name} --set 200gpuh` gives it one")
    for line in lines(at):
        click.echo(line)


def _go_on(run: RunFolder, layout: Layout) -> None:
    """The steward may have ended while nothing moved."""
    from condhpc import profile, sending

    sending.start_steward(run, layout, profile.of_run(run.profile), say, wanted=True)


def lines(at: Standing) -> list[str]:
    """Charged, reserved and left by unit, and by run where several share it."""
    from condhpc.budget import UNITS
    from condhpc.tables import aligned

    bound = at.pot.budget
    limits = {} if bound is None else bound.bounds
    rows = [
        (unit, getattr(at.charged, unit), getattr(at.reserved, unit), limits.get(unit))
        for unit in UNITS
        if unit != "kwh" or unit in limits  # else nobody has added them up
    ]
    shown = [(*row, None if row[3] is None else max(0.0, row[3] - row[1] - row[2])) for row in rows]
    found = list(aligned(("unit", "charged", "reserved", "budget", "left"), shown, _decimals(shown)))
    if bound is None:
        found.append("the budget is lifted")
    elif at.is_used_up:
        found.append("used up: nothing more is begun, what waits is held")
    found += at.doubts()
    if len(at.by_run) > 1:
        titles = {"gpu_h": "GPU-h", "cpu_h": "CPU-h", "kwh": "kWh"}
        units = [unit for unit, *_ in rows]
        by_run = [(name, *(getattr(held, unit) for unit in units)) for name, held in at.by_run.items()]
        found += ["", *aligned(("run", *(titles[unit] for unit in units)), by_run, _decimals(by_run))]
    return found


def _decimals(rows: Iterable[Sequence[Cell]]) -> int:
    """Two, unless a figure is so small that they would hide it."""
    return 6 if any(isinstance(value, float) and 0.0 < value < 0.1 for row in rows for value in row) else 2


@click.command()
@click.argument("run", required=False)
@click.pass_obj
def steward(session: Session, run: str | None) -> None:
    """Go on with a run once: keep to its budget, take the accounting, send what is left.

    Slurm jobs do this by themselves; call it from a crontab where nodes cannot submit.
    """
    from condhpc import steward as work
    from condhpc.preparing import slurm_of

    folder, layout = session.run(run)
    held = profile_of(folder)
    more = work.round_(folder, layout, held, slurm_of(held), say)
    click.echo(f"run {folder.name}: {'goes on' if more else 'nothing is left to do'}")
