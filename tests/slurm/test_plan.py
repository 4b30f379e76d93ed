"""What a plan learns from a real Slurm."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.conftest import DevCluster
from tests.slurm.lab import Lab, drain_queue, make_lab

pytestmark = pytest.mark.slurm


@pytest.fixture
def lab(cluster: DevCluster, tmp_path: Path) -> Iterator[Lab]:
    """A fresh root on the shared cluster."""
    yield make_lab(cluster, tmp_path)
    drain_queue(cluster)


def test_a_plan_says_when_its_arrays_could_start(lab: Lab) -> None:
    """On an empty cluster at once; a demand that no node meets is told in Slurm's words; nothing is queued."""
    lab.profile["stages"] = {"evaluate": {"mem_gb": 99999.0}}
    before = time.time()
    shown = json.loads(lab.condhpc("plan", "--json", lab.write()))
    waits = {wait["stages"][0]: wait for wait in shown["waits"]}
    assert before - 60 <= waits["condense"]["start_s"] <= time.time() + 60
    assert waits["evaluate"]["start_s"] is None
    assert "Requested node configuration is not available" in waits["evaluate"]["reason"]
    assert not lab.cluster.run("squeue", "-h").stdout.strip()
    lines = lab.condhpc("plan", lab.root / "lab.toml").splitlines()
    assert any(line.startswith("could start, by sbatch --test-only now: condense in ") for line in lines)
