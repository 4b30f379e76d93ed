"""Costs of condensers: means over their sets, never over types of GPU."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_papers import GPU_S, MadePaper, Written, said

from condhpc.paper import costs
from condhpc.sets_table import Kinds


def test_figures_are_those_of_the_records(written: Written) -> None:
    """GPU-hours of a set's own task, and against a whole training of one GPU-hour."""
    found = {(one.condenser, one.ipc): one for one in costs.of_study(written.study, Kinds(written.study))}
    one = found["minimax", 10]
    assert one.figures["gpu_h"] == pytest.approx(10 * GPU_S["minimax"] / 3600, rel=1e-5)
    assert one.figures["over_full"] == pytest.approx(10 * GPU_S["minimax"] / 3600, rel=1e-5)
    assert (one.n, one.planned, one.gpu_types) == (3, 3, ("NVIDIA H200",))
    assert found["random", 1].gpu_types == ()
    assert found["rded", 1].grades == ("C", "D")


def test_sets_on_several_gpus_have_no_mean_hours(tmp_path: Path) -> None:
    """Hours of two types are never added, nor is their mean taken; CPU-hours remain, and a note says why."""
    paper = MadePaper(
        tmp_path, without=frozenset({"herding", "kcenter", "sre2l", "minimax"}), student_seeds=(0,)
    ).fill()
    paper.rewrite(paper.sets["rded", 1, 2], environment={"gpu": "NVIDIA L4"})
    one = next(one for one in said(paper).costs if (one.condenser, one.ipc) == ("rded", 1))
    assert [one.figures[name] for name in ("gpu_h", "standalone_gpu_h", "amortised_gpu_h", "over_full")] == ["n/a"] * 4
    assert isinstance(one.figures["cpu_h"], float)
    assert "sets made on several devices (NVIDIA H200 and NVIDIA L4)" in one.notes


def test_missing_sets_are_visible(tmp_path: Path) -> None:
    """A condenser without a recorded set keeps its row; one with some says how many."""
    paper = MadePaper(tmp_path, without=frozenset({"kcenter", "sre2l", "minimax"}), student_seeds=(0,)).fill()
    for name, seed in (("herding", None), ("rded", 0)):
        paper.made.folder(paper.sets[name, 1, seed]).record.unlink()
    found = said(paper)
    (grid,) = costs.page(found.costs).grids
    rows = {(row[0].text, row[2].text): row for row in grid.rows}
    assert rows["herding", "1"][3].text == "missing 0/1"
    assert "2 of 3 sets recorded" in rows["rded", "1"][0].notes
    assert all(len(row) == len(grid.header) for row in grid.rows)
