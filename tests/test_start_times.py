"""When arrays could start, by texts that sbatch printed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import pytest

from condhpc.arrange import Array
from condhpc.errors import SchedulerError
from condhpc.resources import StageResources
from condhpc.slurm_command import CommandFailedError
from condhpc.spec import Stage
from condhpc.start_times import Wait, options, parse_start, wait_lines, waits

RECORDED = "sbatch: Job 55548625 to start at 1795548634 using 1 processors on nodes n1 in partition main\n"
"""Slurm 22.05.8 under SLURM_TIME_FORMAT=%s, recorded; the other releases are from documentation and threads."""


@pytest.mark.parametrize(
    ("text", "start"),
    [
        (RECORDED, 1795548634),
        ("sbatch: Job 55548630 to start at 2026-11-24T19:30:35 using 1 processors on nodes n1 in partition main\n",
         "2026-11-24T19:30:35"),
        ("sbatch: Job 2 to start at 2017-03-16T13:57:29 using 48 processors on node[1-3]\n", "2017-03-16T13:57:29"),
        ("sbatch: lua: a greeting\nsbatch: Job 9 to start at 2025-01-02T03:04:05 a using 8 processors on nodes x\n",
         "2025-01-02T03:04:05"),
        ("sbatch: Job 9 to start at Unknown using 8 processors on nodes (null)\n", None),
        ("allocation failure: Requested node configuration is not available\n", None),
        ("", None),
    ],
)  # fmt: skip
def test_the_start_is_read(text: str, start: int | str | None) -> None:
    """By number or by this machine's clock; greetings of a site before it do not matter."""
    expected = int(datetime.fromisoformat(start).timestamp()) if isinstance(start, str) else start
    assert parse_start(text) == expected


def _array(stage: Stage, **given: object) -> Array:
    return Array(stage=stage, packs=(("k",),), resources=StageResources(**given))  # type: ignore[arg-type]


def test_equal_demands_are_asked_about_once() -> None:
    """And what fails says why, in Slurm's words, without failing the plan."""
    asked: list[Sequence[str]] = []

    def ask(demand: Sequence[str]) -> str:
        asked.append(demand)
        if "--nodes=2" in demand:
            said = "sbatch: error: invalid partition specified: none\nallocation failure: Invalid partition name\n"
            raise CommandFailedError("`sbatch …`: exit code 1", said)
        if "--nodes=3" in demand:
            raise SchedulerError("no answer within 10 s")
        return RECORDED

    arrays = [
        _array("evaluate"), _array("condense"), _array("evaluate"), _array("teacher", nodes=2),
        _array("embed", nodes=3), Array(stage="analyze", packs=()),
    ]  # fmt: skip
    found = waits(arrays, 1795548634 - 5400, ask)
    assert len(asked) == 3
    assert found == [
        Wait(stages=("condense", "evaluate"), start_s=1795548634, wait_s=5400),
        Wait(stages=("teacher",), start_s=None, wait_s=None, reason="Invalid partition name"),
        Wait(stages=("embed",), start_s=None, wait_s=None, reason="no answer within 10 s"),
    ]
    assert wait_lines(found) == [
        "could start, by sbatch --test-only now: condense, evaluate in 1.5 h",
        "could start, by sbatch --test-only now: teacher not known: Invalid partition name",
        "could start, by sbatch --test-only now: embed not known: no answer within 10 s",
    ]


def test_a_start_in_the_past_is_no_negative_wait() -> None:
    """Two clocks seldom agree."""
    (found,) = waits([_array("condense")], 1795548634 + 3, lambda _: RECORDED)
    assert found.wait_s == 0.0


def test_sbatch_is_told_what_it_will_be_told() -> None:
    """All that decides when a job can start; raw options too, bare and switched off."""
    given = StageResources(
        partition="gpu", account="a", qos="q", gpus=2, gpu_type="h100", cpus=4, mem_gb=1.5, time_min=90, nodes=2,
        ranks_per_node=2, sbatch={"exclusive": True, "constraint": "ib", "comment": False},
    )  # fmt: skip
    assert options(given) == (
        "--partition=gpu", "--account=a", "--qos=q", "--gres=gpu:h100:2", "--nodes=2", "--ntasks-per-node=2",
        "--cpus-per-task=4", "--mem=1536M", "--time=90", "--exclusive", "--constraint=ib",
    )  # fmt: skip
    assert options(StageResources()) == ("--nodes=1", "--cpus-per-task=1")
