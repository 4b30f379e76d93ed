"""From a run to its tables: the families of tables, each made from one `Study`, and the files that they become."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from condhpc import accounting_tables, failures_table, measures, results_table, sets_table, study
from condhpc.cells_tables import SCORE_TABLE, TABLE, Cells
from condhpc.findings import Snapshot
from condhpc.layout import Layout, RunFolder
from condhpc.study import Study
from condhpc.tables import Cell, Table, write_csv

__all__ = ["FAMILIES", "SCORE_TABLE", "TABLE", "Collected", "Family", "collect"]

Family = Callable[[Study, Path], list[Path]]
"""Writes files of its own kind below the folder and returns their paths; what it cannot use it adds to `problems`."""


def _paper(study: Study, out_dir: Path) -> list[Path]:
    from condhpc.paper import family

    return family.write(study, out_dir)


FAMILIES: tuple[Family, ...] = (_paper,)
"""Beside the plain tables, in the order of their files."""


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


def collect(
    run: RunFolder, layout: Layout, out_dir: Path, shot: Snapshot, families: Sequence[Family] = FAMILIES
) -> Collected:
    """Write all tables; `shot` says what became of unrecorded tasks.

    Only the tables are written, and from equal records the same bytes.
    """
    held = study.read(run, layout, shot.rows)
    cells = Cells(held)
    paths = [write_csv(out_dir / f"{name}.csv", header, rows) for name, header, rows in _tables(held, cells)]
    for family in families:
        paths += family(held, out_dir)
    return Collected(paths, TABLE, cells.on_screen(), cells.scores_on_screen(), held.problems)


def _tables(held: Study, cells: Cells) -> list[Table]:
    kinds = sets_table.Kinds(held)
    return [
        *results_table.tables(held, kinds),
        *cells.tables(),
        *sets_table.tables(held, kinds),
        *measures.tables(held.plan, held.lineage, held.measures, held.states),
        *failures_table.tables(held),
        *accounting_tables.tables(held),
    ]
