"""A set that is made in shards, each an element of its own on a real Slurm, with its real stages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from condhpc import arrays, runs, store
from condhpc.layout import TaskFolder
from tests.slurm.conftest import DevCluster
from tests.slurm.lab import Lab, lab_on_cpus

pytestmark = pytest.mark.slurm

MANIFEST = """
name = "shards"
datasets = ["digits"]
condensers = ["rded"]
ipc = [1]
protocols = ["erm"]
students = ["convnet3"]

[teachers.single]
arch = "convnet3"
epochs = 1

[training.digits]
epochs = 1
"""


@pytest.fixture
def lab(cluster: DevCluster, tmp_path: Path) -> Iterator[Lab]:
    """A root on the nodes' CPUs, one task to an element."""
    yield from lab_on_cpus(cluster, tmp_path / "lab")


def folder_of_set(lab: Lab) -> TaskFolder:
    """Where the run's set is."""
    line = next(line for line in runs.plan(lab.run()) if line.stage == "condense" and line.label.shard is None)
    return lab.layout.task("condense", line.key)


def images_of(lab: Lab) -> np.ndarray:
    """The images of the run's set."""
    folder = folder_of_set(lab)
    record = store.read_record(folder)
    assert record is not None
    return arrays.read_condensed_set(store.verified(folder, record, "set")).images_NHWC


def test_shards_side_by_side_give_what_one_task_gives(lab: Lab) -> None:
    """Three shards in one array, then the set, which waits for these and its teacher; same images as in one task."""
    path = lab.root / "shards.toml"
    path.write_text(MANIFEST)
    stages = lab.profile["stages"]
    lab.profile["stages"] = stages | {"condense": {"shards": 3}}
    lab.condhpc("submit", path)
    lab.wait_for({"recorded": 6}, timeout_s=240)
    sent = [s for s in runs.submissions(lab.run()) if s.intent.stage == "condense"]
    assert [len(s.intent.elements) for s in sent] == [3, 1]
    assert sent[0].reply is not None
    job = sent[0].reply.job
    assert sent[1].intent.after == (f"afterok:{lab.job('teacher')}_0:{job}_0:{job}_1:{job}_2",)
    in_shards = images_of(lab)

    folder_of_set(lab).record.unlink()
    lab.profile["stages"] = stages
    lab.condhpc("submit", path)
    lab.wait_for({"recorded": 3}, timeout_s=240)
    np.testing.assert_array_equal(images_of(lab), in_shards)
