"""Teachers and embeddings by two ranks on two nodes of a real Slurm, with their real stages."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from condhpc import arrays, attempt, lease, runs, store
from condhpc.context import Site
from condhpc.layout import Layout, TaskFolder
from condhpc.spec import Stage
from condhpc.store import Record
from tests.slurm.conftest import DevCluster
from tests.slurm.lab import Lab, drain_queue, make_lab

pytestmark = pytest.mark.slurm

MANIFEST = """
name = "ranks"
datasets = ["digits"]
condensers = ["herding"]
ipc = [1]
protocols = ["erm"]
students = ["convnet3"]
set_seeds = [0]
student_seeds = [0]

[training.digits]
epochs = 1

[teachers.single]
arch = "convnet3"
epochs = {epochs}
"""


@pytest.fixture
def lab(cluster: DevCluster, tmp_path: Path) -> Iterator[Lab]:
    """A root whose teachers and embeddings are shared by two nodes."""
    yield two_nodes(cluster, tmp_path / "lab")
    drain_queue(cluster)


def two_nodes(cluster: DevCluster, root: Path) -> Lab:
    """A lab with real stages, on the nodes' CPUs."""
    root.mkdir()
    found = make_lab(cluster, root, real_stages=True)
    default = found.profile["stages"]["default"] | {"gpus": 0, "pack": 4}
    shared = {"nodes": 2, "pack": 1}
    found.profile |= {"device": "cpu", "stages": {"default": default, "teacher": shared, "embed": shared}}
    return found


def submit(lab: Lab, epochs: int) -> None:
    """One small cell behind a teacher of so many epochs of 12 steps."""
    path = lab.root / "ranks.toml"
    path.write_text(MANIFEST.format(epochs=epochs))
    lab.condhpc("submit", path)


def folder(lab: Lab, stage: Stage) -> TaskFolder:
    """Folder of the run's one task of a stage."""
    (key,) = [line.key for line in runs.plan(lab.run()) if line.stage == stage]
    return lab.layout.task(stage, key)


def record(found: TaskFolder) -> Record:
    """A record that must be there."""
    held = store.read_record(found)
    assert held is not None
    return held


def content(found: TaskFolder, kind: str) -> dict[str, np.ndarray]:
    """Arrays of a task's artefact."""
    return arrays.read(store.verified(found, record(found), kind), kind).arrays


def step_reached(lab: Lab, found: TaskFolder, step: int) -> None:
    """Wait until the newest attempt tells a step."""

    def reached() -> bool:
        held = lease.read_attempt(found, lease.latest_number(found))
        return held is not None and held.pulse is not None and held.pulse.step >= step

    try:
        lab.cluster.wait_until(f"step {step} of {found.path}", reached, 60)
    except BaseException:
        print(lab.logs())
        raise


def alone(lab: Lab, found: TaskFolder, root: Path) -> TaskFolder:
    """The same task by one process in another root, with copies of its inputs."""
    task = store.read_task(found)
    shutil.copytree(lab.layout.root / "indexes", root / "indexes")
    for key in task.inputs.values():
        shutil.copytree(lab.layout.task("teacher", key).path, Layout(root).task("teacher", key).path)
    site = Site(root=str(root), device="cpu", patience_s=0.0)
    threads = torch.get_num_threads()
    assert attempt.run(found.task.read_bytes(), site, threading.Event()) == "recorded"
    torch.set_num_threads(threads)
    return Layout(root).task(task.stage, found.path.name)


