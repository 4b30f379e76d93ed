"""The one interface through which power is read: a list of devices, and one sample of one device.

`nvml` and `rapl` implement it where there are GPUs and power caps, tests with recorded traces.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, Protocol


class Unreadable(Exception):  # noqa: N818 - a state of a source, which becomes a word in a figure and fails nothing
    """A source, or one device of it, cannot be read; its text says why."""


class Instance(NamedTuple):
    """A MIG instance of a GPU."""

    uuid: str
    share: float
    """Of the GPU's compute slices."""


class GpuDevice(NamedTuple):
    """A GPU as the driver lists it."""

    uuid: str
    name: str = ""
    limit_w: float | None = None
    """Power limit in force on the board."""
    minor: int | None = None
    """N of the device file that Slurm's indices count by."""
    instances: tuple[Instance, ...] = ()


class GpuSample(NamedTuple):
    """One look at a GPU; None where the driver does not tell."""

    energy_mj: int | None = None
    """Counter since the driver was loaded."""
    util_pct: float | None = None
    memory_bytes: int | None = None
    processes: Mapping[int, int | None] = {}
    """Bytes of each process that computes there, by pid."""
    process_util_pct: Mapping[int, float] = {}
    """Share of time in which kernels of each process ran, by pid, since the sample before."""


class GpuSource(Protocol):
    """Counters of GPUs."""

    def devices(self) -> list[GpuDevice]:
        """All GPUs that the driver lists, in its order; raises Unreadable."""

    def sample(self, uuid: str) -> GpuSample:
        """One look; raises Unreadable where the device is gone."""


class Domain(NamedTuple):
    """A part of the node with an energy counter."""

    name: str
    part: Literal["cpu", "dram"]
    range_uj: int
    """The counter's largest value, after which it begins at 0 again."""


class NodeSource(Protocol):
    """Counters of processors and their memory."""

    def domains(self) -> list[Domain]:
        """Domains that do not contain each other; raises Unreadable."""

    def read_uj(self, name: str) -> int:
        """A domain's counter; raises Unreadable."""
