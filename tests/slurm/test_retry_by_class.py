"""What is tried again on a real Slurm, and with what."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from condhpc import runs
from condhpc.runs import Intent
from tests.slurm.conftest import DevCluster
from tests.slurm.lab import Lab, drain_queue, make_lab

pytestmark = pytest.mark.slurm

DEAF = "#!/bin/sh\ntrap '' USR2 TERM\nwhile :; do sleep 1; done\n"
"""In the place of Python: heeds no signal, so that only Slurm ends it."""


@pytest.fixture
def lab(cluster: DevCluster, tmp_path: Path) -> Iterator[Lab]:
    """A fresh root on the shared cluster."""
    yield make_lab(cluster, tmp_path)
    drain_queue(cluster)


def intents(lab: Lab, stage: str) -> list[Intent]:
    """Submissions of a stage, in order."""
    return [held.intent for held in runs.submissions(lab.run()) if held.intent.stage == stage]


def test_too_little_memory_gets_more_and_code_waits(lab: Lab) -> None:
    """Half as much again until it does, without anybody's help; the other set waits for `retry`; seeds learn."""
    lab.behave(condense={"needs_mb": 250, "fail": ["kcenter"]})
    lab.profile["stages"] = {"condense": {"mem_gb": 0.125}}
    lab.write(condensers=["random", "kcenter"])
    lab.condhpc("submit", lab.root / "lab.toml")
    lab.wait_for({"failed": 2}, "condense")
    for _ in range(2):
        lab.condhpc("submit", "--continue")
        lab.cluster.wait_until("nothing is live", lambda: not set(lab.states()) & {"running", "queued"})
    assert lab.states("condense") == {"recorded": 1, "failed": 1}
    sent = intents(lab, "condense")  # kcenter waits for its embedding, in an array of its own
    assert [intent.mem_gb for intent in sent] == [0.125, 0.125, 0.19, 0.29]
    assert sent[-1].why == "0.29 GB: out of memory"
    lab.behave()
    lab.condhpc("retry", "--class", "code")
    lab.wait_for({"recorded": 2 + 2 + 2})
    lab.behave(condense={"needs_mb": 250})
    lab.condhpc("submit", lab.write(set_seeds=[0, 1]))
    lab.wait_for({"recorded": 2}, "condense")
    assert [intent.mem_gb for intent in intents(lab, "condense")] == [0.29]


def test_a_time_limit_that_slurm_enforced_is_raised(lab: Lab) -> None:
    """A minute, of which Slurm makes up to 74 s, becomes two; `status` shows it."""
    deaf = lab.root / "deaf"
    deaf.write_text(DEAF)
    deaf.chmod(0o755)
    python, lab.profile["python"] = lab.profile["python"], str(deaf)
    lab.profile["requeue"] = False
    lab.profile["stages"] = {"condense": {"time_min": 1}}
    lab.write()
    lab.condhpc("submit", lab.root / "lab.toml")
    job = lab.job("condense")
    state = ("squeue", "-h", "-t", "all", "-j", job, "-o", "%T")
    lab.cluster.wait_until("it is over", lambda: "TIMEOUT" in lab.cluster.run(*state).stdout, timeout_s=100)
    lab.profile["python"] = python
    lab.behave(condense={"steps": 30, "step_s": 0.1})
    lab.condhpc("submit", "--continue")
    assert [intent.time_min for intent in intents(lab, "condense")] == [1, 2]
    assert lab.status()["raised"] == ["1 condense with 2 min: its time limit was too short"]
    lab.wait_for({"recorded": 2})
