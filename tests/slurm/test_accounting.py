"""What a run was charged, against what Slurm's own rows say when they are added up by hand."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from condhpc import accounts, runs
from tests.slurm.conftest import DevCluster
from tests.slurm.lab import Lab, drain_queue, make_lab

pytestmark = pytest.mark.slurm


@pytest.fixture
def lab(cluster: DevCluster, tmp_path: Path) -> Iterator[Lab]:
    """A fresh root on the shared cluster."""
    yield make_lab(cluster, tmp_path)
    drain_queue(cluster)


def raw_rows(lab: Lab) -> list[dict[str, str]]:
    """All attempts of all arrays of the run as sacct prints them, cut at its separators."""
    jobs = ",".join(s.reply.job for s in runs.submissions(lab.run()) if s.reply is not None)
    fields = "JobID,State,Start,End,Suspended,AllocTRES"
    query = ["env", "SLURM_TIME_FORMAT=%s", "sacct", "-nXDP", "-j", jobs, "-o", fields]
    return [
        dict(zip(fields.split(","), row.split("|"), strict=True))
        for row in lab.cluster.run(*query).stdout.split("\n")
        if row
    ]


def by_hand_gpu_s(rows: list[dict[str, str]]) -> int:
    """Start to end without the suspended time, times the GPUs, over all rows that started."""
    total = 0
    for row in rows:
        if row["Start"].isdigit():
            h, m, s = row["Suspended"].split(":")
            held = dict(part.split("=") for part in row["AllocTRES"].split(","))
            elapsed_s = int(row["End"]) - int(row["Start"]) - (int(h) * 3600 + int(m) * 60 + int(s))
            total += int(held["gres/gpu"]) * elapsed_s
    return total


def table(lab: Lab, name: str) -> list[dict[str, str]]:
    """Rows of a table that `collect` wrote."""
    with (lab.root / "out" / name).open(newline="") as file:
        return list(csv.DictReader(file))


def array_of(lab: Lab, stage: str, condenser: str) -> str:
    """The array that has the tasks of this condenser."""
    keys = {p.key for p in runs.plan(lab.run()) if (p.stage, p.label.condenser) == (stage, condenser)}
    found = [s for s in runs.submissions(lab.run()) if keys & {key for pack in s.intent.elements for key in pack}]
    assert found[0].reply is not None
    return found[0].reply.job


def suspend(lab: Lab, element: str, seconds: float) -> None:
    """Suspend an element for so long by our own clock."""
    lab.cluster.run("scontrol", "suspend", element)
    until = time.monotonic() + seconds
    lab.cluster.wait_until(f"{element} was suspended for {seconds} s", lambda: time.monotonic() > until)
    lab.cluster.run("scontrol", "resume", element)


def test_gpu_hours_equal_a_hand_computation(lab: Lab) -> None:
    """Requeued, failed, cancelled and suspended: the charge is the sum over all rows, and each cause is told."""
    lab.profile["stages"]["condense"] = {"gpus": 2}
    lab.behave(condense={"fail_late": ["herding"], "steps": 3, "step_s": 1.0}, evaluate={"steps": 240, "step_s": 0.1})
    lab.write(condensers=["random", "herding"], student_seeds=[0, 1, 2])
    lab.condhpc("submit", lab.root / "lab.toml")
    lab.wait_for({"running": 3, "blocked": 3}, "evaluate")
    job = array_of(lab, "evaluate", "random")
    suspend(lab, f"{job}_0", 3.0)
    lab.cluster.run("scontrol", "requeue", f"{job}_0")
    suspend(lab, f"{job}_1", 4.0)
    lab.cluster.run("scancel", f"{job}_2")
    lab.restart_now(f"{job}_0")
    lab.cluster.wait_until("nothing is live", lambda: not set(lab.states("evaluate")) & {"running", "queued"})
    lab.cluster.wait_until(
        "the accounting has all ends", lambda: all(row["End"].isdigit() for row in raw_rows(lab)), timeout_s=30.0
    )
    lab.condhpc("collect", "--out", lab.root / "out")
    rows = raw_rows(lab)
    attempts = table(lab, "attempts.csv")
    states = {(row["JobID"], row["State"].split()[0]) for row in rows}
    assert {
        (f"{job}_0", "REQUEUED"),
        (f"{job}_0", "COMPLETED"),
        (f"{job}_1", "COMPLETED"),
        (f"{job}_2", "CANCELLED"),
    } <= states
    charged = accounts.charged_gpu_h(accounts.charges(lab.run(), lab.layout))
    assert charged == {"h100": pytest.approx(by_hand_gpu_s(rows) / 3600)}
    assert sum(float(row["gpu_h"]) for row in attempts) == pytest.approx(charged["h100"], abs=1e-5)
    (suspended,) = [row for row in attempts if row["element"] == f"{job}_1"]
    assert 3 <= int(suspended["suspended_s"]) <= 6
    causes = {(row["stage"], row["state"].split()[0], row["cause"]) for row in attempts}
    assert {("condense", "FAILED", "failed"), ("evaluate", "CANCELLED", "cancelled")} <= causes
    (failed,) = [row for row in attempts if row["state"] == "FAILED"]
    assert int(failed["elapsed_s"]) >= 2
    assert float(failed["waste_gpu_h"]) == pytest.approx(2 * int(failed["elapsed_s"]) / 3600, abs=1e-5)
    waste = table(lab, "waste.csv")
    assert sum(float(row["gpu_h"]) for row in waste) == pytest.approx(charged["h100"], abs=1e-5)


def test_without_slurmdbd_own_attempts_are_charged(lab: Lab) -> None:
    """No accounting: the tables say so, and the hours are those between a task's start and end."""
    lab.cluster.verb("stop", "slurmdbd")
    try:
        lab.behave(evaluate={"steps": 40, "step_s": 0.1})
        lab.write()
        lab.condhpc("submit", lab.root / "lab.toml")
        lab.wait_for({"recorded": 2})
        lab.condhpc("collect", "--out", lab.root / "out")
        attempts = table(lab, "attempts.csv")
        assert {row["source"] for row in attempts} == {"attempts"}
        (evaluated,) = [row for row in attempts if row["stage"] == "evaluate"]
        assert 4 <= int(evaluated["elapsed_s"]) <= 15
        assert float(evaluated["gpu_h"]) == pytest.approx(int(evaluated["elapsed_s"]) / 3600, abs=1e-5)
        assert (evaluated["state"], evaluated["recorded"], evaluated["eligible_utc"]) == ("COMPLETED", "1", "")
    finally:
        lab.cluster.verb("start", "slurmdbd")
