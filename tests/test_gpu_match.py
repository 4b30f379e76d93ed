"""Which GPUs are ours, in every way that sites and CUDA name them."""

from __future__ import annotations

import pytest

from condhpc.gpu_match import OwnGpu, by_environment, by_uuid
from condhpc.power_sources import GpuDevice, Instance

EIGHT = [GpuDevice(f"GPU-{n}000-00", minor=n) for n in range(8)]
SPLIT = GpuDevice("GPU-aa00-00", minor=0, instances=(Instance("MIG-1100-00", 3 / 7), Instance("MIG-2200-00", 4 / 7)))


@pytest.mark.parametrize(
    ("listed", "environ", "expected"),
    [
        (range(8), {}, range(8)),
        (range(8), {"CUDA_VISIBLE_DEVICES": "2,3"}, (2, 3)),
        (range(8), {"CUDA_VISIBLE_DEVICES": ""}, ()),
        (range(8), {"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, ()),
        (range(8), {"CUDA_VISIBLE_DEVICES": "-1"}, ()),
        (range(8), {"CUDA_VISIBLE_DEVICES": "9"}, ()),
        (range(8), {"CUDA_VISIBLE_DEVICES": "GPU-5000-00, GPU-1"}, (5, 1)),
        # a device cgroup: the driver lists what was allocated, CUDA counts from 0
        ((5,), {"SLURM_JOB_GPUS": "5", "CUDA_VISIBLE_DEVICES": "0"}, (5,)),
        ((2, 3), {"SLURM_JOB_GPUS": "2,3", "CUDA_VISIBLE_DEVICES": "0,1"}, (2, 3)),
        ((2, 3), {"SLURM_JOB_GPUS": "2,3", "CUDA_VISIBLE_DEVICES": "1"}, (3,)),
        ((2, 3), {"SLURM_JOB_GPUS": "2-3", "CUDA_VISIBLE_DEVICES": "0,1"}, (2, 3)),
        ((1, 2), {"SLURM_JOB_GPUS": "1,2", "CUDA_VISIBLE_DEVICES": "1"}, (2,)),
        ((6,), {"SLURM_JOB_GPUS": "6"}, (6,)),
        # a cgroup whose driver lists all GPUs nevertheless
        (range(8), {"SLURM_JOB_GPUS": "5", "CUDA_VISIBLE_DEVICES": "0"}, (5,)),
        (range(8), {"SLURM_JOB_GPUS": "5,6", "CUDA_VISIBLE_DEVICES": "0,1"}, (5, 6)),
        # no cgroup: Slurm and CUDA count alike
        (range(8), {"SLURM_JOB_GPUS": "5,6", "CUDA_VISIBLE_DEVICES": "5,6"}, (5, 6)),
        (range(8), {"SLURM_JOB_GPUS": "5,6", "CUDA_VISIBLE_DEVICES": "6"}, (6,)),
        (range(8), {"SLURM_JOB_GPUS": "5,6"}, (5, 6)),
        (range(8), {"SLURM_JOB_GPUS": "4,5,6", "SLURM_STEP_GPUS": "6", "CUDA_VISIBLE_DEVICES": "0"}, (6,)),
        # the whole node
        (range(8), {"SLURM_JOB_GPUS": "0-7", "CUDA_VISIBLE_DEVICES": "3"}, (3,)),
    ],
)
def test_indices_and_uuids(listed: range, environ: dict[str, str], expected: tuple[int, ...]) -> None:
    """Relative and absolute indices, and UUIDs, lead to the same boards, whichever the driver lists."""
    found = by_environment([EIGHT[n] for n in listed], environ)
    assert found.gpus == tuple(OwnGpu(EIGHT[n]) for n in expected)


def test_device_files_tell_slurms_numbers() -> None:
    """Where the driver's order is another than the node's, the minor number decides."""
    turned = [device._replace(minor=7 - n) for n, device in enumerate(EIGHT)]
    assert by_environment(turned, {"SLURM_JOB_GPUS": "1"}).gpus == (OwnGpu(turned[6]),)


def test_torch_leaves_the_prefix_off() -> None:
    """Its UUIDs are those of the driver without `GPU-`; one that nobody lists is left out."""
    assert by_uuid(EIGHT, ["3000-00", "ffff-00"]) == [OwnGpu(EIGHT[3])]


def test_a_mig_instance_is_its_share_of_the_gpu() -> None:
    """By UUID in CUDA_VISIBLE_DEVICES, by torch's UUID, or by number."""
    small, large = OwnGpu(SPLIT, 3 / 7, mig=True), OwnGpu(SPLIT, 4 / 7, mig=True)
    assert by_environment([SPLIT], {"CUDA_VISIBLE_DEVICES": "MIG-2200-00"}).gpus == (large,)
    assert by_environment([SPLIT], {"CUDA_VISIBLE_DEVICES": "0", "SLURM_JOB_GPUS": "5"}).gpus == (small,)
    assert by_uuid([SPLIT], ["1100-00"]) == [small]


def test_nobody_has_all_of_a_gpu_in_instances() -> None:
    """A library that names the parent of an instance must not be given the whole board."""
    assert by_uuid([SPLIT], ["aa00-00"]) == []
