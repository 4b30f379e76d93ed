"""GPUs through NVIDIA's management library; the only home of `pynvml`, which is imported when it is opened."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from condhpc.power_sources import GpuDevice, GpuSample, Instance, Unreadable

T = TypeVar("T")
_FULL_PROFILES = ("NVML_GPU_INSTANCE_PROFILE_7_SLICE", "NVML_GPU_INSTANCE_PROFILE_4_SLICE")
"""The largest instance of a GPU: all of its slices; an A30 has four."""


class Nvml:
    """The driver's list of GPUs. To be opened in the process that reads it: the library does not survive a fork."""

    def __init__(self) -> None:
        try:
            import pynvml
        except ImportError:
            raise Unreadable("nvidia-ml-py is not installed") from None
        self._lib: Any = pynvml
        mismatch = getattr(pynvml, "NVMLLibraryMismatchError", pynvml.NVMLError)
        self._errors: tuple[type[Exception], ...] = (pynvml.NVMLError, mismatch)
        self._handles: dict[str, Any] = {}
        self._seen_us: dict[str, int] = {}
        self._must(pynvml.nvmlInit)

    def devices(self) -> list[GpuDevice]:
        """GPUs that can be opened: in a device cgroup some drivers list those of other jobs, and refuse them."""
        found = []
        for index in range(self._must(self._lib.nvmlDeviceGetCount)):
            with suppress(*self._errors):
                found.append(self._device(self._lib.nvmlDeviceGetHandleByIndex(index)))
        return found

    def sample(self, uuid: str) -> GpuSample:
        """All counters of one GPU; raises Unreadable where none answers."""
        lib, handle = self._lib, self._handles[uuid]
        util = self._may(lib.nvmlDeviceGetUtilizationRates, handle)
        memory = self._may(lib.nvmlDeviceGetMemoryInfo, handle)
        found = GpuSample(
            energy_mj=self._may(lib.nvmlDeviceGetTotalEnergyConsumption, handle),
            util_pct=float(util.gpu) if util is not None else None,
            memory_bytes=int(memory.used) if memory is not None else None,
            processes={
                p.pid: p.usedGpuMemory for p in self._may(lib.nvmlDeviceGetComputeRunningProcesses, handle) or ()
            },
            process_util_pct=self._process_util(uuid, handle),
        )
        if (found.energy_mj, found.util_pct, found.memory_bytes) == (None, None, None):
            raise Unreadable(f"GPU {uuid} does not answer")
        return found

    def _device(self, handle: Any) -> GpuDevice:
        lib = self._lib
        uuid = _text(lib.nvmlDeviceGetUUID(handle))
        self._handles[uuid] = handle
        limit_mw = self._may(lib.nvmlDeviceGetEnforcedPowerLimit, handle)
        return GpuDevice(
            uuid,
            _text(lib.nvmlDeviceGetName(handle)),
            limit_mw / 1000 if limit_mw else None,
            self._may(lib.nvmlDeviceGetMinorNumber, handle),
            self._instances(handle),
        )

    def _instances(self, handle: Any) -> tuple[Instance, ...]:
        lib = self._lib
        mode = self._may(lib.nvmlDeviceGetMigMode, handle)
        if not mode or mode[0] != lib.NVML_DEVICE_MIG_ENABLE:
            return ()
        slices, found = self._slices(handle), []
        for index in range(self._may(lib.nvmlDeviceGetMaxMigDeviceCount, handle) or 0):
            with suppress(*self._errors):  # numbers that no instance has
                part = lib.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)
                held = lib.nvmlDeviceGetAttributes(part).gpuInstanceSliceCount
                found.append(Instance(_text(lib.nvmlDeviceGetUUID(part)), min(1.0, held / slices)))
        return tuple(found)

    def _slices(self, handle: Any) -> int:
        for profile in _FULL_PROFILES:
            info = self._may(self._lib.nvmlDeviceGetGpuInstanceProfileInfo, handle, getattr(self._lib, profile))
            if info is not None:
                return int(info.sliceCount)
        return 7

    def _process_util(self, uuid: str, handle: Any) -> dict[int, float]:
        """Mean of the driver's samples of each process since our last look."""
        samples = self._may(self._lib.nvmlDeviceGetProcessUtilization, handle, self._seen_us.get(uuid, 0)) or ()
        by_pid: dict[int, list[int]] = {}
        for sample in samples:
            if sample.timeStamp:
                by_pid.setdefault(sample.pid, []).append(sample.smUtil)
                self._seen_us[uuid] = max(self._seen_us.get(uuid, 0), sample.timeStamp)
        return {pid: sum(held) / len(held) for pid, held in by_pid.items()}

    def _may(self, ask: Callable[..., T], *arguments: Any) -> T | None:
        """The answer, or None where driver or board have none."""
        try:
            return ask(*arguments)
        except self._errors:
            return None

    def _must(self, ask: Callable[..., T]) -> T:
        try:
            return ask()
        except self._errors as error:
            raise Unreadable(f"NVML: {error}") from None


def _text(value: str | bytes) -> str:
    """Older releases of the binding give bytes."""
    return value.decode() if isinstance(value, bytes) else value
