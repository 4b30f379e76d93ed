"""Whether tables are still those of their run: what a stamp notices."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable
from pathlib import Path

import pytest
from made_runs import MadeRun

import condhpc
from condhpc import collect, observe, unchanged


@pytest.fixture
def made(tmp_path: Path) -> MadeRun:
    """A complete run whose tables are in `out`."""
    found = MadeRun(tmp_path / "root")
    for seed in range(3):
        found.condense(seed=seed)
    found.write()
    for line in found.lines:
        found.record(line.key, {})
    shot = observe.snapshot(found.run, found.layout, None)
    collect.collect(found.run, found.layout, found.layout.root / "out", shot, families=())
    return found


def look(made: MadeRun) -> bool:
    """Whether nothing changed."""
    return unchanged.look(made.run, made.layout, made.layout.root / "out", ("csv",)) is not None


def _resubmit(made: MadeRun) -> None:
    made.submit([made.lines[0].key])


def _touch_record(made: MadeRun) -> None:
    record = made.folder(made.lines[1].key).record
    record.write_bytes(record.read_bytes() + b" ")


def _move_task(made: MadeRun) -> None:
    folder = made.folder(made.lines[2].key).path
    folder.rename(made.layout.root / "aside")


def _lose_table(made: MadeRun) -> None:
    (made.layout.root / "out" / "sets.csv").unlink()


def _charge(made: MadeRun) -> None:
    made.run.accounting.write_text("{}\n")


def _tear(made: MadeRun) -> None:
    (made.layout.root / "out" / ".collected").write_bytes(b"torn")


@pytest.mark.parametrize("change", [_resubmit, _touch_record, _move_task, _lose_table, _charge, _tear])
def test_every_change_is_noticed(made: MadeRun, change: Callable[[MadeRun], None]) -> None:
    """Of the run, of a record, of the store, of a table, of the accounts, of the stamp."""
    assert look(made)
    change(made)
    assert not look(made)


def test_asking_for_a_budget_changes_nothing(made: MadeRun) -> None:
    """When the accounting was asked last is not in the accounts."""
    made.run.accounting_asked.touch()
    assert look(made)


@pytest.mark.parametrize("folder", ["", "paper"])
def test_a_source_file_in_place_of_a_newer_one_is_other_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    """Copies may keep their age; what an interpreter leaves beside the sources is no code."""
    home = tmp_path / "condhpc"
    (home / "paper").mkdir(parents=True)
    for path in (home / "__init__.py", home / "tables.py", home / "paper" / "tables.py"):
        path.write_text("A = 1\n")
        os.utime(path, (2e9, 2e9))
    monkeypatch.setattr(condhpc, "__file__", str(home / "__init__.py"))
    before = unchanged.code()
    (home / "__pycache__").mkdir()
    assert unchanged.code() == before
    os.utime(home / folder / "tables.py", (1.9e9, 1.9e9))
    assert unchanged.code() != before


def test_a_run_that_changes_while_its_tables_are_made_gets_no_stamp(made: MadeRun) -> None:
    """Else what came meanwhile would go unnoticed."""
    out = made.layout.root / "out"
    unchanged.forget(out)
    before = unchanged.begin(made.run)
    made.submit([made.lines[0].key])
    shown = unchanged.Shown([], [], [], [])
    unchanged.write(made.run, made.layout, out, ("csv",), before, unchanged.Made([], shown, [], b"", array("q")))
    assert not (out / ".collected").exists()
