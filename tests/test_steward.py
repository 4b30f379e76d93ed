"""What the steward sends, what it leaves, and when it ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_runs import FakeQueue, MadeRun, squeue_row

from condhpc import accounts, budget, reservations, snapshot, spending, steward, steward_job, submit
from condhpc.budget import Amounts
from condhpc.errors import InputError, SchedulerError
from condhpc.findings import Row
from condhpc.observe import Observer
from condhpc.planned import Label
from condhpc.profile import Profile
from condhpc.task_state import STATES, State

pytestmark = pytest.mark.usefixtures("outside_slurm")
PROFILE = Profile(name="x", backend="slurm")


def _rows(*states: State) -> list[Row]:
    return [Row(key=f"k{i}", stage="evaluate", label=Label("d"), state=state) for i, state in enumerate(states)]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("held", [False, True])
def test_what_is_sent_again(state: State, *, held: bool) -> None:
    """New, lost and failed work unless it is held, and nothing that moves or is done."""
    rows = _rows(state)
    leave = steward.to_leave(rows, Counter({"k0": 1}), {"k0"} if held else set())
    assert steward.to_send(rows, leave) == (state in {"new", "lost", "failed", "over_budget"} and not held)


@pytest.mark.parametrize("sent", [0, 1, 3, 4, 9])
def test_a_missing_input_is_waited_for_some_times(sent: int) -> None:
    """Then a person has to look."""
    assert bool(steward.to_leave(_rows("blocked"), Counter({"k0": sent}), set())) == (sent >= steward.MAX_SENT)


class Resumed:
    """In the place of `submit.resume`: notes what is left out, or fails."""

    def __init__(self) -> None:
        self.leave: list[frozenset[str]] = []
        self.error: Exception | None = None

    def __call__(self, *_: Any, terms: submit.Terms, **__: Any) -> None:
        """Note."""
        assert not terms.steward, "it is one itself"
        self.leave.append(terms.leave)
        if self.error is not None:
            raise self.error


@pytest.fixture
def made(root: Path, monkeypatch: pytest.MonkeyPatch) -> MadeRun:
    """Four sets; an accounting that says nothing."""
    found = MadeRun(root)
    for seed in range(4):
        found.condense(seed=seed)
    monkeypatch.setattr(accounts, "refresh", lambda *_: [])
    return found.write()


@pytest.fixture
def resumed(monkeypatch: pytest.MonkeyPatch) -> Resumed:
    """Notes calls of `submit.resume`."""
    found = Resumed()
    monkeypatch.setattr(submit, "resume", found)
    return found


def _round(made: MadeRun, *rows: str, say: Callable[[str], object] = print) -> bool:
    return steward.round_(made.run, made.layout, PROFILE, FakeQueue(*rows), say)  # type: ignore[arg-type]


def _keys(made: MadeRun) -> list[str]:
    return [line.key for line in made.lines]


def test_it_sends_what_was_kept_back_and_leaves_failures(made: MadeRun, resumed: Resumed) -> None:
    """One runs, one failed, two were never sent."""
    first, second, *_ = _keys(made)
    name = made.submit([first], [second])
    made.ended(second, "failed", "x", job="608_1")
    made.hint(name, 1, second, "failed")
    assert _round(made, squeue_row("608_0", "RUNNING"))
    assert resumed.leave == [frozenset({second})]


def test_nothing_to_send_while_things_move(made: MadeRun, resumed: Resumed) -> None:
    """Then it only looks, and comes again."""
    made.submit(*([key] for key in _keys(made)))
    assert _round(made, squeue_row("608_[0-3]", "PENDING"))
    assert resumed.leave == []


@pytest.mark.parametrize("ends", ["recorded", "failed"])
def test_it_ends_with_the_run(made: MadeRun, resumed: Resumed, ends: str) -> None:
    """All recorded, or only failures left."""
    for key in _keys(made):
        if ends == "recorded":
            made.record(key)
        else:
            made.ended(key, "failed", "x")
    made.submit(*([key] for key in _keys(made)), sent=1.0)
    assert not _round(made)
    assert resumed.leave == []


def test_a_cancelled_run_is_left_alone(made: MadeRun, resumed: Resumed) -> None:
    """Not even the queue is asked."""
    made.run.cancel.touch()
    queue = FakeQueue(error=AssertionError("asked"))
    assert not steward.round_(made.run, made.layout, PROFILE, queue, print)
    assert resumed.leave == []


def test_over_budget_sends_nothing(made: MadeRun, resumed: Resumed, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes again while something runs, for that may be held or end; else it ends."""
    monkeypatch.setattr(spending, "_own", lambda *_: Amounts(gpu_h=2.0))
    reservations.join(made.run, made.layout, budget.parse("1kwh,1gpuh"), "1kwh,1gpuh", hard=False)
    made.run.profile.write_bytes(b"")
    made.submit([_keys(made)[0]])
    made.run.accounting.touch()
    monkeypatch.setattr(spending, "_cpus", lambda *_: 1)
    assert _round(made, squeue_row("608_0", "RUNNING"))
    assert not _round(made, squeue_row("608_0", "COMPLETED", end_s=1))
    assert resumed.leave == []
    assert made.run.over_budget.exists()


@pytest.mark.parametrize(("error", "more"), [(SchedulerError("busy"), True), (InputError("other tasks"), False)])
def test_what_passes_is_tried_again_and_what_does_not_is_not(
    made: MadeRun, resumed: Resumed, error: Exception, *, more: bool
) -> None:
    """A controller that is away passes; a plan that has changed needs a person. Both are said."""
    resumed.error = error
    said: list[str] = []
    assert _round(made, say=said.append) == more
    assert said == [str(error)]


def test_the_next_start_is_sent_before_the_work_and_cancelled_at_the_end(
    made: MadeRun, resumed: Resumed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that dies during the round takes no run with it."""
    del resumed
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
    made: MadeRun, resumed: Resumed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it keeps to the budget alone; it acts once in a while, not at every look."""
    monkeypatch.setattr(steward_job, "unavailable", lambda *_: "")
    queue = FakeQueue()
    beside = steward.Beside(Observer(made.run, made.layout, queue), made.run, PROFILE, queue)
    beside.snapshot()
    assert resumed.leave == []
    monkeypatch.setattr(steward_job, "unavailable", lambda *_: "nodes cannot submit")
    resumed.error = InputError("the data is not here")
    beside = steward.Beside(Observer(made.run, made.layout, queue), made.run, PROFILE, queue)
    assert "the data is not here" in beside.snapshot().problems
    beside.snapshot()
    assert len(resumed.leave) == 1
