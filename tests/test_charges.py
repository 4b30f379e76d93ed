"""Charges from rows."""

from __future__ import annotations

import pytest
from test_waste import attempt

from condhpc.charges import of_tries, plausible_j
from condhpc.resources import StageResources
from condhpc.runs import Intent, Submission


@pytest.mark.parametrize(
    ("joules", "nodes", "elapsed_s", "expected"),
    [
        (None, 1, 100, None),
        (36_000, 1, 100, 36_000.0),
        (36_000, 1, 0, None),
        (5, 1, 100, None),
        (3_000_000, 1, 100, None),
        (3_000_000, 2, 100, 3_000_000.0),
    ],
)
def test_energy_is_what_nodes_can_use(joules: int | None, nodes: int, elapsed_s: int, expected: float | None) -> None:
    """Less than an idle node or more than any node is a counter's fault: not measured."""
    assert plausible_j(joules, nodes, elapsed_s) == expected


def test_own_attempts_are_charged_what_their_stage_asks_for() -> None:
    """Cores and memory of all ranks; the GPU type by Slurm's name where the profile has it, else by CUDA's."""
    sent = Submission(intent=Intent(name="s", backend="slurm", elements=(("k",),), gpus=4, time=900.0))
    tries = [attempt("recorded", 1000.0, 1100.4, gpu="NVIDIA H100"), attempt("failed", 1200.0, None, gpu="")]
    given = StageResources(gpus=2, gpu_type="h100", cpus=8, nodes=2, ranks_per_node=2, mem_gb=64.0)
    found = of_tries(tries, sent, given, over=True)
    assert (found.gpus, found.gpu_type, found.cpus, found.mem_mb, found.nodes) == (4, "h100", 32, 131072, 2)
    assert (found.start_s, found.end_s, found.elapsed_s, found.state) == (1000, 1200, 200, "FAILED")
    assert of_tries(tries, sent, StageResources(), over=True).gpu_type == "NVIDIA H100"
