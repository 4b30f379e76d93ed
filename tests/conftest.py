"""Found by pytest for all tests; its place puts `tests/` on the import path, for modules such as `tiny_data`."""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before anything imports torch: tests share their cores

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import fake_stages
import pytest
from made_tasks import Start, python

_SIGNALS = (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)


@pytest.fixture
def outside_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of an enclosing Slurm job."""
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outside_slurm: None) -> Iterator[Path]:
    """Folder with a package `condhpc_jobs` of fake stages, first on the import path of this process."""
    folder = fake_stages.install(tmp_path / "jobs")
    monkeypatch.syspath_prepend(folder)
    held = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "condhpc_jobs"}
    for name in held:
        del sys.modules[name]
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "condhpc_jobs"]:
        del sys.modules[name]
    sys.modules.update(held)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Root of a store, not there yet."""
    return tmp_path / "root"


@pytest.fixture
def no_own_profile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The machine's own profile and environment stay out."""
    for name in ("CONDHPC_PROFILE", "CONDHPC_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def start(tmp_path: Path, stages: Path) -> Iterator[Start]:
    """Start a worker process on a payload; what still runs after the test is killed."""
    begun: list[subprocess.Popen[bytes]] = []

    def begin(path: Path, element: int = 0) -> subprocess.Popen[bytes]:
        words = ("-m", "condhpc.worker", str(path), "--element", str(element))
        begun.append(python(*words, stages=stages, log=tmp_path / "log"))
        return begun[-1]

    yield begin
    for process in begun:
        process.kill()
        process.wait()


@pytest.fixture
def own_signals() -> Iterator[None]:
    """Put signal handlers and the wake-up pipe back as they were."""
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    wakeup = signal.set_wakeup_fd(-1)
    yield
    signal.set_wakeup_fd(wakeup)
    for number, handler in handlers.items():
        signal.signal(number, handler)
