"""Task folders that are looked at again and again, against reading them whole each time."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_runs import MadeRun

from condhpc import lease
from condhpc.looks import Folders


@pytest.fixture
def made(tmp_path: Path) -> MadeRun:
    """A run without tasks yet."""
    return MadeRun(tmp_path)


def whole(made: MadeRun, key: str) -> lease.Attempt | None:
    """The newest attempt, read from its first byte."""
    folder = made.folder(key)
    return lease.read_attempt(folder, lease.latest_number(folder))


def test_a_growing_diary_is_read_on(made: MadeRun) -> None:
    """At each step what was read on is what reading all gives: owner, pulses, a torn line, the end, a new attempt."""
    folders = Folders(made.layout)
    key = made.condense()
    line = made.lines[0]
    assert folders.attempt(line) is None
    held = made.lease(key)
    assert folders.attempt(line) == whole(made, key) is not None
    for step in range(3):
        held.pulse(step=step, total=9, values={"loss": 0.5}, cost={})
        found = folders.attempt(line)
        assert found == whole(made, key)
        assert found is not None
        assert found.pulse is not None
        assert found.pulse.step == step
    path = made.folder(key).lease(1)
    data = path.read_bytes()
    path.write_bytes(data + b'{"pulse":{"beat":9,')
    assert folders.attempt(line) == found
    path.write_bytes(data)
    held.end("failed", "boom")
    assert folders.attempt(line) == whole(made, key)
    made.lease(key)
    second = folders.attempt(line)
    assert second == whole(made, key)
    assert second is not None
    assert second.number == 2


def test_of_a_long_diary_the_ends_are_read(made: MadeRun) -> None:
    """Days of pulses: the owner is in the first line, the newest pulse in the last."""
    key = made.condense()
    held = made.lease(key)
    for step in range(3000):
        held.pulse(step=step, total=3000, values={"loss": 0.5, "images_per_s": 1234.5}, cost={"wall_s": 1.0})
    assert made.folder(key).lease(1).stat().st_size > 256 * 1024
    folders = Folders(made.layout)
    assert folders.attempt(made.lines[0]) == whole(made, key)
    held.pulse(step=3000, total=3000, values={}, cost={})
    assert folders.attempt(made.lines[0]) == whole(made, key)


def test_a_folder_that_settled_is_not_listed_again(made: MadeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seconds after its last change one call of stat tells that nothing came."""
    key = made.condense()
    made.lease(key)
    clock = [0.0]
    folders = Folders(made.layout, clock=lambda: clock[0])
    listed: list[object] = []
    real = lease.latest_number
    monkeypatch.setattr(lease, "latest_number", lambda folder: listed.append(folder) or real(folder))
    folders.attempt(made.lines[0])
    clock[0] = 3.0
    folders.attempt(made.lines[0])
    assert len(listed) == 2
    clock[0] = 9.0
    folders.attempt(made.lines[0])
    assert len(listed) == 2
    (made.folder(key).path / "lease.0007").write_bytes(b"")
    folders.attempt(made.lines[0])
    assert len(listed) == 3


def test_of_very_many_problems_the_first_are_told(made: MadeRun) -> None:
    """And how many there are more."""
    keys = [made.condense(seed=seed) for seed in range(25)]
    folders = Folders(made.layout)
    for key, line in zip(keys, made.lines, strict=True):
        made.folder(key).record.write_bytes(b"{")
        assert not folders.is_recorded(line)
    found = list(folders.problems())
    assert len(found) == 21
    assert found[-1].startswith("… and 5 more")


def test_a_damaged_record_is_no_record_and_is_told_until_mended(made: MadeRun) -> None:
    """The message stands as long as the damage does."""
    key = made.condense()
    folders = Folders(made.layout)
    made.folder(key).record.write_bytes(b"{")
    assert not folders.is_recorded(made.lines[0])
    assert str(made.folder(key).record) in "".join(folders.problems())
    made.folder(key).record.unlink()
    made.record(key)
    assert folders.is_recorded(made.lines[0])
    assert not list(folders.problems())
