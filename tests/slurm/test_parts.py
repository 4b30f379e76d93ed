"""A split that is embedded in parts, each an element of its own on a real Slurm, with its real stages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from condhpc import arrays, runs, store
from tests.slurm.conftest import DevCluster
from tests.slurm.lab import Lab, lab_on_cpus

pytestmark = pytest.mark.slurm

MANIFEST = """
name = "parts"
datasets = ["digits"]
condensers = ["kcenter"]
ipc = [3]
protocols = ["erm"]
students = ["convnet3"]
metrics = ["coverage"]

[params.kcenter]
encoder = "pixels"

[params.coverage]
encoder = "pixels"

[training.digits]
epochs = 1
"""
SMALL_PARTS = "from condhpc import cli, recipe; recipe.EMBED_ROWS = 2 * recipe.EMBED_BATCH; cli.main()"
"""condhpc as it would be if 512 images were many."""


@pytest.fixture
def lab(cluster: DevCluster, tmp_path: Path) -> Iterator[Lab]:
    """A root on the nodes' CPUs, one task to an element."""
    yield from lab_on_cpus(cluster, tmp_path / "lab")


def outcome(lab: Lab) -> tuple[np.ndarray, float]:
    """Which images the run's set holds, and how it measures."""
    found = {line.stage: lab.layout.task(line.stage, line.key) for line in runs.plan(lab.run())}
    records = {stage: store.read_record(found[stage]) for stage in ("condense", "analyze")}
    assert all(record is not None for record in records.values())
    chosen = arrays.read_condensed_set(store.verified(found["condense"], records["condense"], "set")).source_index_N
    assert chosen is not None
    return chosen, records["analyze"].values["value"]


def test_parts_side_by_side_give_what_one_task_gives(lab: Lab) -> None:
    """Three elements of one array embed; the set waits for just these three; neither set nor measure differ."""
    path = lab.root / "parts.toml"
    path.write_text(MANIFEST)
    lab.entry = ("-c", SMALL_PARTS)
    lab.condhpc("submit", path)
    lab.wait_for({"recorded": 6}, timeout_s=200)
    sent = {s.intent.stage: s for s in runs.submissions(lab.run()) if s.reply is not None}
    assert len(sent["embed"].intent.elements) == 3
    job = lab.job("embed")
    assert sent["condense"].intent.after == (f"afterok:{job}_0:{job}_1:{job}_2",)
    in_parts = outcome(lab)

    lab.entry = ("-m", "condhpc")
    lab.condhpc("submit", path)
    lab.wait_for({"recorded": 4}, timeout_s=200)
    whole = outcome(lab)
    assert np.array_equal(in_parts[0], whole[0])
    assert in_parts[1] == whole[1]
