"""Arrays larger than the controller allows, on a cluster of their own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from condhpc import runs
from tests.slurm.conftest import DevCluster
from tests.slurm.lab import make_lab

pytestmark = pytest.mark.slurm


def test_more_elements_than_max_array_size(
    make_cluster: Callable[..., AbstractContextManager[DevCluster]], tmp_path: Path
) -> None:
    """Thirteen elements under MaxArraySize 5 become three arrays with indices from 0."""
    root = tmp_path / "root"
    root.mkdir()
    with make_cluster(tmp_path / "cluster", "--max-array-size", "5") as cluster:
        lab = make_lab(cluster, root)
        lab.write(student_seeds=list(range(13)))
        lab.condhpc("submit", root / "lab.toml")
        lab.wait_for({"recorded": 14})
        sizes = [len(s.intent.elements) for s in runs.submissions(lab.run()) if s.intent.stage == "evaluate"]
        assert sizes == [5, 5, 3]
