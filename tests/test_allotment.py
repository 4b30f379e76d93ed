"""What a task was given, from Slurm's variables and from the profile."""

from __future__ import annotations

import pytest

from condhpc.allotment import Allotment, allotment
from condhpc.context import Site

JOB = {"SLURM_JOB_ID": "7", "SLURM_CPUS_ON_NODE": "16", "SLURM_MEM_PER_NODE": "65536", "SLURM_JOB_NUM_NODES": "2"}


def given(environ: dict[str, str], allowed: int = 16, ranks: int = 1, **site: int) -> Allotment:
    """Of a node with 64 cores."""
    return allotment(Site(root="", **site), ranks, environ, allowed, 64)


@pytest.mark.parametrize(
    ("environ", "allowed", "cores"),
    [
        (JOB, 16, 16.0),
        (JOB, 64, 16.0),  # nothing is bound: Slurm's number holds
        (JOB, 32, 32.0),  # Slurm counts cores, the kernel hardware threads
        (JOB, 4, 16.0),  # one rank's cores of the element's
        ({**JOB, "SLURM_CPUS_ON_NODE": "64"}, 64, 64.0),
        ({}, 64, 2.0),  # outside Slurm
    ],
)
def test_cores(environ: dict[str, str], allowed: int, cores: float) -> None:
    """The element's cores on this node."""
    found = given(environ, allowed, threads=2)
    assert (found.cores, found.node_cores) == (cores, 64)
    assert found.is_exclusive == (cores == 64)
    assert found.share == pytest.approx(cores / 64)


def test_lanes_divide_cores_and_memory() -> None:
    """Tasks that run at a time have equal parts, and none has the node to itself."""
    found = given({**JOB, "SLURM_CPUS_ON_NODE": "64"}, 64, lanes=4, gpus=2)
    assert (found.cores, found.memory_gib, found.gpus, found.lanes) == (16.0, 16.0, 2, 4)
    assert not found.is_exclusive
    assert given({}, 64, lanes=4, threads=2).cores == 2.0


def test_nodes_count_where_ranks_share_a_task() -> None:
    """A single process never computes elsewhere, however many nodes there are."""
    assert (given(JOB).nodes, given(JOB, ranks=8).nodes, given({}, ranks=8).nodes) == (1, 2, 1)


def test_unknown_memory_is_not_zero() -> None:
    """Slurm says 0 for all of a node's memory, and nothing where memory is not tracked."""
    assert given({**JOB, "SLURM_MEM_PER_NODE": "0"}).memory_gib is None
    assert given({}).memory_gib is None
