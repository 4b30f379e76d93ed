"""Actions on single tasks and on arrays of a real Slurm."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from condhpc import runs
from tests.slurm.conftest import DevCluster
from tests.slurm.lab import Lab, drain_queue, make_lab

pytestmark = pytest.mark.slurm

SLOW = {"steps": 600, "step_s": 0.2}
"""Two minutes: longer than any of these tests looks at it."""


@pytest.fixture
def lab(cluster: DevCluster, tmp_path: Path) -> Iterator[Lab]:
    """A fresh root on the shared cluster."""
    yield make_lab(cluster, tmp_path)
    drain_queue(cluster)


def keys(lab: Lab, stage: str) -> list[str]:
    """Of a stage, in the order of the plan."""
    return [line.key for line in runs.plan(lab.run()) if line.stage == stage]


def state(lab: Lab, key: str) -> str:
    """What a task is now."""
    return next(row["state"] for row in lab.status()["rows"] if row["key"] == key)


def shown(lab: Lab, job: str) -> list[tuple[str, str]]:
    """State and reason of all rows of an array in squeue."""
    text = lab.cluster.run("squeue", "-h", "-r", "-j", job, "-o", "%T %r", check=False).stdout
    return [(line.split()[0], line.split()[1]) for line in text.splitlines()]


def is_held(reason: str) -> bool:
    """By the user, or by root, which these tests may run as."""
    return reason.startswith("JobHeld")


def test_cancel_and_retry_of_single_tasks(lab: Lab) -> None:
    """One of three sets stops at a checkpoint with its student, the steward leaves it, `retry` ends it from there."""
    lab.profile["stages"] = {"default": lab.profile["stages"]["default"] | {"pack": 1}}
    lab.behave(condense=SLOW)
    lab.condhpc("submit", lab.write(set_seeds=[0, 1, 2]))
    lab.wait_for({"running": 3}, "condense")
    sets, students = keys(lab, "condense"), keys(lab, "evaluate")
    lab.cluster.wait_until("steps are done", lambda: len(lab.steps("condense").get(sets[1], [])) > 3)
    lab.condhpc("cancel", "--task", sets[1][:10], expect=2)  # nobody can answer here
    lab.condhpc("cancel", "--task", sets[1][:10], "--yes")
    lab.cluster.wait_until("it is stopped", lambda: state(lab, sets[1]) == "new", timeout_s=30)
    assert [state(lab, key) for key in sets] == ["running", "new", "running"]
    assert [state(lab, key) for key in students] == ["queued", "new", "queued"]
    before = len(runs.submissions(lab.run()))
    lab.condhpc("steward")
    assert len(runs.submissions(lab.run())) == before
    stopped_after = len(lab.steps("condense")[sets[1]])
    lab.behave(condense={"steps": stopped_after + 3})
    lab.condhpc("retry", "--task", sets[1], "--time-min", "12")
    sent = [held.intent for held in runs.submissions(lab.run())][before:]
    assert {key for intent in sent for pack in intent.elements for key in pack} == {sets[1], students[1]}
    assert [intent.time_min for intent in sent if intent.stage == "condense"] == [12]
    lab.cluster.wait_until("its student is done", lambda: state(lab, students[1]) == "recorded", timeout_s=60)
    steps = lab.steps("condense")[sets[1]]
    assert steps[-3:] == list(range(stopped_after, stopped_after + 3)), "it did not go on from its checkpoint"
    lab.condhpc("cancel", "--yes")


def test_hold_release_and_throttle(lab: Lab) -> None:
    """A throttle of one lets one run; what is held does not start when it ends, and goes on when released."""
    stage = lab.profile["stages"]["default"] | {"pack": 1, "max_running": 2}
    lab.profile["stages"] = {"default": stage}
    lab.behave(condense=SLOW)
    lab.condhpc("submit", lab.write(set_seeds=[0, 1, 2, 3]))
    job = lab.job("condense")
    lab.cluster.wait_until("two run", lambda: [s for s, _ in shown(lab, job)].count("RUNNING") == 2)
    lab.condhpc("throttle", "3", "--stage", "condense")
    lab.cluster.wait_until("three run", lambda: [s for s, _ in shown(lab, job)].count("RUNNING") == 3)
    waiting = next(key for key in keys(lab, "condense") if state(lab, key) == "queued")
    lab.condhpc("hold", "--task", waiting)
    assert [is_held(why) for s, why in shown(lab, job) if s == "PENDING"] == [True]
    lab.condhpc("throttle", "0")
    element = f"{job}_{keys(lab, 'condense').index(waiting)}"
    assert is_held(lab.cluster.run("squeue", "-h", "-j", element, "-o", "%r").stdout)
    lab.condhpc("hold", "--task", waiting, expect=2)  # it is held already
    lab.condhpc("release", "--task", waiting)
    lab.cluster.wait_until("it runs", lambda: state(lab, waiting) == "running", timeout_s=60)
    lab.condhpc("hold")  # all students, which wait for their sets
    assert {is_held(why) for _, why in shown(lab, lab.job("evaluate"))} == {True}
    lab.condhpc("release")
    assert {why for _, why in shown(lab, lab.job("evaluate"))} <= {"Dependency", "None"}
    lab.condhpc("release", expect=2)
    lab.condhpc("cancel", "--yes")
