"""The binding's calls, through a stand-in library that answers as drivers do."""

# ruff: noqa: N802, ARG002 - the names and arguments are the binding's

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from condhpc.nvml import Nvml
from condhpc.power_sources import GpuDevice, GpuSample, Instance, Unreadable


class NVMLError(Exception):
    """As the binding raises it."""


class Library(ModuleType):
    """Two boards, an H100 in two instances and one that refuses to be opened; `dead` boards answer nothing."""

    NVMLError = NVMLError
    NVML_DEVICE_MIG_ENABLE = 1
    NVML_GPU_INSTANCE_PROFILE_7_SLICE = 4
    NVML_GPU_INSTANCE_PROFILE_4_SLICE = 3

    def __init__(self) -> None:
        super().__init__("pynvml")
        self.dead: set[int] = set()
        self.asked_since: list[int] = []
        self.samples: list[Any] = []

    def nvmlInit(self) -> None:
        """The driver is there."""

    def nvmlDeviceGetCount(self) -> int:
        """Three are listed."""
        return 3

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        """One is another job's."""
        if index == 1:
            raise NVMLError("Insufficient Permissions")
        return index

    def nvmlDeviceGetUUID(self, handle: Any) -> Any:
        """Old bindings give bytes."""
        return f"MIG-{handle}" if isinstance(handle, str) else b"GPU-0" if handle == 0 else "GPU-2"

    def nvmlDeviceGetName(self, handle: int) -> str:
        """Marketing."""
        return "NVIDIA H100"

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: int) -> int:
        """Milliwatts."""
        return 700_000

    def nvmlDeviceGetMinorNumber(self, handle: int) -> int:
        """Of the device file."""
        return handle

    def nvmlDeviceGetMigMode(self, handle: int) -> list[int]:
        """Current and pending; the first board cannot."""
        if handle == 0:
            raise NVMLError("Not Supported")
        return [1, 1]

    def nvmlDeviceGetMaxMigDeviceCount(self, handle: int) -> int:
        """Places for instances."""
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: int, index: int) -> str:
        """Two places are taken."""
        if index not in (0, 3):
            raise NVMLError("Not Found")
        return f"{handle}-{index}"

    def nvmlDeviceGetAttributes(self, handle: str) -> SimpleNamespace:
        """Slices of an instance."""
        return SimpleNamespace(gpuInstanceSliceCount=3 if handle.endswith("0") else 4)

    def nvmlDeviceGetGpuInstanceProfileInfo(self, handle: int, profile: int) -> SimpleNamespace:
        """The whole board."""
        if profile != 4:
            raise NVMLError("Not Supported")
        return SimpleNamespace(sliceCount=7)

    def _alive(self, handle: int) -> None:
        if handle in self.dead:
            raise NVMLError("GPU is lost")

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> SimpleNamespace:
        """Percent."""
        self._alive(handle)
        return SimpleNamespace(gpu=35, memory=10)

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:
        """Bytes."""
        self._alive(handle)
        return SimpleNamespace(used=9000)

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:
        """Millijoules; not on the second board."""
        self._alive(handle)
        if handle == 2:
            raise NVMLError("Not Supported")
        return 123_456

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[SimpleNamespace]:
        """With and without memory."""
        self._alive(handle)
        return [SimpleNamespace(pid=7, usedGpuMemory=500), SimpleNamespace(pid=8, usedGpuMemory=None)]

    def nvmlDeviceGetProcessUtilization(self, handle: int, since: int) -> list[SimpleNamespace]:
        """What was added since a time stamp."""
        self._alive(handle)
        self.asked_since.append(since)
        return [sample for sample in self.samples if sample.timeStamp > since or not sample.timeStamp]


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    """In the place of the binding."""
    found = Library()
    monkeypatch.setitem(sys.modules, "pynvml", found)
    return found


def test_boards_and_instances_are_listed(library: Library) -> None:
    """In the driver's order, without the one that another job has; slices give an instance's share."""
    assert Nvml().devices() == [
        GpuDevice("GPU-0", "NVIDIA H100", 700.0, 0),
        GpuDevice("GPU-2", "NVIDIA H100", 700.0, 2, (Instance("MIG-2-0", 3 / 7), Instance("MIG-2-3", 4 / 7))),
    ]


def test_a_sample_tells_what_the_board_has(library: Library) -> None:
    """What is not supported is None; a mean of samples per process, each only once."""
    library.samples = [
        SimpleNamespace(pid=7, smUtil=20, timeStamp=100),
        SimpleNamespace(pid=7, smUtil=40, timeStamp=200),
        SimpleNamespace(pid=8, smUtil=0, timeStamp=150),
        SimpleNamespace(pid=0, smUtil=9, timeStamp=0),  # places that the driver left empty
    ]
    source = Nvml()
    source.devices()
    expected = GpuSample(123_456, 35.0, 9000, {7: 500, 8: None}, {7: 30.0, 8: 0.0})
    assert source.sample("GPU-0") == expected
    assert source.sample("GPU-0") == expected._replace(process_util_pct={})
    assert library.asked_since == [0, 200]
    assert source.sample("GPU-2").energy_mj is None


def test_a_board_that_fell_off_the_bus_is_unreadable(library: Library) -> None:
    """No answer to anything is not a sample of nothing."""
    source = Nvml()
    source.devices()
    library.dead.add(0)
    with pytest.raises(Unreadable, match="GPU-0 does not answer"):
        source.sample("GPU-0")


def test_no_driver_is_a_reason(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node without GPUs."""

    def fail() -> None:
        raise NVMLError("NVML Shared Library Not Found")

    monkeypatch.setattr(library, "nvmlInit", fail)
    with pytest.raises(Unreadable, match="NVML: NVML Shared Library Not Found"):
        Nvml()


def test_no_binding_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without nvidia-ml-py."""
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(Unreadable, match="nvidia-ml-py is not installed"):
        Nvml()


def test_the_real_binding_has_what_is_asked_of_it() -> None:
    """Every name that is used exists in the installed release, whether or not there is a driver."""
    import pynvml

    names = [name for name in dir(Library) if name.startswith(("nvml", "NVML"))]
    assert len(names) > 15
    assert [name for name in names if not hasattr(pynvml, name)] == []
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        with pytest.raises(Unreadable, match="NVML"):
            Nvml()
    else:
        assert all(device.uuid.startswith("GPU-") for device in Nvml().devices())
