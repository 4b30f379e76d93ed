"""A budget that is used up on a real Slurm: what waits is held, what runs ends, and raising it goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.conftest import DevCluster
from tests.slurm.lab import Lab, drain_queue, make_lab

pytestmark = pytest.mark.slurm


@pytest.fixture
def lab(cluster: DevCluster, tmp_path: Path) -> Iterator[Lab]:
    """Three elements of two evaluations each, one element at a time."""
    found = make_lab(cluster, tmp_path)
    found.profile["stages"]["evaluate"] = {"pack": 2, "max_running": 1}
    found.write(student_seeds=[0, 1, 2, 3, 4, 5])
    yield found
    drain_queue(cluster)


def queue(lab: Lab) -> set[tuple[str, str]]:
    """State and reason of what is in the queue."""
    lines = lab.cluster.run("squeue", "-h", "-r", "-o", "%T %r").stdout.splitlines()
    return {(state, reason) for state, _, reason in (line.partition(" ") for line in lines)}


def test_used_up_held_raised_and_done(lab: Lab) -> None:
    """The running task ends, its worker begins no other, waiting elements are held; raised, all is recorded."""
    lab.behave(evaluate={"steps": 150, "step_s": 0.1})
    lab.condhpc("submit", lab.root / "lab.toml", "--budget", "50gpuh")
    lab.wait_for({"running": 1, "queued": 5}, "evaluate")
    lab.condhpc("budget", "--set", "0.0001gpuh")
    assert {reason for state, reason in queue(lab) if state == "PENDING"} <= {"JobHeldAdmin", "JobHeldUser"}
    lab.wait_for({"recorded": 1, "over_budget": 5}, "evaluate")
    lab.condhpc("status", expect=1)
    lab.cluster.wait_until("nothing runs", lambda: not any(state == "RUNNING" for state, _ in queue(lab)))
    assert "0.0001 GPU-h" in lab.run().over_budget.read_text()
    (log,) = lab.run().logs.glob("*-evaluate-*/0.log")
    assert "over_budget: 1 tasks are not begun" in log.read_text()
    lab.condhpc("submit", "--continue", expect=2)  # nothing is left for it
    lab.behave()
    lab.condhpc("budget", "--set", "50gpuh")
    lab.wait_for({"recorded": 5, "new": 1}, "evaluate")
    lab.condhpc("submit", "--continue")
    lab.wait_for({"recorded": 6}, "evaluate")
    told = lab.condhpc("budget").splitlines()
    charged = {line.split()[0]: float(line.split()[1]) for line in told[1:4]}
    rows = lab.cluster.run("sacct", "-nXDP", "-o", "JobName,ElapsedRaw,AllocTRES").stdout.splitlines()
    own = [row.split("|") for row in rows if row.startswith(f"condhpc-{lab.run().name}-")]
    assert charged["gpu_h"] == pytest.approx(sum(int(s) for _, s, tres in own if "gres/gpu" in tres) / 3600, abs=6e-3)


def test_a_plan_above_the_budget_is_refused(lab: Lab) -> None:
    """Nothing is sent, no run is made, and the message has both figures."""
    lab.condhpc("submit", lab.root / "lab.toml", "--budget", "0.0001gpuh", expect=2)
    assert lab.layout.run_names() == []
    assert queue(lab) == set()


def test_hard_ends_what_runs(lab: Lab) -> None:
    """Running tasks checkpoint and end; nothing is requeued."""
    lab.behave(evaluate={"steps": 600, "step_s": 0.1})
    lab.condhpc("submit", lab.root / "lab.toml", "--budget", "50gpuh")
    lab.wait_for({"running": 1, "queued": 5}, "evaluate")
    lab.condhpc("budget", "--set", "0.0001gpuh", "--hard")
    lab.wait_for({"over_budget": 6}, "evaluate")
