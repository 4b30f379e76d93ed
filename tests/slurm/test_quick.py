"""The quick manifest, with its real stages, from submit to CSV on a real Slurm."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from condhpc import runs
from tests.slurm.conftest import DevCluster
from tests.slurm.lab import drain_queue, make_lab

pytestmark = pytest.mark.slurm

QUICK = Path(__file__).parents[2] / "manifests" / "quick.toml"
SHORTER = {
    "\nepochs = 150": "\nepochs = 40",
    "full_epochs = 20": "full_epochs = 5",
    "\nepochs = 20": "\nepochs = 12",  # of both teachers
    "student_seeds = [0, 1]": "student_seeds = [0]",
}
"""`make demo` runs it whole; here what Slurm does with it counts, and its students need not learn to the end."""


def shortened(text: str) -> str:
    """The same cells, of one student each, with shorter trainings."""
    for long, short in SHORTER.items():
        assert long in text, f"quick.toml: expected '{long}'"
        text = text.replace(long, short)
    return text


def test_the_quick_manifest_end_to_end(cluster: DevCluster, tmp_path: Path) -> None:
    """Arrays, packs and dependencies; all tasks recorded; the tables are complete and better than chance."""
    lab = make_lab(cluster, tmp_path, real_stages=True)
    # Two cores carry this: few elements at a time, and packs that share the import of torch.
    lab.profile["stages"] = {"default": lab.profile["stages"]["default"] | {"pack": 12, "max_running": 2}}
    manifest = tmp_path / QUICK.name
    manifest.write_text(shortened(QUICK.read_text()))
    lab.condhpc("submit", manifest)
    tasks = len(runs.plan(lab.run()))
    lab.wait_for({"recorded": tasks}, timeout_s=900)
    lab.condhpc("collect", "--out", tmp_path / "out")
    cells = list(csv.DictReader((tmp_path / "out" / "cells.csv").read_text().splitlines()))
    assert len(cells) == (4 + 1) * 2 * 2 + 2  # condensers and one reference line by ipc, the other without
    assert all(cell["status"] == "complete" and float(cell["top1_pct_mean"]) > 30.0 for cell in cells)
    results = list(csv.DictReader((tmp_path / "out" / "results.csv").read_text().splitlines()))
    assert len(results) == sum(line.stage == "evaluate" for line in runs.plan(lab.run()))
    assert (tmp_path / "out" / "failures.csv").read_text().count("\n") == 1
    after = {part.partition(":")[0] for s in runs.submissions(lab.run()) for part in s.intent.after}
    assert after <= {"afterok", "afterany"}
    drain_queue(cluster)
