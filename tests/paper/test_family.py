"""The files of a paper: written once, left alone while nothing changes, and without figures where none can be drawn."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from made_papers import MadePaper
from made_runs import MadeRun, made_study

import condhpc.paper
from condhpc.paper import family, making


@pytest.fixture
def paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MadePaper:
    """A small paper, without figures, which take seconds."""
    monkeypatch.setitem(sys.modules, "condhpc.paper.figures", None)
    monkeypatch.delattr(condhpc.paper, "figures", raising=False)
    without = frozenset({"kcenter", "sre2l", "minimax"})
    return MadePaper(tmp_path / "root", without=without, student_seeds=(0, 1)).fill()


def test_nothing_changed_writes_nothing(paper: MadePaper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second collect compares nothing and writes no file, and says again what was odd."""
    first = made_study(paper.made)
    paths = family.write(first, tmp_path)
    times = {path: path.stat().st_mtime_ns for path in paths}
    monkeypatch.delattr(making, "files")
    again = made_study(paper.made)
    assert family.write(again, tmp_path) == paths
    assert {path: path.stat().st_mtime_ns for path in paths} == times
    assert first.problems[-1] == again.problems[-1]


def test_a_new_record_is_seen(paper: MadePaper, tmp_path: Path) -> None:
    """Another number behind the same key (a record computed again) makes the pages anew."""
    family.write(made_study(paper.made), tmp_path)
    before = (tmp_path / "paper" / "accuracy.csv").read_text()
    key = paper.evaluations["rded", 1, "erm", 0, 0]
    paper.rewrite(key, top1_pct=12.5, correct_bits="IA==", test_count=8)
    record = paper.made.folder(key).record
    record.write_bytes(record.read_bytes().replace(b'"ended":3.5', b'"ended":4.5'))
    family.write(made_study(paper.made), tmp_path)
    assert (tmp_path / "paper" / "accuracy.csv").read_text() != before


def test_a_file_that_was_deleted_comes_back(paper: MadePaper, tmp_path: Path) -> None:
    """All of them are there after every collect."""
    paths = family.write(made_study(paper.made), tmp_path)
    data = paths[0].read_bytes()
    paths[0].unlink()
    family.write(made_study(paper.made), tmp_path)
    assert paths[0].read_bytes() == data


def test_without_matplotlib_the_rest_is_written(paper: MadePaper, tmp_path: Path) -> None:
    """Tables do not wait for a library that draws."""
    study = made_study(paper.made)
    paths = family.write(study, tmp_path)
    assert {path.suffix for path in paths} == {".csv", ".md", ".tex"}
    assert "no figures, because matplotlib cannot be imported" in study.problems[-1]


def test_a_run_without_records_has_pages(tmp_path: Path) -> None:
    """Planned and not begun: every cell is a visible hole, and nobody has won."""
    made = MadeRun(tmp_path / "root")
    made.evaluate(made.condense("herding", seed=None), 0)
    made.write()
    family.write(made_study(made), tmp_path)
    assert "missing 0/1" in (tmp_path / "paper" / "accuracy.md").read_text()
    assert "No place has both" in (tmp_path / "paper" / "verdict.md").read_text()
