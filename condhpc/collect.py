"""From a run to its tables: the families of tables, each made from one `Study`, and the files that they become."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from condhpc import (
    accounting_tables,
    accounts,
    cells_tables,
    failures_table,
    kept_rows,
    measures,
    renewal,
    results_table,
    sets_table,
    study,
    table_files,
)
from condhpc import unchanged as stamps
from condhpc.accounting_tables import Books
from condhpc.cells_tables import SCORE_TABLE, TABLE, Cells
from condhpc.findings import Snapshot
from condhpc.layout import Layout, RunFolder
from condhpc.planned import no_collection
from condhpc.renewal import Renewed
from condhpc.results_table import RESULTS
from condhpc.study import Study
from condhpc.table_files import Format
from condhpc.tables import Cell, Table, printable, write_text
from condhpc.unchanged import Made, Shown

__all__ = ["FAMILIES", "SCORE_TABLE", "TABLE", "Collected", "Family", "collect", "few", "unchanged", "write"]

Family = Callable[[Study, Path], list[Path]]
"""Writes files of its own kind below the folder and returns their paths; what it cannot use it adds to `problems`."""


def _paper(study: Study, out_dir: Path) -> list[Path]:
    from condhpc.paper import family

    return family.write(study, out_dir)


FAMILIES: tuple[Family, ...] = (_paper,)
"""Beside the plain tables, in the order of their files."""
_SHOWN = 20
"""Problems on the screen."""


class Collected(msgspec.Struct, frozen=True):
    """What `collect` wrote."""

    paths: list[Path]
    header: tuple[str, ...]
    table: list[tuple[Cell, ...]]
    """The cells for the screen, in the order of the plan."""
    scores: list[tuple[Cell, ...]]
    """Their scores for the screen, under SCORE_TABLE."""
    problems: list[str]
    """One line per record that could not be used."""
    notes: list[str]
    """What does not concern the figures."""


def unchanged(
    run: RunFolder,
    layout: Layout,
    out_dir: Path,
    formats: Sequence[Format] = ("csv",),
    families: Sequence[Family] = FAMILIES,
) -> Collected | None:
    """What `collect` would give, where its files are still those of the run; None where it has to be done."""
    found = stamps.look(run, layout, out_dir, _kinds(formats, families))
    return None if found is None else _collected(*found)


def collect(
    run: RunFolder,
    layout: Layout,
    out_dir: Path,
    shot: Snapshot,
    formats: Sequence[Format] = ("csv",),
    *,
    families: Sequence[Family] = FAMILIES,
    anew: bool = False,
) -> Collected:
    """Write all tables; `shot` says what became of unrecorded tasks, `anew` trusts nothing that was kept.

    From equal records come the same bytes, and a file that would not change is not touched. In the run's folder
    only the ledger and finished rows are written.
    """
    table_files.require(formats)
    with no_collection():
        before = stamps.begin(run)
        stamps.forget(out_dir)
        made = None if anew or tuple(formats) != ("csv",) else renewal.renewed(run, layout, shot.rows)
        if made is None:
            made = whole(study.read(run, layout, shot.rows, anew=anew))
        paths = write(made, out_dir, formats)
        held, problems = made.study, list(made.study.problems)
        if families and len(held.plan) < len(made.known):  # they are made of all records
            held = study.read(run, layout, shot.rows)
        for family in families:
            said = len(held.problems)
            paths += family(held, out_dir)
            problems += held.problems[said:]
        shown = Shown(made.cells.on_screen(), made.cells.scores_on_screen(), problems, held.notes)
        if made.kept is not None:
            kept_rows.save(run, made.kept)
        if min(made.known, default=1) >= kept_rows.ENTRY and accounts.is_settled(run, made.accounts):
            stamps.write(
                run, layout, out_dir, _kinds(formats, families), before,
                Made(paths, shown, made.keys, made.stages, made.study.looks),
            )  # fmt: skip
    return _collected(paths, shown)


def _kinds(formats: Sequence[Format], families: Sequence[Family]) -> list[str]:
    return [*formats, *(family.__name__ for family in families)]


def whole(held: Study) -> Renewed:
    """What tables are written from, of a whole run."""
    results = cells_tables.results(held)
    kinds, books = sets_table.Kinds(held), Books(held.run)
    account = accounting_tables.account(held, books)
    kept = kept_rows.keep(held, account, books, kinds, results)
    keys, stages = kept_rows.tasks(held.plan)
    known = kept.known if kept is not None else bytes([kept_rows.known(held, key) for key in keys])
    return Renewed(held, kinds, Cells(results), account, books.accounts, kept, keys, stages, known)


def write(made: Renewed, out_dir: Path, formats: Sequence[Format]) -> list[Path]:
    """All plain tables."""
    held, kept = made.study, made.kept
    costs, attempts, spoilt = made.account.tables()
    lines: dict[str, Iterable[bytes | memoryview]] = {}
    if kept is not None and tuple(formats) == ("csv",):
        lines = {"results": [kept.lines.data], "attempts": [one.line for one in kept.charges]}
    rows = () if "results" in lines else results_table.columns(held, made.kinds, held.plan)
    tables = (
        Table("results", RESULTS, rows),
        *made.cells.tables(),
        *sets_table.tables(held, made.kinds),
        *measures.tables(held.plan, held.lineage, held.measures, held.states),
        *failures_table.tables(held),
        costs,
        attempts,
        spoilt,
    )
    return [
        path
        for table in tables
        for path in (
            [table_files.write_lines(table, lines[table.name], out_dir)]
            if table.name in lines
            else table_files.write(table, out_dir, formats)
        )
    ]


def _collected(paths: list[Path], shown: Shown) -> Collected:
    return Collected(paths, TABLE, shown.table, shown.scores, shown.problems, shown.notes)


def few(problems: Sequence[str], out_dir: Path) -> list[str]:
    """The problems for the screen; where they are many, the first, and all of them in a file beside the tables."""
    path = out_dir / "problems.txt"
    if len(problems) <= _SHOWN:
        path.unlink(missing_ok=True)
        return list(problems)
    write_text(path, "".join(f"{printable(problem)}\n" for problem in problems))
    return [*problems[:_SHOWN], f"… and {len(problems) - _SHOWN} more lines, all of them in {path}"]
