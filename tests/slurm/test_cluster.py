"""slurm/dev/cluster: its verbs, on a cluster that this module may break."""

from __future__ import annotations

import os
import signal
import tomllib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import DevCluster

pytestmark = pytest.mark.slurm


@pytest.fixture(scope="module")
def own(
    make_cluster: Callable[..., AbstractContextManager[DevCluster]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DevCluster]:
    """A cluster of this module's own, with an option that is not the default."""
    with make_cluster(tmp_path_factory.mktemp("own"), "--max-array-size", "50") as up:
        yield up


def daemons(cluster: DevCluster) -> dict[str, str]:
    """Pids by daemon, as `status` prints them; an empty string for one that is down."""
    lines = [line.split() for line in cluster.verb("status", check=False).stdout.splitlines()]
    return {line[0]: line[2] if line[1] == "up" else "" for line in lines}


def submit(cluster: DevCluster, command: str, *options: str) -> str:
    """Id of a job that runs a shell command."""
    out = ("--output", f"{cluster.dir}/job-%A_%a.out")
    return cluster.run("sbatch", "--parsable", *out, *options, f"--wrap={command}").stdout.strip()


def sacct(cluster: DevCluster, job: str, field: str) -> str:
    """One field of a job's line, empty while slurmdbd knows nothing or is down."""
    return cluster.run("sacct", "-nXP", "-j", job, "-o", field, check=False).stdout.strip()


def processes_of(marker: str) -> list[int]:
    """Live processes, zombies aside, whose environment or command line contains a string."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            text = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if marker.encode() in text and state != "Z":
            found.append(int(entry.name))
    return found


def runtime_folder(cluster: DevCluster) -> Path:
    """Where the cluster keeps its sockets, from its slurm.conf."""
    conf = (cluster.dir / "slurm.conf").read_text()
    return Path(conf.partition("AuthInfo=socket=")[2].splitlines()[0]).parent


def test_env_exports_what_a_shell_needs(own: DevCluster) -> None:
    """`env` names a slurm.conf that Slurm's commands accept and a profile that is TOML for the slurm back-end."""
    assert Path(own.env["SLURM_CONF"]) == own.dir / "slurm.conf"
    assert tomllib.loads(Path(own.env["CONDHPC_PROFILE"]).read_text())["backend"] == "slurm"
    assert own.run("sinfo", "-h", "-p", "main", "-o", "%D %T %G").stdout.split() == ["4", "idle", "gpu:h100:4"]


def test_a_database_leaves_other_databases_temporary_files_alone(own: DevCluster) -> None:
    """A mariadbd that starts empties its temporary folder of "#sql*": in a common one, clusters break each other's."""
    others = Path(own.env.get("TMPDIR", "/tmp")) / f"#sql-temptable-{os.getpid()}.MAI"
    others.touch()
    try:
        for verb in ("stop", "start"):
            own.verb(verb, "mariadbd")
        assert others.exists()
    finally:
        others.unlink(missing_ok=True)


def test_up_again_changes_nothing(own: DevCluster) -> None:
    """`up` on a cluster that is up keeps every process, and refuses an option that would need a new cluster."""
    before = daemons(own)
    assert all(before.values())
    own.verb("up", "--max-array-size", "50")
    refused = own.verb("up", "--max-array-size", "60", check=False)
    assert refused.returncode == 1
    assert "take it down first" in refused.stderr
    assert daemons(own) == before


def test_max_array_size_is_the_one_asked_for(own: DevCluster) -> None:
    """The largest index is one less than --max-array-size."""
    assert own.run("sbatch", "--array=0-50", "--wrap=true", check=False).returncode != 0
    job = submit(own, "true", "--array=49")
    own.wait_until("element 49 has run", (own.dir / f"job-{job}_49.out").exists)


def test_gpus_reach_job_and_accounting(own: DevCluster) -> None:
    """A job that asks for two made-up GPUs sees two indices, and sacct charges two."""
    job = submit(own, "echo $CUDA_VISIBLE_DEVICES", "--gres=gpu:2", "--wait")
    own.wait_until("sacct charges 2 GPUs", lambda: "gres/gpu=2" in sacct(own, job, "AllocTRES"))
    assert len(next(own.dir.glob(f"job-{job}_*.out")).read_text().split(",")) == 2


def test_slurmdbd_can_be_away_for_a_while(own: DevCluster) -> None:
    """Jobs run while slurmdbd is stopped; once it is back, their history arrives."""
    own.verb("stop", "slurmdbd")
    assert own.verb("status", check=False).returncode == 3
    assert [name for name, pid in daemons(own).items() if not pid] == ["slurmdbd"]
    job = submit(own, "true", "--wait")
    assert own.run("sacct", "-j", job, check=False).returncode != 0
    own.verb("start", "slurmdbd")
    assert own.verb("status").returncode == 0
    own.wait_until("sacct shows the job", lambda: sacct(own, job, "State") == "COMPLETED")


def test_two_clusters_live_side_by_side(cluster: DevCluster, own: DevCluster) -> None:
    """Clusters in two folders share no process, no job and no socket."""
    job = submit(own, "true")
    assert job not in cluster.run("squeue", "-h", "-t", "all", "-o", "%A").stdout.split()
    assert set(daemons(cluster).values()).isdisjoint(daemons(own).values())
    assert runtime_folder(cluster) != runtime_folder(own)


def test_up_after_a_crash_is_a_fresh_cluster(own: DevCluster) -> None:
    """After some daemons were killed, `up` ends the others and their jobs and comes up whole with new job ids."""
    job = submit(own, "sleep 600")
    own.wait_until("the job runs", lambda: own.run("squeue", "-h", "-j", job, "-o", "%T").stdout.strip() == "RUNNING")
    before, old_runtime = daemons(own), runtime_folder(own)
    for name in ("slurmctld", "mariadbd", "n2"):
        os.kill(int(before[name]), signal.SIGKILL)
    own.verb("up", "--max-array-size", "50")
    assert all(daemons(own).values())
    assert set(daemons(own).values()).isdisjoint(before.values())
    assert processes_of(f"SLURM_JOB_ID={job}\0") == []
    assert not old_runtime.exists() or old_runtime == runtime_folder(own)
    assert int(submit(own, "true")) > int(job)


def test_down_leaves_no_process_and_no_socket(
    make_cluster: Callable[..., AbstractContextManager[DevCluster]], tmp_path: Path
) -> None:
    """`down` ends daemons, jobs and what jobs detached, removes the sockets, and is a no-op the second time."""
    with make_cluster(tmp_path) as mine:
        (tmp_path / "detach.sh").write_text("#!/bin/sh\nsetsid env -i sleep 613.25 &\nsleep 600\n")
        mine.run("sbatch", f"--output={tmp_path}/detach.out", tmp_path / "detach.sh")
        mine.wait_until("the job has detached a process", lambda: processes_of("sleep\000613.25") != [])
        runtime = runtime_folder(mine)
        mine.verb("down")
        assert processes_of("sleep\000613.25") == []
        assert processes_of(f"CONDHPC_DEV_CLUSTER={runtime}\0") == []
        assert not runtime.exists()
        assert mine.verb("status", check=False).returncode == 3
        assert "no cluster" in mine.verb("down").stdout
