"""`collect`, through click's runner: what is shown, written, and left as it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from made_commands import call, local_run
from made_runs import MadeRun

from condhpc import cli_collect
from condhpc.layout import Layout, RunFolder
from condhpc.observe import Observer

pytestmark = pytest.mark.usefixtures("no_own_profile")


@pytest.fixture
def made(tmp_path: Path) -> MadeRun:
    """A local run without tasks yet."""
    return local_run(tmp_path)


def test_collect_shows_the_cells_and_the_files(made: MadeRun, tmp_path: Path) -> None:
    """The table and ten paths on stdout; a cell without results is a row that says so."""
    made.evaluate(made.condense(), 0)
    made.write()
    result = call("collect", "--plain", "--out", "tables")
    assert result.exit_code == 0
    assert re.search(r"digits +random +1 +erm +convnet3 +0 +missing", result.stdout)
    assert sorted(p.name for p in (tmp_path / "tables").iterdir()) == [
        "attempts.csv", "cells.csv", "cost.csv", "failures.csv", "metric_cells.csv", "metrics.csv", "results.csv",
        "scores.csv", "sets.csv", "waste.csv",
    ]  # fmt: skip
    assert "tables/results.csv" in result.stdout


def test_collect_writes_a_papers_files_too(made: MadeRun, tmp_path: Path) -> None:
    """Unless `--plain` is said there is a folder `paper` beside the tables, and its files are listed."""
    made.evaluate(made.condense(), 0)
    made.write()
    result = call("collect", "--out", "tables")
    assert result.exit_code == 0
    assert "tables/paper/verdict.md" in result.stdout
    assert "missing 0/1" in (tmp_path / "tables" / "paper" / "accuracy.md").read_text()


def test_collect_shows_scores_in_the_place_of_accuracies(made: MadeRun, tmp_path: Path) -> None:
    """Fractions with four decimals; what cannot be computed is empty."""
    sets = [made.condense(name, seed=None) for name in ("random", "herding")]
    keys = [made.evaluate(set_key) for set_key in sets]
    made.write()
    for set_key, key, top1_pct in zip(sets, keys, (60.0, 71.26), strict=True):
        made.folder(set_key)
        made.record(key, {"top1_pct": top1_pct, "test_count": 360})
    result = call("collect", "--scores", "--out", "tables")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0].split() == [
        "dataset", "condenser", "ipc", "protocol", "student", "hlr", "ior", "lrs", "ars", "gap_to_full",
    ]  # fmt: skip
    assert re.search(r"digits +herding +1 +erm +convnet3 +0.1126\n", result.stdout)
    assert "tables/scores.csv" in result.stdout


def test_collect_with_an_unreadable_record_writes_the_rest_and_exits_with_3(made: MadeRun) -> None:
    """The path of the bad record is on stderr."""
    key = made.evaluate(made.condense(), 0)
    made.write()
    made.folder(key).record.write_bytes(b"{")
    result = call("collect", "--out", "tables")
    assert result.exit_code == 3
    assert key in result.stderr
    assert Path("tables/cells.csv").exists()


def test_collect_again_says_the_same_without_asking_anybody(made: MadeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all is recorded and nothing changed; with `--rescan`, and for other formats, it looks."""
    key = made.evaluate(made.condense(), 0)
    made.write()
    for line in made.lines:
        made.record(line.key, {"top1_pct": 71.25, "test_count": 360} if line.key == key else {})
    first = call("collect", "--out", "tables")
    looked: list[str] = []
    plain = cli_collect.observer_of

    def watched(run: RunFolder, layout: Layout) -> Observer:
        looked.append(run.name)
        return plain(run, layout)

    monkeypatch.setattr(cli_collect, "observer_of", watched)
    again = call("collect", "--out", "tables")
    assert (again.exit_code, again.stdout, again.stderr) == (0, first.stdout, first.stderr)
    assert looked == []
    for more in (["--rescan"], ["--format", "json,csv"], ["--format", "json"]):
        assert call("collect", "--out", "tables", *more).exit_code == 0
    assert len(looked) == 3
    assert Path("tables/cells.json").exists()


@pytest.mark.parametrize("data", [None, b"{"])
def test_collect_of_a_complete_run_does_without_its_profile(made: MadeRun, data: bytes | None) -> None:
    """Each time one line and exit status 3, the tables are there; with work left it cannot know what goes on."""
    key = made.evaluate(made.condense(), 0)
    made.write()
    for line in made.lines:
        if line.key != key:
            made.record(line.key)
    made.run.profile.unlink() if data is None else made.run.profile.write_bytes(data)
    assert call("collect", "--plain", "--out", "tables").exit_code == 2
    made.record(key, {"top1_pct": 71.25, "test_count": 360})
    for _ in range(2):
        result = call("collect", "--plain", "--out", "tables")
        assert result.exit_code == 3, result.stderr
        assert [line for line in result.stderr.splitlines() if "profile.json: cannot be read; all tasks" in line]
        assert Path("tables", "results.csv").exists()


def test_collect_knows_its_formats(made: MadeRun) -> None:
    """Another one is named, with those that there are."""
    made.write()
    result = call("collect", "--format", "csv,xlsx")
    assert result.exit_code == 2
    assert "xlsx: known are csv, json, parquet" in result.stderr
