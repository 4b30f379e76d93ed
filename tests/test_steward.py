"""What the steward sends, what it leaves, and when it ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_runs import FakeQueue, MadeRun, squeue_row

from condhpc import (
    accounts,
    advancing,
    budget,
    enforcing,
    reservations,
    retrying,
    snapshot,
    spending,
    steward,
    steward_job,
)
from condhpc.budget import Amounts
from condhpc.errors import InputError, SchedulerError
from condhpc.observe import Observer
from condhpc.own_work import OwnWork
from condhpc.profile import Profile
from condhpc.sending import Terms

pytestmark = pytest.mark.usefixtures("outside_slurm")
PROFILE = Profile(name="x", backend="slurm")


class Advanced:
    """In the place of `advancing.advance`: says how much it sent, or fails."""

    def __init__(self) -> None:
        self.calls = 0
        self.sent = 1
        self.error: Exception | None = None

    def __call__(self, *_: Any, terms: Terms, **__: Any) -> advancing.Step:
        """Note."""
        assert not terms.steward, "it is one itself"
        assert terms.asked == retrying.UNASKED, "neither code nor what was cancelled goes on by itself"
        self.calls += 1
        if self.error is not None:
            raise self.error
        return advancing.Step(self.sent, None, PROFILE)


@pytest.fixture
def made(root: Path, monkeypatch: pytest.MonkeyPatch) -> MadeRun:
    """Four sets; an accounting that says nothing."""
    found = MadeRun(root)
    for seed in range(4):
        found.condense(seed=seed)
    monkeypatch.setattr(accounts, "refresh", lambda *_: [])
    return found.write()


@pytest.fixture
def advanced(monkeypatch: pytest.MonkeyPatch) -> Advanced:
    """Notes calls of `advancing.advance`."""
    found = Advanced()
    monkeypatch.setattr(advancing, "advance", found)
    return found


def _round(made: MadeRun, *rows: str, say: Callable[[str], object] = print) -> bool:
    return steward.round_(made.run, made.layout, PROFILE, FakeQueue(*rows), say)  # type: ignore[arg-type]


def _keys(made: MadeRun) -> list[str]:
    return [line.key for line in made.lines]


def test_it_sends_what_was_kept_back(made: MadeRun, advanced: Advanced) -> None:
    """One runs, the others were never sent."""
    made.submit([_keys(made)[0]])
    assert _round(made, squeue_row("608_0", "RUNNING"))
    assert advanced.calls == 1


@pytest.mark.parametrize(("sent", "more"), [(0, False), (2, True)])
def test_failures_alone_end_it_unless_some_are_tried_again(
    made: MadeRun, advanced: Advanced, sent: int, *, more: bool
) -> None:
    """Which are is the submit's to say."""
    advanced.sent = sent
    for key in _keys(made):
        made.ended(key, "failed", "x")
    made.submit(*([key] for key in _keys(made)), sent=1.0)
    assert _round(made) == more
    assert advanced.calls == 1


def test_nothing_to_send_while_things_move(made: MadeRun, advanced: Advanced) -> None:
    """Then it only looks, and comes again."""
    made.submit(*([key] for key in _keys(made)))
    assert _round(made, squeue_row("608_[0-3]", "PENDING"))
    assert advanced.calls == 0


def test_it_ends_with_the_run(made: MadeRun, advanced: Advanced) -> None:
    """All recorded: nothing is planned again."""
    for key in _keys(made):
        made.record(key)
    made.submit(*([key] for key in _keys(made)), sent=1.0)
    assert not _round(made)
    assert advanced.calls == 0


def test_a_cancelled_run_is_left_alone(made: MadeRun, advanced: Advanced) -> None:
    """Not even the queue is asked."""
    made.run.cancel.touch()
    queue = FakeQueue(error=AssertionError("asked"))
    assert not steward.round_(made.run, made.layout, PROFILE, queue, print)
    assert advanced.calls == 0


