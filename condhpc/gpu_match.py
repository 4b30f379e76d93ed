"""Which of the listed GPUs are a task's own, by UUID. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from condhpc.power_sources import GpuDevice

_ALLOCATED = ("SLURM_STEP_GPUS", "SLURM_JOB_GPUS")


class OwnGpu(NamedTuple):
    """A GPU, or a MIG instance's share of one."""

    device: GpuDevice
    share: float = 1.0
    mig: bool = False


class Match(NamedTuple):
    """GPUs with the words by which they were found."""

    gpus: tuple[OwnGpu, ...]
    how: str


def by_uuid(devices: Sequence[GpuDevice], uuids: Sequence[str]) -> list[OwnGpu]:
    """GPUs and instances of these UUIDs: with or without prefix, shortened as CUDA allows; unknown ones left out.

    So is a GPU that is split into instances: nobody computes on all of it.
    """
    named = [(_bare(uuid), unit) for device in devices for uuid, unit in _units(device)]
    found: list[OwnGpu] = []
    for wanted in filter(None, map(_bare, uuids)):
        found += [unit for uuid, unit in named if uuid.startswith(wanted)][:1]
    return found


def by_environment(devices: Sequence[GpuDevice], environ: Mapping[str, str]) -> Match:
    """GPUs that CUDA_VISIBLE_DEVICES leaves of those that Slurm allocated; where indices point nowhere, none.

    Slurm's own variables count as the node does. CUDA's indices are relative in a device cgroup and absolute elsewhere,
    and the driver lists the allocated GPUs or all: how many it lists tells which.
    """
    numbers = _slurm_numbers(devices, environ)
    units = [unit for device in devices for _, unit in _units(device)]
    given = _allocated(devices, numbers) if numbers else {str(n): unit for n, unit in enumerate(units)}
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        how = "the GPUs that Slurm allocated" if numbers else "all GPUs that are listed"
        return Match(tuple(given.values()), how)
    words = _words(visible)
    if not all(word.isdigit() for word in words):  # also `NoDevFiles`, `-1`
        return Match(tuple(by_uuid(devices, words)), "by the UUIDs of CUDA_VISIBLE_DEVICES")
    is_absolute = set(words) <= set(given) and (len(units) > len(given) or set(words) == set(given))
    pool = given if is_absolute else {str(n): unit for n, unit in enumerate(given.values())}
    return Match(tuple(pool[word] for word in words if word in pool), "by CUDA_VISIBLE_DEVICES")


def _units(device: GpuDevice) -> list[tuple[str, OwnGpu]]:
    """What CUDA can compute on, by UUID: the instances of a GPU that has some, else the GPU."""
    parts = [(part.uuid, OwnGpu(device, part.share, mig=True)) for part in device.instances]
    return parts or [(device.uuid, OwnGpu(device))]


def _slurm_numbers(devices: Sequence[GpuDevice], environ: Mapping[str, str]) -> list[str]:
    """The node's numbers of what Slurm allocated; none where they may be of instances, which it counts along."""
    named = [_words(environ.get(name, "")) for name in _ALLOCATED]
    if any(device.instances for device in devices):
        return []
    return next((words for words in named if words and all(word.isdigit() for word in words)), [])


def _allocated(devices: Sequence[GpuDevice], numbers: Sequence[str]) -> dict[str, OwnGpu]:
    """Allocated GPUs by the node's own numbers: as many as are listed are all of them, else device files tell."""
    if len(numbers) == len(devices):
        return dict(zip(sorted(numbers, key=int), map(OwnGpu, devices), strict=True))
    by_minor = {str(device.minor): OwnGpu(device) for device in devices if device.minor is not None}
    by_place = {str(n): OwnGpu(device) for n, device in enumerate(devices)}
    known = by_minor or by_place
    return {number: known[number] for number in numbers if number in known}


def _words(text: str) -> list[str]:
    """Parts of a comma list; ranges of numbers spelt out."""
    found: list[str] = []
    for part in filter(None, (word.strip() for word in text.split(","))):
        first, dash, last = part.partition("-")
        is_range = bool(dash) and first.isdigit() and last.isdigit()
        found += map(str, range(int(first), int(last) + 1)) if is_range else [part]
    return found


def _bare(uuid: str) -> str:
    """A UUID without `GPU-` or `MIG-`: torch leaves the prefix off."""
    return uuid.strip().removeprefix("GPU-").removeprefix("MIG-").lower()
