"""Evidence of failures: diaries written by the program, Slurm's words as it prints them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from made_runs import FakeQueue, MadeRun, dead_owner, squeue_row
from test_accounts import sacct_row

from condhpc import runs
from condhpc.failures import Failure, dependants, failures, gather
from condhpc.slurm_text import AcctRow, parse_sacct


class FakeSlurm(FakeQueue):
    """Recorded squeue and sacct; None: nobody keeps accounts."""

    def __init__(self, *rows: str, sacct: str | None = "") -> None:
        super().__init__(*rows)
        self.sacct = sacct

    def history(self, parents: Any, since_s: int) -> list[AcctRow] | None:
        """All rows."""
        del parents, since_s
        return None if self.sacct is None else parse_sacct(self.sacct)


@pytest.fixture
def made(root: Path) -> MadeRun:
    """A run with one array 608 of four sets, which had an hour and 16 GB."""
    found = MadeRun(root)
    sets = [found.condense(seed=seed) for seed in range(4)]
    found.write()
    packs = tuple((key,) for key in sets)
    intent = runs.Intent(
        name="sub", backend="slurm", stage="condense", elements=packs, time_min=60, mem_gb=16, time=1.0
    )
    runs.append(found.run, intent)
    runs.append(found.run, runs.Reply(name="sub", job="608", time=1.5))
    return found


def _failures(made: MadeRun, slurm: FakeSlurm | None) -> dict[str, Failure]:
    """By the number of the set."""
    found = failures(gather(made.run, made.layout, slurm), {line.key: line.stage for line in made.lines})
    order = [line.key for line in made.lines]
    return {f"608_{order.index(key)}": failure for key, failure in found.items()}


def _key(made: MadeRun, index: int) -> str:
    return made.lines[index].key


def test_what_a_used_up_budget_left_is_no_failure(made: MadeRun) -> None:
    """Its element ended with 75, which Slurm calls FAILED, before it was begun."""
    made.hint("sub", 0, _key(made, 0), "over_budget")
    slurm = FakeSlurm(squeue_row("608_0", "FAILED"), squeue_row("608_1", "FAILED"))
    assert _failures(made, slurm).keys() >= {"608_1"}
    assert "608_0" not in _failures(made, slurm)


def test_what_a_stopped_element_never_reached_is_no_failure(root: Path) -> None:
    """Its exit status of 75 is FAILED to Slurm, which then says nothing of the tasks after the one it stopped at."""
    made = MadeRun(root)
    keys = [made.condense(seed=seed) for seed in range(5)]
    stopped, left, broken, silent, failed = keys
    name = made.write().submit([stopped, left], [broken], [silent, failed], sent=1.0)
    made.ended(stopped, "stopped", "told to", job="608_0")
    made.ended(failed, "failed", "ValueError: no", job="608_2")
    made.hint(name, 0, stopped, "stopped")
    made.hint(name, 0, left, "stopped")
    made.hint(name, 2, failed, "stopped")
    slurm = FakeSlurm(*(squeue_row(f"608_{index}", "FAILED") for index in range(3)))
    found = failures(gather(made.run, made.layout, slurm), dict.fromkeys(keys, "condense"))
    assert {key: failure.cause for key, failure in found.items()} == dict.fromkeys((broken, silent, failed), "code")


def test_each_set_has_its_own_cause(made: MadeRun) -> None:
    """A traceback, a death that Slurm explains, one that a node explains, and a set that was recorded meanwhile."""
    made.ended(_key(made, 0), "failed", "ValueError: no", job="608_0")
    for index in (1, 2):
        made.lease(_key(made, index), owner=msgspec.structs.replace(dead_owner(), job=f"608_{index}"))
    slurm = FakeSlurm(
        squeue_row("608_1", "OUT_OF_MEMORY"), sacct=sacct_row("608_2", "NODE_FAIL") + sacct_row("608_1", "RUNNING")
    )
    found = _failures(made, slurm)
    assert {name: failure.cause for name, failure in found.items()} == {
        "608_0": "code", "608_1": "memory", "608_2": "infra", "608_3": "infra",
    }  # fmt: skip
    assert found["608_1"].given == (60, 16, 1)
    assert all(failure.sent == 1 for failure in found.values())


def test_a_cancelled_element_did_not_fail(made: MadeRun) -> None:
    """Neither behind our back nor by `cancel`."""
    runs.append(made.run, runs.Cancel(name="sub", elements=(1, 2, 3), time=2.0))
    assert _failures(made, FakeSlurm(sacct=sacct_row("608_0", "CANCELLED by 1000"))) == {}


def test_without_accounting_diaries_tell(made: MadeRun) -> None:
    """What left no word is lost; what stopped goes on."""
    made.ended(_key(made, 0), "stopped", "told to", job="608_0")
    made.ended(_key(made, 1), "failed", "MemoryError", job="608_1")
    found = _failures(made, FakeSlurm(sacct=None))
    assert {name: failure.cause for name, failure in found.items()} == {
        "608_1": "memory", "608_2": "infra", "608_3": "infra",
    }  # fmt: skip


def test_a_whole_limit_without_a_step_is_too_short(made: MadeRun) -> None:
    """The same checkpoint twice, each time near the limit by what Slurm charged."""
    key, me = _key(made, 0), dead_owner()
    for restarts, step in ((0, 7), (1, 7)):
        held = made.lease(key, owner=msgspec.structs.replace(me, job="608_0", restarts=restarts, started=time.time()))
        held.pulse(step=step, total=100, values={}, cost={})
        held.end("stopped", "time limit")
    row = {"ElapsedRaw": 3480, "End": 4480}
    text = sacct_row("608_0", "REQUEUED", **row) + sacct_row("608_0", "COMPLETED", Start=9000, **row | {"End": 12480})
    assert _failures(made, FakeSlurm(sacct=text))["608_0"].cause == "time"
    brief = text.replace("3480", "348")
    made.run.accounting.unlink()
    assert "608_0" not in _failures(made, FakeSlurm(sacct=brief))


def test_memory_that_nobody_asked_for_is_what_slurm_gave(root: Path) -> None:
    """Else the most that the task held; a number of seconds would not do."""
    made = MadeRun(root)
    first, second = made.condense(seed=0), made.condense(seed=1)
    made.write().submit([first], [second], sent=1.0)
    made.lease(first, owner=msgspec.structs.replace(dead_owner(), job="608_0"))
    held = made.lease(second, owner=msgspec.structs.replace(dead_owner(), job="608_1"))
    held.end("failed", "MemoryError", {"peak_rss_bytes": 3 * 2.0**30})
    found = _failures(made, FakeSlurm(sacct=sacct_row("608_0", "OUT_OF_MEMORY")))
    assert (found["608_0"].given.mem_gb, found["608_1"].given.mem_gb) == (16.0, 3.0)
    assert found["608_0"].given.time_min is None


def test_a_worker_of_this_machine_that_was_killed_is_lost(root: Path) -> None:
    """Local work has nobody but diaries; what was never begun is simply new."""
    made = MadeRun(root)
    first, second = made.condense(seed=0), made.condense(seed=1)
    made.write().pool(first, second, pids={"1": 1})
    made.lease(first, owner=dead_owner())
    found = failures(gather(made.run, made.layout, None), {first: "condense", second: "condense"})
    assert {key: failure.cause for key, failure in found.items()} == {first: "infra"}


def test_dependants_of_dependants_wait_too(root: Path) -> None:
    """Others do not."""
    made = MadeRun(root)
    teacher = made.teacher()
    embedding = made.embed(teacher)
    chosen = made.condense("herding", seed=None, inputs={"embedding": embedding})
    made.evaluate(made.condense())
    last = made.evaluate(chosen)
    assert dependants(made.tasks, [teacher]) == {teacher, embedding, chosen, last}