def test_over_budget_sends_nothing(made: MadeRun, advanced: Advanced, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes again while something runs, for that may be held or end; else it ends."""
    monkeypatch.setattr(OwnWork, "amounts", lambda _: Amounts(gpu_h=2.0))
    reservations.join(made.run, made.layout, budget.parse("1kwh,1gpuh"), "1kwh,1gpuh", hard=False)
    made.run.profile.write_bytes(b"")
    made.submit([_keys(made)[0]])
    made.run.accounting.touch()
    monkeypatch.setattr(spending, "cpus_of", lambda *_: 1)
    assert _round(made, squeue_row("608_0", "RUNNING"))
    assert not _round(made, squeue_row("608_0", "COMPLETED", end_s=1))
    assert advanced.calls == 0
    assert made.run.over_budget.exists()


@pytest.mark.parametrize(("error", "more"), [(SchedulerError("busy"), True), (InputError("other tasks"), False)])
def test_what_passes_is_tried_again_and_what_does_not_is_not(
    made: MadeRun, advanced: Advanced, error: Exception, *, more: bool
) -> None:
    """A controller that is away passes; a plan that has changed needs a person. Both are said."""
    advanced.error = error
    said: list[str] = []
    assert _round(made, say=said.append) == more
    assert said == [str(error)]


def test_the_next_start_is_sent_before_the_work_and_cancelled_at_the_end(
    made: MadeRun, advanced: Advanced, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that dies during the round takes no run with it."""
    del advanced
    done: list[str] = []
    monkeypatch.setattr(snapshot, "take", Path)
    monkeypatch.setattr(steward_job, "ensure", lambda *_: done.append("next") or "")
    monkeypatch.setattr(steward_job, "stop", lambda *_: done.append("stop"))
    monkeypatch.setattr(steward, "round_", lambda *_: done.append("round") or True)
    steward.tend(made.run, made.layout, PROFILE, FakeQueue(), print)
    assert done == ["next", "round"]
    monkeypatch.setattr(steward, "round_", lambda *_: done.append("round") or False)
    steward.tend(made.run, made.layout, PROFILE, FakeQueue(), print)
    assert done[2:] == ["next", "round", "stop"]
    made.run.cancel.touch()
    steward.tend(made.run, made.layout, PROFILE, FakeQueue(), print)
    assert done[5:] == ["round", "stop"]


def test_watch_acts_only_where_no_steward_does(
    made: MadeRun, advanced: Advanced, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it keeps to the budget alone; it acts once in a while, not at every look."""
    monkeypatch.setattr(steward_job, "unavailable", lambda *_: "")
    queue = FakeQueue()
    beside = steward.Beside(Observer(made.run, made.layout, queue), made.run, PROFILE, queue)
    beside.snapshot()
    assert advanced.calls == 0
    monkeypatch.setattr(steward_job, "unavailable", lambda *_: "nodes cannot submit")
    advanced.error = InputError("the data is not here")
    beside = steward.Beside(Observer(made.run, made.layout, queue), made.run, PROFILE, queue)
    assert "the data is not here" in beside.snapshot().problems
    beside.snapshot()
    assert advanced.calls == 1


def test_a_watcher_that_only_looks_never_acts(
    made: MadeRun, advanced: Advanced, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--read-only` sends nothing and keeps nobody to a budget, also where no steward does; the bound is shown."""
    monkeypatch.setattr(steward_job, "unavailable", lambda *_: "nodes cannot submit")
    monkeypatch.setattr(enforcing, "enforce", lambda *_, **__: pytest.fail("it acted"))
    reservations.join(made.run, made.layout, budget.parse("9gpuh"), "9gpuh", hard=False)
    queue = FakeQueue()
    beside = steward.Beside(Observer(made.run, made.layout, queue), made.run, PROFILE, queue, only_looks=True)
    found = beside.snapshot().outlook
    assert advanced.calls == 0
    assert [(line.unit, line.limit) for line in found.costs.budget] == [("gpuh", 9.0)]


def test_watch_tells_more_than_the_tasks(made: MadeRun, advanced: Advanced, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its snapshots have an outlook, with the budget that was just looked at."""
    del advanced
    monkeypatch.setattr(steward_job, "unavailable", lambda *_: "")
    reservations.join(made.run, made.layout, budget.parse("9gpuh"), "9gpuh", hard=False)
    queue = FakeQueue()
    beside = steward.Beside(Observer(made.run, made.layout, queue), made.run, PROFILE, queue)
    found = beside.snapshot().outlook
    assert sum(pace.tasks for pace in found.pace) == len(made.lines)
    assert [(line.unit, line.limit) for line in found.costs.budget] == [("gpuh", 9.0)]


def test_looking_does_not_wait_for_what_acts_beside_it(made: MadeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue that hangs delays the budget, not the snapshot; what came of it is told when it comes."""
    go = threading.Event()

    def hang(*_: object, **__: object) -> None:
        assert go.wait(20)
        raise SchedulerError("squeue: no answer within 30 s")

    monkeypatch.setattr(steward, "PATIENCE_S", 0.05)
    monkeypatch.setattr(enforcing, "enforce", hang)
    beside = steward.Beside(Observer(made.run, made.layout, None), made.run, PROFILE, None)
    assert "squeue: no answer within 30 s" not in beside.snapshot().problems
    beside.snapshot()
    go.set()
    beside._thread.join(20)
    assert "squeue: no answer within 30 s" in beside.snapshot().problems


def test_a_disk_that_fails_beside_is_told_and_looking_goes_on(made: MadeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full quota is no reason to show nothing; it is tried again next time."""

    def full(*_: object, **__: object) -> None:
        raise OSError(122, "Disk quota exceeded")

    monkeypatch.setattr(enforcing, "enforce", full)
    beside = steward.Beside(Observer(made.run, made.layout, None), made.run, PROFILE, None, every_s=0.0)
    assert any("Disk quota exceeded" in problem for problem in beside.snapshot().problems)
    monkeypatch.setattr(enforcing, "enforce", lambda *_, **__: None)
    assert not any("Disk quota exceeded" in problem for problem in beside.snapshot().problems)


def test_a_bug_beside_is_raised_where_one_looks(made: MadeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that dies in silence would leave the budget alone for days."""
    monkeypatch.setattr(enforcing, "enforce", lambda *_, **__: 1 / 0)
    beside = steward.Beside(Observer(made.run, made.layout, None), made.run, PROFILE, None)
    with pytest.raises(ZeroDivisionError):
        beside.snapshot()
