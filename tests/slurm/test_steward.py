"""The steward on a real Slurm: nobody is logged in, and the run comes to its end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from condhpc import runs, steward_job
from tests.slurm.conftest import DevCluster
from tests.slurm.lab import Lab, drain_queue, make_lab

pytestmark = pytest.mark.slurm


@pytest.fixture
def lab(cluster: DevCluster, tmp_path: Path) -> Iterator[Lab]:
    """A steward that looks every three seconds."""
    found = make_lab(cluster, tmp_path)
    found.profile["steward"] = {"interval_min": 0.05, "mem_gb": 1.0}
    yield found
    drain_queue(cluster)


def stewards(lab: Lab) -> list[str]:
    """States of a run's stewards in the queue."""
    name = steward_job.name_of(lab.run())
    return lab.cluster.run("squeue", "-h", "-n", name, "-o", "%T").stdout.split()


def recorded(lab: Lab) -> int:
    """Records, as nobody who could send something counts them."""
    return len(list(lab.root.glob("store/*/*/*/record.json")))


def test_it_feeds_what_a_submit_limit_kept_back_and_ends(lab: Lab) -> None:
    """Eight tasks under a limit of four, one submit, and no other call of ours: all is recorded, no steward is left."""
    lab.profile["submit_limit"] = 4
    lab.write(student_seeds=[0, 1, 2, 3, 4, 5, 6])
    lab.condhpc("submit", lab.root / "lab.toml")
    run = lab.run()
    lab.cluster.wait_until("all is recorded", lambda: recorded(lab) == 8, 90.0)
    lab.cluster.wait_until("no steward is left", lambda: not stewards(lab), 60.0)
    starts = len(list(run.steward(1).parent.glob("*.json")))
    assert 2 <= starts <= 20
    sent = [key for held in runs.submissions(run) for pack in held.intent.elements for key in pack]
    assert len(sent) == len(set(sent)) == 8, "nothing was sent twice"
    assert run.accounting.read_bytes(), "the accounting is in the run"
    code = {path.name for path in (lab.root / "code").iterdir()}
    assert len(code) == 1, "it ran the run's own copy of the code"


def test_a_failure_is_not_tried_again_and_ends_it(lab: Lab) -> None:
    """Only failures are left: the steward sends nothing and ends."""
    lab.behave(evaluate={"fail": ["evaluate"]})
    lab.write()
    lab.condhpc("submit", lab.root / "lab.toml")
    lab.cluster.wait_until("no steward is left", lambda: not stewards(lab), 60.0)
    assert lab.states() == {"recorded": 1, "failed": 1}
    assert len(runs.submissions(lab.run())) == 2


def test_cancel_ends_it(lab: Lab) -> None:
    """`condhpc cancel` leaves no steward in the queue, and a second submit starts no second one."""
    lab.profile["steward"]["interval_min"] = 30
    lab.behave(evaluate={"steps": 600, "step_s": 0.1})
    lab.write()
    lab.condhpc("submit", lab.root / "lab.toml")
    lab.condhpc("submit", lab.root / "lab.toml")
    assert stewards(lab) == ["PENDING"]
    lab.wait_for({"running": 1}, "evaluate")
    lab.condhpc("cancel", "--yes")
    lab.cluster.wait_until("no steward is left", lambda: not stewards(lab))
