"""Heartbeats that stand still, by the clock of whoever looks."""

from __future__ import annotations

from pathlib import Path

import pytest

from condhpc import lease
from condhpc.layout import TaskFolder
from condhpc.lease import Lease
from condhpc.owners import Watch


@pytest.fixture
def folder(tmp_path: Path, outside_slurm: None) -> TaskFolder:
    """Folder of a task that nobody has tried."""
    (tmp_path / "k").mkdir()
    return TaskFolder(tmp_path / "k")


def _held(folder: TaskFolder) -> Lease:
    found = lease.acquire(folder, lease.myself(), lambda _: False)
    assert found is not None
    return found


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_watch_counts_only_its_own_clock_and_only_while_the_value_stands(folder: TaskFolder) -> None:
    """A heartbeat is stale after `stale_s` of looking at one value; each change, whatever it says, starts anew."""
    clock = _Clock()
    watch = Watch(900.0, clock)
    held = _held(folder)

    def is_stale() -> bool:
        found = lease.read_attempt(folder, lease.latest_number(folder))
        assert found is not None
        return watch.is_stale(folder, found)

    clock.now = 1e6
    assert not is_stale()  # the first look, however old the file
    clock.now += 899.0
    assert not is_stale()
    held.pulse(step=0, total=0, values={}, cost={})
    clock.now += 899.0
    assert not is_stale()
    clock.now += 899.9
    assert not is_stale()
    clock.now += 0.1
    assert is_stale()
    assert lease.acquire(folder, lease.myself(), lambda held: watch.is_stale(folder, held)) is not None
    clock.now += 1.0
    assert not is_stale()  # the new generation


def test_watch_ignores_the_owners_clock(folder: TaskFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beats from a node whose wall clock is years off, forwards or back, are signs of life all the same."""
    clock = _Clock()
    watch = Watch(10.0, clock)
    held = _held(folder)
    for wall in (4e9, 1.0, 1.0):
        monkeypatch.setattr("condhpc.lease.time.time", lambda wall=wall: wall)
        held.pulse(step=0, total=0, values={}, cost={})
        clock.now += 9.0
        found = lease.read_attempt(folder, 1)
        assert found is not None
        assert not watch.is_stale(folder, found)
