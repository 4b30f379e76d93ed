"""Attempts from diaries and records."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from made_runs import MadeRun

from condhpc import lease, ledger, tries


@pytest.fixture
def made(tmp_path: Path) -> MadeRun:
    """A run without tasks yet."""
    return MadeRun(tmp_path)


def read(made: MadeRun) -> tries.Tries:
    """All attempts of the plan."""
    entries = ledger.read(made.layout, ((line.stage, line.key) for line in made.lines)).entries
    return tries.read(made.layout, made.lines, entries)


def before(number: int, outcome: lease.Outcome, job: str) -> lease.Attempt:
    """An earlier attempt as a record remembers it."""
    owner = msgspec.structs.replace(lease.myself(run="r"), job=job, restarts=number - 1, started=100.0 * number)
    pulse = lease.Pulse(beat=1, time=100.0 * number + 5, cost={"gpu_s": 5.0})
    return lease.Attempt(
        number=number,
        owner=owner,
        pulse=pulse,
        end=lease.End(outcome=outcome, time=100.0 * number + 9, cost={"gpu_s": 9.0}, gpu=f"A{number}00"),
    )


def test_a_record_tells_of_the_attempts_before_it(made: MadeRun) -> None:
    """Those that stopped at a checkpoint led to the record; those that failed led nowhere."""
    key = made.condense()
    environment = {"job": "608_0", "restarts": 2, "run": "r", "gpu": "H100", "host": "n2"}
    earlier = (before(1, "failed", "607_0"), before(2, "stopped", "608_0"))
    made.record(key, attempt=3, attempts=earlier, environment=environment, started=300.0, ended=350.0)
    found = read(made).tries
    assert [(t.number, t.element, t.restarts, t.outcome, t.productive, t.start_s, t.end_s) for t in found] == [
        (1, "607_0", 0, "failed", False, 100.0, 109.0),
        (2, "608_0", 1, "stopped", True, 200.0, 209.0),
        (3, "608_0", 2, "recorded", True, 300.0, 350.0),
    ]
    assert [t.cost["gpu_s"] for t in found] == [9.0, 9.0, 0.0]
    assert [t.gpu for t in found] == ["A100", "A200", "H100"]


def test_without_a_record_diaries_tell(made: MadeRun) -> None:
    """A stop that nothing went on from led to nothing yet; a diary without an end is silent since its last pulse."""
    key, other = made.condense(seed=0), made.condense(seed=1)
    made.ended(key, "stopped", job="608_0")
    held = made.lease(key, job="608_0")
    held.pulse(step=1, total=2, values={}, cost={"gpu_s": 3.0})
    made.lease(other, job="608_1")
    found = read(made).tries
    assert [(t.number, t.outcome, t.productive, t.cost) for t in found] == [
        (1, "stopped", False, {}),
        (2, "silent", False, {"gpu_s": 3.0}),
        (1, "silent", False, {}),
    ]
    assert [t.end_s is None for t in found] == [False, False, True]


def test_records_are_not_opened_again(made: MadeRun) -> None:
    """What their entries tell is enough, earlier attempts included."""
    key = made.condense()
    made.record(key, attempt=2, attempts=(before(1, "failed", "607_0"),))
    entries = ledger.read(made.layout, ((line.stage, line.key) for line in made.lines)).entries
    made.folder(key).record.write_text("{")
    found = tries.read(made.layout, made.lines, entries)
    assert [t.number for t in found.tries] == [1, 2]
    assert found.problems == []
