"""What becomes of a run on a real Slurm when everything goes right, and when it does not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from condhpc import runs, store
from tests.slurm.conftest import DevCluster
from tests.slurm.lab import Lab, drain_queue, make_lab, wrapped_sbatch

pytestmark = pytest.mark.slurm


@pytest.fixture
def lab(cluster: DevCluster, tmp_path: Path) -> Iterator[Lab]:
    """A fresh root on the shared cluster."""
    yield make_lab(cluster, tmp_path)
    drain_queue(cluster)


def accounted(lab: Lab, job: str) -> list[list[str]]:
    """Rows of sacct over all attempts of an array: id, state, allocated TRES."""
    done = lab.cluster.run("sacct", "-nXDP", "-j", job, "-o", "JobID,State,AllocTRES")
    return [line.split("|") for line in done.stdout.splitlines()]


def test_arrays_run_in_order_of_their_inputs(lab: Lab) -> None:
    """A whole small grid runs by arrays; each dependant waits for exactly the element that holds its input."""
    lab.write(condensers=["random", "herding"], ipc=[1, 2], protocols=["erm", "single_teacher"])
    lab.condhpc("submit", lab.root / "lab.toml")
    lab.wait_for({"recorded": 1 + 1 + 4 + 8})
    lab.condhpc("status", expect=0)
    held = runs.submissions(lab.run())
    waiting = [s.intent for s in held if s.intent.stage == "evaluate"]
    assert waiting
    assert all("_" in part for intent in waiting for part in intent.after), "named by element"
    assert all(any(part.startswith("afterok:") for part in i.after) for i in waiting)


def test_submitting_twice_does_nothing(lab: Lab) -> None:
    """While the first submission is live, and after it has finished, the same manifest adds no job and no run."""
    lab.behave(evaluate={"steps": 20, "step_s": 0.1})
    manifest = lab.write()
    lab.condhpc("submit", manifest)
    before = len(runs.submissions(lab.run()))
    lab.condhpc("submit", manifest)
    assert len(lab.layout.run_names()) == 1
    lab.wait_for({"recorded": 2})
    lab.condhpc("submit", manifest)
    assert len(lab.layout.run_names()) == 1
    assert len(runs.submissions(lab.run())) == before


def test_concurrent_submits_compute_nothing_twice(lab: Lab) -> None:
    """Two submits of one manifest at the same moment: every task has one attempt."""
    manifest = lab.write(ipc=[1, 2], student_seeds=[0, 1])
    env = lab.cluster.env | {"CONDHPC_PROFILE": str(lab.write_profile())} | lab.env
    command = [sys.executable, "-m", "condhpc", "--root", str(lab.root), "submit", str(manifest)]
    both = [subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [p.wait(60) for p in both] == [0, 0]
    lab.wait_for({"recorded": 2 + 4})
    assert sum(len(steps) for stage in ("condense", "evaluate") for steps in lab.steps(stage).values()) == 6


def test_a_failed_teacher_starts_no_gpu_and_retry_finishes(lab: Lab) -> None:
    """Dependants of a failed task never start; after the cause is mended `retry` completes the run."""
    lab.behave(teacher={"fail": ["convnet3"]})
    lab.write(condensers=["herding"], protocols=["single_teacher"])
    lab.condhpc("submit", lab.root / "lab.toml")
    lab.wait_for({"failed": 1, "blocked": 3})
    lab.condhpc("status", expect=1)
    jobs = {stage: lab.job(stage) for stage in ("embed", "condense", "evaluate")}
    for job in jobs.values():
        assert not any(tres for _, _, tres in accounted(lab, job)), "no dependant was ever allocated anything"
    lab.behave()
    lab.condhpc("retry")
    lab.wait_for({"recorded": 4})


def test_grouped_dependants_end_blocked(lab: Lab) -> None:
    """Beyond `max_submissions` sets are grouped; tasks of a failed set end blocked, the others are recorded."""
    lab.profile["max_submissions"] = 2
    lab.behave(condense={"fail": ["kcenter"]}, embed={}, teacher={})
    lab.profile["stages"]["evaluate"] = {"pack": 4}
    lab.write(condensers=["random", "herding", "kcenter"], ipc=[1])
    lab.condhpc("submit", lab.root / "lab.toml")
    lab.wait_for({"recorded": 2, "blocked": 1}, "evaluate")
    assert lab.states("condense") == {"recorded": 2, "failed": 1}
    lab.behave()
    lab.condhpc("retry")
    lab.wait_for({"recorded": 3}, "evaluate")


def test_scancel_of_pending_and_running_elements(lab: Lab) -> None:
    """Elements cancelled behind our back, waiting or running, are noticed and finished by the next submit."""
    lab.behave(evaluate={"steps": 600, "step_s": 0.1})
    lab.profile["stages"]["evaluate"] = {"max_running": 1}
    manifest = lab.write(student_seeds=[0, 1])
    lab.condhpc("submit", manifest)
    lab.wait_for({"running": 1, "queued": 1}, "evaluate")
    job = lab.job("evaluate")
    lab.cluster.run("scancel", f"{job}_1")
    lab.cluster.run("scancel", f"{job}_0")
    lab.cluster.wait_until("nothing is live", lambda: not set(lab.states("evaluate")) & {"running", "queued"})
    lab.condhpc("status", expect=1)
    lab.behave()
    lab.condhpc("submit", "--continue")
    lab.wait_for({"recorded": 2}, "evaluate")


def test_cancel_and_continue(lab: Lab) -> None:
    """`cancel --yes` ends a run, running tasks checkpoint; `submit --continue` takes it up where it was."""
    lab.behave(evaluate={"steps": 100, "step_s": 0.1})
    lab.write()
    lab.condhpc("submit", lab.root / "lab.toml")
    lab.wait_for({"running": 1}, "evaluate")
    lab.condhpc("cancel", "--yes")
    lab.cluster.wait_until("nothing runs", lambda: "running" not in lab.states("evaluate"))
    lab.behave(evaluate={"steps": 100})
    lab.condhpc("submit", "--continue")
    lab.wait_for({"recorded": 1}, "evaluate")
    (steps,) = lab.steps("evaluate").values()
    assert sorted(set(steps)) == list(range(100))
    assert len(steps) < 200, "the second attempt went on from the checkpoint"


def test_requeue_resumes_from_the_checkpoint(lab: Lab) -> None:
    """`scontrol requeue` mid-task: the same element goes on from its checkpoint, with its own lease taken over."""
    lab.behave(evaluate={"steps": 80, "step_s": 0.1})
    lab.write()
    lab.condhpc("submit", lab.root / "lab.toml")
    lab.wait_for({"running": 1}, "evaluate")
    (key,) = [p.key for p in runs.plan(lab.run()) if p.stage == "evaluate"]
    folder = lab.layout.task("evaluate", key)
    lab.cluster.wait_until("there is a checkpoint", folder.checkpoint(1).exists)
    job = f"{lab.job('evaluate')}_0"
    lab.cluster.run("scontrol", "requeue", job)
    lab.restart_now(job)
    lab.wait_for({"recorded": 1}, "evaluate")
    record = store.read_record(folder)
    assert record is not None
    assert record.attempt == 2
    assert record.attempts[0].owner.restarts == 0
    assert len(lab.steps("evaluate")[key]) < 160, "it did not start over"


def test_a_node_that_dies_under_a_task(lab: Lab) -> None:
    """Slurm requeues the element elsewhere; the new start takes the lease over at once."""
    lab.behave(evaluate={"steps": 100, "step_s": 0.1})
    lab.write()
    lab.condhpc("submit", lab.root / "lab.toml")
    lab.wait_for({"running": 1}, "evaluate")
    job = f"{lab.job('evaluate')}_0"
    node = lab.cluster.run("squeue", "-h", "-j", job, "-o", "%N").stdout.strip()
    try:
        lab.cluster.run("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
        lab.restart_now(job)
        lab.wait_for({"recorded": 1}, "evaluate")
    finally:
        lab.cluster.run("scontrol", "update", f"nodename={node}", "state=resume", check=False)  # it may be back


def test_time_limit_checkpoints_and_requeues(lab: Lab) -> None:
    """Near its limit an element checkpoints, requeues itself and goes on from there."""
    lab.profile["signal_s"] = 50
    lab.profile["stages"]["evaluate"] = {"time_min": 1}
    lab.behave(evaluate={"steps": 500, "step_s": 0.1})  # 50 s: the signal comes in between, the limit does not
    lab.write()
    lab.condhpc("submit", lab.root / "lab.toml")
    lab.wait_for({"running": 1}, "evaluate")
    lab.wait_for({"queued": 1}, "evaluate")
    lab.behave(evaluate={"steps": 500})
    lab.restart_now(f"{lab.job('evaluate')}_0")
    lab.wait_for({"recorded": 1}, "evaluate")
    (steps,) = lab.steps("evaluate").values()
    assert sorted(steps) == list(range(500)), "every step was done exactly once"


def test_a_run_goes_on_without_slurmdbd(lab: Lab) -> None:
    """Accounting away: submitting, watching and finishing a run do not need it."""
    lab.cluster.verb("stop", "slurmdbd")
    try:
        lab.behave(evaluate={"steps": 10, "step_s": 0.1})
        lab.write()
        lab.condhpc("submit", lab.root / "lab.toml")
        lab.wait_for({"recorded": 2})
        lab.condhpc("status", expect=0)
        lab.condhpc("collect", "--out", lab.root / "out")
        assert (lab.root / "out" / "results.csv").read_text().count("\n") == 2
    finally:
        lab.cluster.verb("start", "slurmdbd")


def test_a_lost_reply_makes_no_duplicate(lab: Lab, tmp_path: Path) -> None:
    """Sbatch submits and then fails: the job is found by its name, and runs once."""
    lab.env["PATH"] = wrapped_sbatch(tmp_path / "bin", '"$REAL" "$@"; echo "connection lost" >&2; exit 1')
    lab.write(student_seeds=[0, 1])
    lab.condhpc("submit", lab.root / "lab.toml")
    lab.wait_for({"recorded": 3})
    assert all(s.reply is not None and s.reply.job for s in runs.submissions(lab.run()))
    assert all(len(steps) == 1 for steps in lab.steps("evaluate").values())


def test_a_reply_lost_with_the_submitter_is_reconciled(lab: Lab, tmp_path: Path) -> None:
    """The submitter dies after sbatch took the job: the next submit finds the job by name and sends it not again."""
    lab.env["PATH"] = wrapped_sbatch(tmp_path / "bin", '"$REAL" "$@"; kill -9 $PPID; sleep 1')
    manifest = lab.write()
    lab.condhpc("submit", manifest, expect=None)
    open_ones = [s for s in runs.submissions(lab.run()) if s.is_open]
    assert len(open_ones) == 1
    lab.env.pop("PATH")
    lab.condhpc("submit", manifest)
    lab.wait_for({"recorded": 2})
    assert all(len(steps) == 1 for steps in lab.steps("condense").values())


def test_a_refused_sbatch_is_said_and_continued(lab: Lab, tmp_path: Path) -> None:
    """Sbatch refuses: nothing is taken for submitted, and `submit --continue` sends it later."""
    lab.env["PATH"] = wrapped_sbatch(tmp_path / "bin", 'echo "sbatch: error: QOSMaxSubmitJobPerUserLimit" >&2; exit 1')
    manifest = lab.write()
    lab.condhpc("submit", manifest, expect=None)
    assert lab.states() == {"new": 2}
    lab.env.pop("PATH")
    lab.condhpc("submit", "--continue")
    lab.wait_for({"recorded": 2})


def test_a_submit_limit_keeps_the_rest_back(lab: Lab) -> None:
    """Above a submit limit what fits is sent, inputs first; `submit --continue` sends the rest later."""
    lab.profile["submit_limit"] = 2
    lab.write(ipc=[1, 2], student_seeds=[0, 1])
    lab.condhpc("submit", lab.root / "lab.toml")
    lab.wait_for({"recorded": 2, "new": 4})
    lab.condhpc("submit", "--continue")
    lab.wait_for({"recorded": 4, "new": 2})
    lab.condhpc("submit", "--continue")
    lab.wait_for({"recorded": 6})
