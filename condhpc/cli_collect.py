"""`condhpc collect`: the tables of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from condhpc.cli_session import (
    Session,
    keep_accounts,
    observer_of,
    profile_of,
)
from condhpc.errors import InputError, StoreError
from condhpc.talk import say

if TYPE_CHECKING:
    from condhpc.findings import Snapshot
    from condhpc.layout import Layout, RunFolder
    from condhpc.table_files import Format


@click.command()
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

    What is left of another one cannot be told without its back-end; of a colleague's, that is not asked anyway.
    """
    from condhpc.observe import Observer
    from condhpc.spending import is_own

    try:
        profile_of(run)
    except InputError:
        shot = Observer(run, layout, None).snapshot(rescan=True)
        if shot.state != "done" and is_own(run):
            raise
        told = "all tasks are recorded and collected" if shot.state == "done" else "what is recorded is collected"
        told += ", but the accounting was not asked"
        return shot, [f"{run.profile}: cannot be read; {told}: charges are those that the run already holds"]
    shot = observer_of(run, layout).snapshot(rescan=rescan)
    keep_accounts(run, layout, shot)
    return shot, []


def _formats(said: tuple[str, ...]) -> list[Format]:
    """Each once; raises UsageError for one that does not exist."""
    from condhpc.table_files import FORMATS

    names = dict.fromkeys(name.strip() for text in said for name in text.split(","))
    if unknown := sorted(names.keys() - set(FORMATS)):
        raise click.UsageError(f"--format {','.join(unknown)}: known are {', '.join(FORMATS)}")
    return [name for name in FORMATS if name in names]
