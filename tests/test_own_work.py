"""What a run's own work took, read on from look to look, against reading all of it each time."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable
from pathlib import Path

import pytest
from made_owners import as_anybody, close, give_away, needs_root
from made_runs import MadeRun

from condhpc import lease, ledger, runs, tries
from condhpc.budget import Amounts
from condhpc.layout import Layout, TaskFolder
from condhpc.lease import Attempt, Lease
from condhpc.ledger import Ledger
from condhpc.own_work import OwnWork
from condhpc.spec import Stage


@pytest.fixture
def made(root: Path) -> MadeRun:
    """Twelve sets that nobody began."""
    found = MadeRun(root)
    for seed in range(12):
        found.condense(seed=seed)
    return found.write()


def whole(made: MadeRun) -> tuple[float, float]:
    """GPU- and CPU-hours of local work of this run, by all diaries and records."""
    plan = runs.plan(made.run)
    entries = ledger.read(made.layout, ((line.stage, line.key) for line in plan)).entries
    costs = [one.cost for one in tries.read(made.layout, plan, entries).tries if one.run == made.run.name]
    return sum(cost.get("gpu_s", 0.0) for cost in costs) / 3600, sum(cost.get("cpu_s", 0.0) for cost in costs) / 3600


class Work:
    """Local workers of this run, and of another, that begin, pulse, fail and record."""

    def __init__(self, made: MadeRun, seed: int) -> None:
        self.made = made
        self.drawn = random.Random(seed)
        self.held: dict[str, Lease] = {}
        self.todo = [line.key for line in made.lines]

    def step(self) -> None:
        """One thing happens."""
        key = self.drawn.choice(self.todo)
        cost = {"gpu_s": self.drawn.uniform(1, 99), "cpu_s": self.drawn.uniform(1, 99)}
        if key not in self.held:
            owner = lease.myself(run=self.drawn.choice([self.made.run.name] * 3 + ["another"]))
            self.held[key] = self.made.lease(key, owner=owner)
            return
        held, end = self.held[key], self.drawn.choice(["pulse", "pulse", "failed", "recorded"])
        if end == "pulse":
            held.pulse(step=1, total=9, values={}, cost=cost)
            return
        del self.held[key]
        if end == "failed":
            held.end("failed", "no luck", cost)
            return
        held.end("recorded", "", cost)
        environment = {"run": held.owner.run, "device": "cpu", "host": "n1"}
        self.made.record(key, cost=cost, environment=environment, attempt=held.number)
        self.todo.remove(key)


@pytest.mark.parametrize("seed", range(3))
def test_reading_on_gives_what_reading_all_gives(made: MadeRun, seed: int) -> None:
    """After each of many steps, however fast they follow each other."""
    own, work = OwnWork(made.run, made.layout), Work(made, seed)
    assert own.amounts() == Amounts()
    while len(work.todo) > 1:
        work.step()
        found = own.amounts()
        assert (found.gpu_h, found.cpu_h) == pytest.approx(whole(made), abs=1e-12)
    assert found.gpu_h > 0
    assert found.kwh > 0


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keys that were read, and folders that were listed."""
    found: list[str] = []
    real, really = ledger.read, lease.latest_number

    def entries(layout: Layout, tasks: Iterable[tuple[Stage, str]]) -> Ledger:
        asked = list(tasks)
        found.extend(key for _, key in asked)
        return real(layout, asked)

    def number(folder: TaskFolder) -> int:
        found.append(folder.path.name)
        return really(folder)

    monkeypatch.setattr(ledger, "read", entries)
    monkeypatch.setattr(lease, "latest_number", number)
    return found


def test_what_did_not_change_is_not_read_again(made: MadeRun, read: list[str]) -> None:
    """Neither records nor diaries, nor is a folder listed; of a new pulse, attempt or record only that task is read."""
    clock = [0.0]
    own = OwnWork(made.run, made.layout, lambda: clock[0])
    keys = [line.key for line in made.lines]
    me = lease.myself(run=made.run.name)
    for key in keys[:4]:
        made.record(key, environment={"run": made.run.name})
    held = [made.lease(key, owner=me) for key in keys[4:6]]
    for path in (made.layout.root / "store").rglob("*"):
        os.utime(path, (1.0, 1.0))  # long ago: what comes now leaves another time
    for _ in range(3):
        before = own.amounts()
        clock[0] += 5.0
    read.clear()
    assert own.amounts() == before
    assert read == []
    held[1].pulse(step=1, total=2, values={}, cost={"gpu_s": 36.0})
    assert own.amounts().gpu_h == pytest.approx(before.gpu_h + 0.01)
    assert set(read) == {keys[5]}
    made.record(keys[4], environment={"run": made.run.name}, cost={"gpu_s": 72.0})
    made.ended(keys[6], "failed")
    read.clear()
    assert own.amounts().gpu_h == pytest.approx(before.gpu_h + 0.03)
    assert set(read) == {keys[4], keys[6]}


@needs_root
@pytest.mark.parametrize("closed", ["record", "diary", "folder", "fan"])
def test_what_is_closed_is_not_taken_for_nothing(made: MadeRun, tmp_path: Path, closed: str) -> None:
    """It is refused as often as it is asked for, and counts as soon as it is open."""
    key = made.lines[0].key
    folder = made.folder(key)
    if closed == "diary":
        made.lease(key, owner=lease.myself(run=made.run.name)).pulse(step=1, total=2, values={}, cost={"gpu_s": 3600.0})
    else:
        made.record(key, environment={"run": made.run.name}, cost={"gpu_s": 3600.0})
    for path in (made.layout.root / "store").rglob("*"):
        os.utime(path, (1.0, 1.0))
    give_away(made.layout.root)
    path = {"record": folder.record, "diary": folder.lease(1), "folder": folder.path, "fan": folder.path.parent}[closed]
    mode = path.stat().st_mode
    close(path)
    clock = [0.0]
    own = OwnWork(made.run, made.layout, lambda: clock[0])

    def looks() -> list[str]:
        found = []
        for _ in range(4):
            clock[0] += 5.0
            try:
                found.append(str(own.amounts().gpu_h))
            except PermissionError as error:
                found.append(type(error).__name__)
        return found

    assert as_anybody(looks, tmp_path / "answer.json") == ["PermissionError"] * 4
    path.chmod(mode)
    assert as_anybody(looks, tmp_path / "answer.json") == ["1.0"] * 4


def test_what_was_closed_counts_once_it_is_open(made: MadeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that was refused does not count as one."""
    key = made.lines[0].key
    made.lease(key, owner=lease.myself(run=made.run.name)).pulse(step=1, total=2, values={}, cost={"gpu_s": 3600.0})
    for path in (made.layout.root / "store").rglob("*"):
        os.utime(path, (1.0, 1.0))
    clock = [0.0]
    own = OwnWork(made.run, made.layout, lambda: clock[0])

    def refused(folder: TaskFolder, up_to: int | None = None) -> list[Attempt]:
        del up_to
        raise PermissionError(13, "Permission denied", str(folder.path))

    with monkeypatch.context() as closed:
        closed.setattr(lease, "attempts", refused)
        for _ in range(3):
            clock[0] += 5.0
            with pytest.raises(PermissionError):
                own.amounts()
    clock[0] += 5.0
    assert own.amounts().gpu_h == pytest.approx(1.0)
