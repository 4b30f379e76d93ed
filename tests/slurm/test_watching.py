"""Watchers on a real Slurm: two followers of one run share what they ask."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.slurm.conftest import DevCluster
from tests.slurm.lab import Lab, drain_queue, make_lab

pytestmark = pytest.mark.slurm

POLL_S = 3.0


@pytest.fixture
def lab(cluster: DevCluster, tmp_path: Path) -> Iterator[Lab]:
    """A lab that polls so seldom that calls can be told apart, with a cache of its own."""
    made = make_lab(cluster, tmp_path)
    made.profile["poll_s"] = POLL_S
    made.env["XDG_CACHE_HOME"] = str(tmp_path / "cache")
    yield made
    drain_queue(cluster)


def shims(folder: Path, squeue: str = 'exec "$REAL" "$@"') -> dict[str, str]:
    """A PATH on which squeue and sacct write down when they are called."""
    folder.mkdir()
    for name, body in (("squeue", squeue), ("sacct", 'exec "$REAL" "$@"')):
        script = folder / name
        log = f"date +%s.%N >> {folder}/{name}.calls"
        script.write_text(f"#!/bin/sh\nREAL={shutil.which(name)}\n{log}\n{body}\n")
        script.chmod(0o755)
    return {"PATH": os.pathsep.join([str(folder), os.environ["PATH"]])}


def called_s(folder: Path, name: str) -> list[float]:
    """When a shim was called."""
    path = folder / f"{name}.calls"
    return sorted(map(float, path.read_text().split())) if path.exists() else []


def follower(lab: Lab, env: dict[str, str]) -> subprocess.Popen[str]:
    """`condhpc status --follow` in a process of its own."""
    command = [sys.executable, *lab.entry, "--root", str(lab.root), "status", "--follow"]
    env = lab.cluster.env | {"CONDHPC_PROFILE": str(lab.write_profile())} | lab.env | env
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_followers_cost_one_poller(lab: Lab, tmp_path: Path) -> None:
    """Both tell the whole story and end with the run's exit code; squeue is called once in an interval."""
    lab.behave(evaluate={"steps": 30, "step_s": 0.5})
    lab.condhpc("submit", lab.write(student_seeds=[0, 1]))
    env = shims(tmp_path / "bin")
    two = [follower(lab, env) for _ in range(2)]
    try:
        said = [process.communicate(timeout=180) for process in two]
    finally:
        for process in two:
            process.kill()
    for process, (out, err) in zip(two, said, strict=True):
        assert process.returncode == 0, err
        lines = out.splitlines()
        assert len(lines) >= 2, out
        assert "running" in lines[0]
        assert "done: " in lines[-1]
        assert len({line.split("  ", 1)[1] for line in lines}) == len(lines), "a line without news"
    calls = called_s(tmp_path / "bin", "squeue")
    assert len(calls) >= 2
    assert min(later - earlier for earlier, later in pairwise(calls)) >= 0.9 * POLL_S
    assert len(called_s(tmp_path / "bin", "sacct")) == 1, "at the end, by one of them"


def test_a_controller_that_hangs_is_old_data(lab: Lab, tmp_path: Path) -> None:
    """A follower whose squeue hangs from the second call on still hears what tasks say, and ends with the run."""
    lab.behave(evaluate={"steps": 20, "step_s": 0.5})
    lab.condhpc("submit", lab.write())
    hang = f'if [ $(wc -l < {tmp_path}/bin/squeue.calls) -gt 1 ]; then exec sleep 300; fi\nexec "$REAL" "$@"'
    process = follower(lab, shims(tmp_path / "bin", hang))
    try:
        out, err = process.communicate(timeout=180)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert "squeue has not answered for" in out
    assert out.splitlines()[-1].split("  ", 1)[1].startswith("done: ")


def test_single_looks_share_too(lab: Lab, tmp_path: Path) -> None:
    """`condhpc status` again and again calls squeue once in `poll_s`, and anew after one's own cancel."""
    lab.profile["poll_s"] = 25.0
    lab.behave(evaluate={"steps": 400, "step_s": 0.2})
    lab.condhpc("submit", lab.write())
    lab.env |= shims(tmp_path / "bin")
    began = time.monotonic()
    for _ in range(4):
        lab.condhpc("status", expect=10)
    assert lab.status()["outlook"]["calls"]["squeue_last_h"] == len(called_s(tmp_path / "bin", "squeue"))
    assert len(called_s(tmp_path / "bin", "squeue")) <= 1 + (time.monotonic() - began) / 25.0
    lab.condhpc("cancel", "--yes")
    before = len(called_s(tmp_path / "bin", "squeue"))
    lab.condhpc("status", expect=None)
    assert len(called_s(tmp_path / "bin", "squeue")) == before + 1
