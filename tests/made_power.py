"""Sources of power that play a trace: one entry per look, an exception where the device did not answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from condhpc.power_sources import Domain, GpuDevice, GpuSample

H100 = GpuDevice("GPU-aaaa0000-0000-0000-0000-000000000000", "NVIDIA H100 80GB HBM3", 700.0, 0)
SECOND = H100._replace(uuid="GPU-bbbb0000-0000-0000-0000-000000000000", minor=1)

T = TypeVar("T")


class Trace:
    """Both interfaces at once: samples of GPUs by UUID, values of domains by name."""

    def __init__(
        self,
        gpus: Mapping[GpuDevice, Sequence[GpuSample | Exception]] | None = None,
        node: Mapping[Domain, Sequence[int | Exception]] | None = None,
    ) -> None:
        self._gpus = gpus or {}
        self._node = node or {}
        self._left = {device.uuid: iter(samples) for device, samples in self._gpus.items()}
        self._values = {domain.name: iter(values) for domain, values in self._node.items()}

    def devices(self) -> list[GpuDevice]:
        """As a driver lists them."""
        return list(self._gpus)

    def sample(self, uuid: str) -> GpuSample:
        """The next entry."""
        return _played(next(self._left[uuid]))

    def domains(self) -> list[Domain]:
        """As the kernel lists them."""
        return list(self._node)

    def read_uj(self, name: str) -> int:
        """The next entry."""
        return _played(next(self._values[name]))


def _played(entry: T | Exception) -> T:
    if isinstance(entry, Exception):
        raise entry
    return entry


def steady(watts: float, looks: int, every_s: float = 5.0, start_mj: int = 10**9) -> list[GpuSample | Exception]:
    """A board that draws the same all the time, at a utilisation of half."""
    return [
        GpuSample(start_mj + round(1000 * watts * every_s * n), util_pct=50.0, memory_bytes=3 << 30)
        for n in range(looks)
    ]
