"""A budget that several runs share, some of them another user's, closed or gone; Slurm is pretended."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from made_runs import MadeRun
from test_spending import FakeSlurm, account, bounded, charge

from condhpc import budget, cli_budget, enforcing, reservations
from condhpc.budget import Amounts
from condhpc.errors import InputError
from condhpc.estimates import Upper

SAID = "10gpuh"


def sharing(root: Path, name: str) -> MadeRun:
    """Another run with one element, job 700, and 9 GPU-h reserved for it."""
    made = MadeRun(root, name)
    key = made.condense("kmeans")
    made.write().submit([key], job="700")
    reservations.reserve(made.run, "sub-700", [[key]], {key: Amounts(gpu_h=9.0)})
    return made


@pytest.fixture
def ours(root: Path) -> MadeRun:
    """A run of three elements on a shared budget of 10 GPU-h, of which nothing is charged or goes on."""
    made = bounded(root)
    share(made)
    return made


def share(*runs: MadeRun) -> None:
    """Charge them to one budget."""
    for made in runs:
        reservations.join(made.run, made.layout, budget.parse(f"lab:{SAID}"), f"lab:{SAID}", hard=False)


def test_a_deleted_run_does_not_end_enforcement(ours: MadeRun) -> None:
    """The others are stopped all the same, and it is said that its charge is not known."""
    gone = sharing(ours.layout.root, "gone-20260101T000000Z")
    share(gone)
    shutil.rmtree(gone.run.path)
    account(ours, charge("608_0", 36_000))
    said: list[str] = []
    at = enforcing.enforce(ours.run, ours.layout, FakeSlurm(""), said.append)
    assert at is not None
    assert at.charged.gpu_h == pytest.approx(20.0)
    assert ours.run.over_budget.exists()
    assert [line for line in cli_budget.lines(at) if gone.run.name in line and "not known" in line]
    with pytest.raises(InputError):
        enforcing.claim(ours.run, ours.layout, f"lab:{SAID}", Upper({}, 0), FakeSlurm(""), said.append)
    assert [line for line in said if gone.run.name in line and "not known" in line]
