"""Several tasks of an element at a time, on a real Slurm."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from condhpc import runs, store
from condhpc.layout import TaskFolder
from tests.slurm.conftest import DevCluster
from tests.slurm.lab import Lab, drain_queue, make_lab

pytestmark = pytest.mark.slurm


@pytest.fixture
def lab(cluster: DevCluster, tmp_path: Path) -> Iterator[Lab]:
    """Four evaluations share an element with a GPU, two at a time."""
    found = make_lab(cluster, tmp_path)
    found.profile["stages"]["evaluate"] = {"pack": 4, "concurrent": 2}
    found.write(student_seeds=[0, 1, 2, 3])
    yield found
    drain_queue(cluster)


def folders(lab: Lab) -> list[TaskFolder]:
    """Of the run's evaluations."""
    return [lab.layout.task("evaluate", line.key) for line in runs.plan(lab.run()) if line.stage == "evaluate"]


def test_four_tasks_two_at_a_time(lab: Lab) -> None:
    """One element, each task recorded by one attempt, charged half a GPU while two share it."""
    lab.behave(evaluate={"steps": 60, "step_s": 0.1})
    lab.condhpc("submit", lab.root / "lab.toml")
    lab.wait_for({"running": 2, "queued": 2}, "evaluate")
    lab.wait_for({"recorded": 4}, "evaluate")
    for folder in folders(lab):
        record = store.read_record(folder)
        assert record is not None
        assert (record.attempt, record.environment["lanes"]) == (1, 2)
        assert record.cost["gpu_s"] == pytest.approx(0.5 * record.cost["wall_s"], abs=0.01)
    assert {len(steps) for steps in lab.steps("evaluate").values()} == {60}


def test_usr2_stops_both_lanes_and_one_requeue_finishes(lab: Lab) -> None:
    """Slurm signals the element's first process alone: both running tasks checkpoint, it is requeued once, goes on."""
    lab.behave(evaluate={"steps": 300, "step_s": 0.1})
    lab.condhpc("submit", lab.root / "lab.toml")
    lab.wait_for({"running": 2, "queued": 2}, "evaluate")
    job = f"{lab.job('evaluate')}_0"
    lab.cluster.run("scancel", "--batch", "--signal=USR2", job)
    saved = "both have saved"
    lab.cluster.wait_until(saved, lambda: sum(folder.checkpoint(1).exists() for folder in folders(lab)) == 2)
    lab.behave(evaluate={"steps": 300})
    lab.restart_now(job)
    lab.wait_for({"recorded": 4}, "evaluate")
    assert all(sorted(set(steps)) == list(range(300)) for steps in lab.steps("evaluate").values())
    assert all(len(steps) < 310 for steps in lab.steps("evaluate").values()), "no task started over"


def test_scancel_stops_both_lanes_with_checkpoints(lab: Lab) -> None:
    """Both running tasks end with what they have, nothing more starts, and the next submit goes on from there."""
    lab.behave(evaluate={"steps": 300, "step_s": 0.1})
    lab.condhpc("submit", lab.root / "lab.toml")
    lab.wait_for({"running": 2, "queued": 2}, "evaluate")
    lab.cluster.run("scancel", f"{lab.job('evaluate')}_0")
    lab.cluster.wait_until("nothing is live", lambda: not set(lab.states("evaluate")) & {"running", "queued"})
    assert sum(folder.checkpoint(1).exists() for folder in folders(lab)) == 2
    lab.behave(evaluate={"steps": 300})
    lab.condhpc("submit", "--continue")
    lab.wait_for({"recorded": 4}, "evaluate")
    assert all(len(steps) < 310 for steps in lab.steps("evaluate").values())
