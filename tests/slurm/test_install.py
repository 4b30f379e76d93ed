"""slurm/dev/install where it must not install anything."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import DevCluster

INSTALL = Path(__file__).parents[2] / "slurm" / "dev" / "install"


def install(**env: str) -> subprocess.CompletedProcess[str]:
    """Run the script with a changed environment, forbidden to install."""
    changed = os.environ | {"CONDHPC_INSTALL": "0"} | env
    return subprocess.run(
        ["/bin/sh", str(INSTALL)], env=changed, capture_output=True, text=True, timeout=60, check=False
    )


def test_refusal_is_one_sentence_and_its_own_exit_code(tmp_path: Path) -> None:
    """With CONDHPC_INSTALL=0 and sbatch not on the search path it exits 69 and says why and what is missing."""
    refused = install(PATH=str(tmp_path))
    assert refused.returncode == 69
    assert "CONDHPC_INSTALL=0 forbids it" in refused.stderr
    assert "sbatch" in refused.stderr
    assert refused.stdout == ""


@pytest.mark.slurm
def test_nothing_happens_when_all_is_there(cluster: DevCluster) -> None:
    """Where a cluster can be up, there is nothing to install and nothing to say."""
    present = install()
    assert (present.returncode, present.stdout, present.stderr) == (0, "", "")
