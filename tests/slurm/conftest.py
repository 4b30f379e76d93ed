"""Fixtures for tests on a real Slurm: a development cluster (slurm/dev/cluster) for the whole session."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

CLUSTER = Path(__file__).parents[2] / "slurm" / "dev" / "cluster"
EXIT_NOT_POSSIBLE = 69


@dataclass(frozen=True)
class DevCluster:
    """A cluster that is up."""

    dir: Path
    env: dict[str, str]
    """Environment for subprocesses: the test's own, cleared of Slurm's and condhpc's settings, plus the exports."""

    def run(self, *argv: str | Path, timeout_s: float = 60.0, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command on the cluster; a non-zero exit fails the test and shows its output, unless `check=False`."""
        return _run([str(word) for word in argv], self.env, timeout_s, check=check)

    def verb(self, *words: str, timeout_s: float = 120.0, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a verb of slurm/dev/cluster on this cluster, such as `verb("stop", "slurmdbd")`."""
        return _run([str(CLUSTER), *words, "--dir", str(self.dir)], self.env, timeout_s, check=check)

    def wait_until(self, what: str, ready: Callable[[], bool], timeout_s: float = 60.0) -> None:
        """Poll until `ready()`; too late is a failure that says what was waited for."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            if time.monotonic() > deadline:
                pytest.fail(f"not so after {timeout_s:g} s: {what}")
            time.sleep(0.1)


def _run(argv: list[str], env: dict[str, str], timeout_s: float, *, check: bool) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        argv, env=env, capture_output=True, text=True, timeout=timeout_s, check=False, stdin=subprocess.DEVNULL
    )
    if check and done.returncode != 0:
        pytest.fail(f"{shlex.join(argv)} exited {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


@contextmanager
def dev_cluster(folder: Path, *options: str) -> Iterator[DevCluster]:
    """Bring a cluster up in a folder for the duration of the block; skip the test where that is not possible."""
    settings = ("SLURM", "SBATCH", "SRUN", "SQUEUE", "SINFO", "SACCT", "CONDHPC_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(settings)}
    up = _run([str(CLUSTER), "up", "--dir", str(folder), *options], env, 180.0, check=False)
    if up.returncode == EXIT_NOT_POSSIBLE:
        if os.environ.get("CONDHPC_REQUIRE_SLURM") == "1":
            pytest.fail(f"CONDHPC_REQUIRE_SLURM=1, but no real Slurm here: {up.stderr.strip()}")
        pytest.skip(f"no real Slurm here: {up.stderr.strip()}")
    if up.returncode != 0:
        pytest.fail(f"slurm/dev/cluster up exited {up.returncode}\n{up.stdout}\n{up.stderr}")
    try:
        exports = _run([str(CLUSTER), "env", "--dir", str(folder)], env, 30.0, check=True).stdout
        added = dict(shlex.split(line)[1].split("=", 1) for line in exports.splitlines())
        # Clusters of one name share what watchers know of the queue; these are of one name and live side by side.
        cache = {"XDG_CACHE_HOME": f"{folder}-cache"}
        yield DevCluster(folder, env | added | cache)
    finally:
        _run([str(CLUSTER), "down", "--dir", str(folder)], env, 120.0, check=True)


@pytest.fixture(scope="session")
def make_cluster() -> Callable[..., AbstractContextManager[DevCluster]]:
    """For a test that needs another cluster: a context manager over a folder and options of `cluster up`."""
    return dev_cluster


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevCluster]:
    """The cluster that all tests of a session share: leave it as you found it, with every daemon and node up."""
    with dev_cluster(tmp_path_factory.mktemp("cluster")) as up:
        yield up
