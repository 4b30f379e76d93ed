"""The environment that Slurm's commands get; running them is tested through the scheduler."""

from __future__ import annotations

import pytest

from condhpc.slurm_command import query_env, submission_env

IN_JOB = {
    "PATH": "/bin",
    "SLURM_CONF": "/etc/slurm.conf",
    "SLURM_JWT": "token",
    "SLURM_JOB_ID": "7",
    "SLURM_ARRAY_TASK_ID": "3",
    "SLURMD_NODENAME": "n1",
    "SBATCH_PARTITION": "debug",
    "SRUN_DEBUG": "3",
    "CUDA_VISIBLE_DEVICES": "1",
    "HOME": "/home/ann",
}


def test_an_enclosing_job_does_not_leak_into_a_submission() -> None:
    """Nothing of the job we are in, nor its GPU, reaches sbatch; where Slurm is does."""
    expected = {key: IN_JOB[key] for key in ("PATH", "SLURM_CONF", "SLURM_JWT", "HOME")}
    assert submission_env(IN_JOB) == expected


def test_outside_a_job_the_users_own_devices_stay() -> None:
    """Only Slurm's own choice of devices is dropped; SBATCH_* never overrules the profile."""
    outside = {key: value for key, value in IN_JOB.items() if key != "SLURM_JOB_ID"}
    assert submission_env(outside)["CUDA_VISIBLE_DEVICES"] == "1"
    assert "SBATCH_PARTITION" not in submission_env(outside)


def test_the_environment_of_this_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy: changing it changes nothing here."""
    monkeypatch.setenv("SLURM_CONF", "/x")
    monkeypatch.setenv("SBATCH_QOS", "long")
    env = submission_env()
    assert env["SLURM_CONF"] == "/x"
    assert "SBATCH_QOS" not in env


def test_filters_of_the_shell_do_not_reach_a_query() -> None:
    """SCANCEL_STATE or SACCT_FEDERATION would change what an answer covers."""
    env = query_env({"SCANCEL_STATE": "RUNNING", "SACCT_FEDERATION": "1", "SINFO_PARTITION": "x", "HOME": "/h"})
    assert env == {"HOME": "/h", "SLURM_BITSTR_LEN": "0", "SLURM_TIME_FORMAT": "%s"}
