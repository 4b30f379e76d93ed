"""The tables of what a run cost, from its files."""

from __future__ import annotations

from pathlib import Path

import msgspec
from made_runs import MadeRun, made_study
from test_accounts import FakeAccounting, made, sacct_row

from condhpc import accounting_tables, accounts, lease, profile
from condhpc.attempts_table import ATTEMPTS
from condhpc.findings import Row
from condhpc.resources import StageBlock, Stages
from condhpc.tables import Cell
from condhpc.task_state import State


def gather(run: MadeRun, *states: Row) -> tuple[dict[str, list[dict[str, Cell]]], list[str]]:
    """Rows by table and column, and problems."""
    held = made_study(run, *states)
    found = accounting_tables.tables(held)
    return {name: [dict(zip(head, row, strict=True)) for row in rows] for name, head, rows in found}, held.problems


def test_attempts_are_matched_with_what_they_left(tmp_path: Path) -> None:
    """A record and a diary of this run are in its charges; the energy of exclusive nodes is Slurm's own figure."""
    run = made(tmp_path, elements=2)
    name = run.run.name
    run.record(run.lines[0].key, started=1000.0, ended=4600.0, environment={"job": "608_0", "run": name})
    owner = msgspec.structs.replace(lease.myself(run=name), job="608_1", started=1000.0)
    run.lease(run.lines[1].key, owner=owner).end("failed", "no")
    stages = Stages(condense=StageBlock(sbatch={"exclusive": True}))
    held = profile.Profile(name="p", backend="slurm", root=tmp_path, stages=stages)
    run.run.profile.write_bytes(profile.encode(held))
    text = sacct_row("608_0", ConsumedEnergyRaw=3_600_000) + sacct_row("608_1", "FAILED")
    accounts.refresh(run.run, run.layout, FakeAccounting(text))
    found, problems = gather(run)
    assert [(r["element"], r["stage"], r["recorded"], r["cause"]) for r in found["attempts"]] == [
        ("608_0", "condense", 1, ""),
        ("608_1", "condense", 0, "failed"),
    ]
    assert [(r["energy_kwh"], r["energy_grade"]) for r in found["attempts"]] == [(1.0, "B"), ("n/a", "none")]
    assert {r["purpose"]: r["gpu_h"] for r in found["waste"]} == {"productive": 2.0, "failed": 2.0}
    assert [r["cost"] for r in found["cost"]] == ["measured", None]
    assert problems == []


def test_odd_attempts_are_told_in_one_line_each(tmp_path: Path) -> None:
    """An attempt that no charge holds, and a start before its element could start."""
    run = made(tmp_path, elements=2)
    run.record(run.lines[1].key, environment={"job": "608_0", "restarts": 3, "run": run.run.name})
    accounts.refresh(run.run, run.layout, FakeAccounting(sacct_row("608_0", Eligible=1001) + sacct_row("608_1")))
    found, problems = gather(run)
    assert [row["queue_s"] for row in found["attempts"]] == [None, 60]
    assert [[word in problem for problem in problems] for word in ("in no charge", "eligible")] == [
        [True, False],
        [False, True],
    ]


def test_a_run_without_charges_has_headers_only(tmp_path: Path) -> None:
    """Local work is not charged; its sets cost what their records say."""
    run = MadeRun(tmp_path)
    run.record(run.condense())
    found, problems = gather(run.write())
    assert (found["attempts"], found["waste"], problems) == ([], [], [])
    assert [(row["gpu_h"], row["cpu_h"]) for row in found["cost"]] == [(0.0, 0.000556)]
    assert len(set(ATTEMPTS)) == len(ATTEMPTS)


def test_folders_of_waiting_tasks_are_left_alone(tmp_path: Path) -> None:
    """They have no attempts; whoever was looked at, and had some, is read."""
    run = made(tmp_path, elements=3)
    looked: dict[str, Row] = {}
    for i, line in enumerate(run.lines):
        owner = msgspec.structs.replace(lease.myself(run=run.run.name), job=f"608_{i}")
        run.lease(line.key, owner=owner).end("failed")
        state: State = "failed" if i == 2 else "queued"
        attempts = None if i == 0 else 1
        looked[line.key] = Row(key=line.key, stage=line.stage, label=line.label, state=state, attempts=attempts)
    for states, count in ((looked, "2 attempts"), ({}, "3 attempts")):
        _, problems = gather(run, *states.values())
        assert [count in problem for problem in problems] == [True]  # no charge holds them


def test_figures_that_cannot_be_are_named_and_left_out(tmp_path: Path) -> None:
    """A record with a negative cost, and one that ended before it started: a line each, the rest counts."""
    run = made(tmp_path, elements=3)
    name = run.run.name
    for i, cost in enumerate(({"cpu_s": 1.0}, {"cpu_s": -1.0}, {"cpu_s": 36.0})):
        ended = 990.0 if i == 0 else 4600.0
        environment = {"job": f"608_{i}", "run": name}
        run.record(run.lines[i].key, cost=cost, started=1000.0, ended=ended, environment=environment)
    accounts.refresh(run.run, run.layout, FakeAccounting("".join(sacct_row(f"608_{i}") for i in range(3))))
    found, problems = gather(run)
    assert [row["cpu_h"] for row in found["cost"]] == [0.000278, None, 0.01]
    assert {row["purpose"]: row["gpu_h"] for row in found["waste"]} == {"productive": 4.0, "idle_in_pack": 2.0}
    assert [["below 0" in problem, "before they started" in problem] for problem in problems] == [
        [True, False],
        [False, True],
    ]