def test_two_nodes_give_the_numbers_of_one_process(lab: Lab, tmp_path: Path) -> None:
    """Teacher and embedding are recorded by two ranks, under the keys and with the results that one has, to rounding.

    The embedding has the very bits: images that share a forward pass stay together.
    """
    submit(lab, epochs=1)
    lab.wait_for({"recorded": 4}, timeout_s=200)
    for stage in ("teacher", "embed"):
        environment = record(folder(lab, stage)).environment
        assert environment["ranks"] == 2
        assert not (folder(lab, stage).path / "rendezvous.0001").exists()
    assert record(folder(lab, "condense")).environment["ranks"] == 1
    assert record(folder(lab, "teacher")).cost["cpu_s"] > 0

    one = content(alone(lab, folder(lab, "teacher"), tmp_path / "teacher"), "model")
    two = content(folder(lab, "teacher"), "model")
    assert one.keys() == two.keys()
    for name, values in one.items():
        if not name.startswith("dynamics/"):
            np.testing.assert_allclose(two[name], values, atol=5e-3, err_msg=name)
    assert (one["dynamics/correct"] == two["dynamics/correct"]).mean() > 0.99

    vectors = [
        arrays.read_embeddings(store.verified(where, record(where), "embeddings")).vectors_ND
        for where in (folder(lab, "embed"), alone(lab, folder(lab, "embed"), tmp_path / "embed"))
    ]
    assert vectors[0].tobytes() == vectors[1].tobytes()


def test_usr2_checkpoints_and_the_requeued_ranks_end_in_the_same_bits(
    lab: Lab, cluster: DevCluster, tmp_path: Path
) -> None:
    """Both ranks hear the signal, agree on a step, rank 0 saves and requeues; weights and dynamics are those of a run
    of two ranks that nobody interrupted.
    """
    whole = two_nodes(cluster, tmp_path / "whole")
    for one in (lab, whole):
        submit(one, epochs=40)
    teacher, job = folder(lab, "teacher"), f"{lab.job('teacher')}_0"
    step_reached(lab, teacher, 20)
    lab.cluster.run("scancel", "--signal=USR2", job)
    lab.cluster.wait_until("the first attempt has stopped", lambda: ended(teacher, 1) == "stopped")
    assert teacher.checkpoint(1).exists()
    lab.restart_now(job)
    for one in (lab, whole):
        one.wait_for({"recorded": 1}, "teacher", timeout_s=240)
    assert record(teacher).attempt == 2
    first, second = content(teacher, "model"), content(folder(whole, "teacher"), "model")
    assert {n: v.tobytes() for n, v in first.items()} == {n: v.tobytes() for n, v in second.items()}


def ended(found: TaskFolder, number: int) -> str:
    """How an attempt ended; empty while it has not."""
    held = lease.read_attempt(found, number)
    return held.end.outcome if held is not None and held.end is not None else ""


def rank_1(lab: Lab) -> tuple[psutil.Process, psutil.Process]:
    """The follower of the run's only running element, and its child that computes."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(lab.run().payloads) in " ".join(process.cmdline()) and process.environ().get("SLURM_PROCID") == "1":
                found.append(process)
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    (follower,) = [p for p in found if p.ppid() not in {q.pid for q in found}]
    (child,) = follower.children()
    return follower, child


@pytest.mark.parametrize("which", ["follower", "child"])
def test_a_killed_rank_ends_the_element_without_a_hang(lab: Lab, which: str) -> None:
    """Killed whole, or only the process that computes: rank 0's attempt ends at once, as does the element."""
    submit(lab, epochs=2000)
    teacher = folder(lab, "teacher")
    step_reached(lab, teacher, 20)
    follower, child = rank_1(lab)
    os.kill(follower.pid if which == "follower" else child.pid, signal.SIGKILL)
    job = f"{lab.job('teacher')}_0"
    left = ("squeue", "-h", "-j", job, "-o", "%T")
    lab.cluster.wait_until(f"{job} has ended", lambda: not lab.cluster.run(*left, check=False).stdout.strip(), 40)
    outcome = ended(teacher, 1)
    if which == "child":
        held = lease.read_attempt(teacher, 1)
        assert held is not None
        assert held.end is not None
        assert (outcome, "rank 1: killed by signal 9" in held.end.reason) == ("failed", True)
    else:
        assert outcome in {"stopped", "failed"}
    lab.cluster.wait_until("both are gone", lambda: not any(p.is_running() for p in (follower, child)), 20)
