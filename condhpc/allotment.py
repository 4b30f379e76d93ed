"""What a task was given of its node: GPUs, cores, memory, and how many share them. Pure but for `here`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from condhpc.context import Site


class Allotment(NamedTuple):
    """One task's part of its element's part of a node."""

    gpus: int = 0
    """GPUs of the element, on all of its nodes."""
    lanes: int = 1
    """Tasks that share these, and the cores, at a time."""
    cores: float = 1.0
    """Logical cores of the task on this node."""
    node_cores: int = 1
    ranks: int = 1
    """Processes, each with a tree of its own, that share the task."""
    nodes: int = 1
    """Nodes whose ranks share the task; what is measured here is measured on one of them."""
    memory_gib: float | None = None
    """Memory of the task on this node; None: not known."""

    @property
    def share(self) -> float:
        """Of the node's cores."""
        return min(1.0, self.cores / self.node_cores)

    @property
    def is_exclusive(self) -> bool:
        """Whether the node is this task's alone, as far as cores tell."""
        return self.lanes == 1 and self.cores >= self.node_cores


def allotment(site: Site, ranks: int, environ: Mapping[str, str], allowed_cores: int, node_cores: int) -> Allotment:
    """From the site, Slurm's variables and the cores that the process may use.

    Slurm counts cores or hardware threads, and a rank is bound to its part of the element's: the larger number holds,
    unless nothing is bound. Outside Slurm a task has the threads that it was promised.
    """
    given = environ.get("SLURM_CPUS_ON_NODE", "") if environ.get("SLURM_JOB_ID") else ""
    if given.isdigit():
        cores = float(given) if allowed_cores >= node_cores else max(float(given), float(allowed_cores))
    else:
        cores = float(site.threads * site.lanes)
    memory_mib, nodes = environ.get("SLURM_MEM_PER_NODE", ""), environ.get("SLURM_JOB_NUM_NODES", "")
    return Allotment(
        gpus=site.gpus,
        lanes=site.lanes,
        cores=min(cores, node_cores) / site.lanes,
        node_cores=node_cores,
        ranks=ranks,
        nodes=int(nodes) if ranks > 1 and nodes.isdigit() else 1,
        memory_gib=int(memory_mib) / 1024 / site.lanes if memory_mib.isdigit() and int(memory_mib) else None,
    )


def here(site: Site, ranks: int) -> Allotment:
    """The allotment of the calling process."""
    node_cores = os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else node_cores
    return allotment(site, ranks, os.environ, allowed, node_cores)
