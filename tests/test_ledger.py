"""Reading many records."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
from made_runs import MadeRun

from condhpc import ledger


@pytest.fixture
def made(tmp_path: Path) -> MadeRun:
    """A run without tasks yet."""
    return MadeRun(tmp_path)


def test_records_come_back_by_key_and_missing_ones_are_left_out(made: MadeRun) -> None:
    """Values, cost and environment as they were recorded; a task without a record is no problem."""
    a, b = made.condense(seed=0), made.condense(seed=1)
    made.record(a, {"images": 10}, attempt=3)
    found = ledger.read(made.layout, [("condense", a), ("condense", b)])
    assert list(found.entries) == [a]
    assert found.problems == []
    entry = found.entries[a]
    assert (entry.values, entry.attempt, entry.cost["wall_s"]) == ({"images": 10}, 3, 2.5)


@pytest.mark.parametrize("data", [b"", b'{"key": "', b"\xff\xfe", b'{"key": 1}', b"[]"])
def test_unreadable_record_is_named_and_the_others_are_read(made: MadeRun, data: bytes) -> None:
    """One bad file costs one line in the problems, whatever is wrong with its bytes."""
    a, b = made.condense(seed=0), made.condense(seed=1)
    made.record(a)
    made.folder(b).record.write_bytes(data)
    found = ledger.read(made.layout, [("condense", b), ("condense", a)])
    assert list(found.entries) == [a]
    assert len(found.problems) == 1
    assert str(made.folder(b).record) in found.problems[0]


def test_record_of_another_task_is_refused(made: MadeRun) -> None:
    """A record copied into the wrong folder is never counted."""
    a, b = made.condense(seed=0), made.condense(seed=1)
    made.record(a)
    made.folder(b).record.write_bytes(made.folder(a).record.read_bytes())
    found = ledger.read(made.layout, [("condense", b)])
    assert found.entries == {}
    assert a in found.problems[0]


def test_garbage_collection_is_as_it_was_afterwards(made: MadeRun) -> None:
    """It is only paused."""
    assert gc.isenabled()
    ledger.read(made.layout, [])
    assert gc.isenabled()
