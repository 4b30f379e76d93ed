"""What is imported before tasks are forked."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from condhpc.errors import StageError
from condhpc_jobs import preload

PROCESS = """
import os, sys
from condhpc_jobs import preload
import torch

print(len(os.listdir("/proc/self/task")), torch.cuda.is_initialized(), "torchvision.models" in sys.modules, flush=True)
from condhpc import models, train

if (pid := os.fork()) == 0:
    train.configure(2)
    model = models.build("convnet3", 10, 8, 0)
    model(torch.rand(64, 3, 8, 8)).sum().backward()
    os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


@pytest.fixture(scope="module")
def said() -> list[str]:
    """What a process says of itself after the import, and how its child ended."""
    done = subprocess.run([sys.executable, "-c", PROCESS], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_preload_starts_nothing(said: list[str]) -> None:
    """After the import torch is there, CUDA is not initialised, and there is one thread: safe to fork."""
    assert said[0] == "1 False True"


def test_a_forked_child_computes(said: list[str]) -> None:
    """A child forked after the import runs a convolution on its own threads and comes back."""
    assert said[1:] == ["7"]


@pytest.mark.parametrize(("gpus", "wanted", "device"), [(0, "auto", "cpu"), (1, "auto", "cuda"), (1, "cpu", "cpu")])
def test_device_follows_the_profile(gpus: int, wanted: str, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto` takes CUDA where it is, `cpu` avoids it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    assert preload.pick_device(wanted) == device


def test_cuda_insisted_on_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that got no GPU says so instead of computing for a week on a CPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(StageError, match="sees no GPU here"):
        preload.pick_device("cuda")


def test_the_meter_is_told_torchs_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """By UUID, all that torch sees; none on a CPU, of a torch without UUIDs, and where CUDA fails."""
    held = [SimpleNamespace(uuid="8932f937-d72c"), SimpleNamespace(name="of a torch without them")]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(held))
    monkeypatch.setattr(torch.cuda, "get_device_properties", held.__getitem__)
    assert preload.gpu_uuids("cuda") == ("8932f937-d72c",)
    assert preload.gpu_uuids("cpu") == ()

    def fail(index: int) -> None:
        raise RuntimeError("CUDA error: unknown error")

    monkeypatch.setattr(torch.cuda, "get_device_properties", fail)
    assert preload.gpu_uuids("cuda") == ()


def test_diaries_name_the_gpu_as_cuda_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the record's environment does; nothing on a CPU, and where CUDA fails."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H200")
    assert [preload.gpu_type(device) for device in ("cuda", "cpu")] == ["NVIDIA H200", ""]

    def fail() -> None:
        raise RuntimeError("CUDA error: unknown error")

    monkeypatch.setattr(torch.cuda, "get_device_name", fail)
    assert preload.gpu_type("cuda") == ""


def test_environment_names_what_decides_rounding() -> None:
    """Versions and CPU instructions are recorded."""
    found = preload.environment("cpu")
    assert found["torch"] == torch.__version__
    assert {"torchvision", "cpu_capability"} < set(found)
