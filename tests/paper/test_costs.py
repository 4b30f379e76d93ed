"""Costs of condensers: means over their sets, never over types of GPU."""

from __future__ import annotations

from pathlib import Path

import msgspec
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


def test_sets_with_and_without_a_gpu_have_no_mean_gpu_hours(tmp_path: Path) -> None:
    """The mean of 0 and of hours would be the cost of neither."""
    paper = MadePaper(
        tmp_path, without=frozenset({"herding", "kcenter", "sre2l", "minimax"}), student_seeds=(0,)
    ).fill()
    record = paper.made.folder(paper.sets["rded", 1, 2]).record
    held = msgspec.json.decode(record.read_bytes())
    record.write_bytes(msgspec.json.encode(held | {"cost": {"wall_s": 9.0, "cpu_s": 9.0, "gpu_s": 0.0}}))
    one = next(one for one in said(paper).costs if (one.condenser, one.ipc) == ("rded", 1))
    assert (one.gpu_types, one.figures["gpu_h"], one.figures["over_full"]) == (("NVIDIA H200",), "n/a", "n/a")


def on_cpus(paper: MadePaper) -> MadePaper:
    """The same run without any GPU: 360 CPU seconds and 3.6 kJ per task."""
    for line in paper.made.lines:
        record = paper.made.folder(line.key).record
        if record.exists():
            held = msgspec.json.decode(record.read_bytes())
            energy = [{"part": "cpu", "joules": 3600.0, "grade": "C", "source": "", "window_s": 360.0}]
            cost = {"wall_s": 360.0, "cpu_s": 360.0, "gpu_s": 0.0}
            record.write_bytes(msgspec.json.encode(held | {"cost": cost, "energy": energy}))
    return paper


def test_work_on_cpus_is_no_column_of_zeros(tmp_path: Path) -> None:
    """Alone and shared are in CPU-hours and kWh, students too, and no GPU-hours are shown."""
    paper = on_cpus(MadePaper(tmp_path, without=frozenset({"kcenter", "sre2l", "minimax"}), student_seeds=(0,)).fill())
    (grid,) = costs.page(said(paper).costs).grids
    assert not [title for title in grid.header if "GPU-h" in title]
    row = next(row for row in grid.rows if (row[0].text, row[2].text) == ("rded", "1"))
    shown = dict(zip(grid.header, (value.text for value in row), strict=True))
    assert (shown["CPU-h"], shown["kWh"]) == ("0.1", "0.001 C")
    assert float(shown["CPU-h alone"]) > float(shown["CPU-h shared"]) > 0.1
    assert float(shown["kWh alone"]) > float(shown["kWh shared"]) > 0.001
    assert float(shown["students' CPU-h"]) > 0


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
