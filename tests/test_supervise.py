"""Attempts in forked children: stops are relayed, deaths become results, a record decides."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import fake_stages
import pytest
from children import fork, reap, until
from made_tasks import condense, folder_of, site

from condhpc import attempt, keys, lease, store, supervise
from condhpc.lease import End
from condhpc.spec import Task
from condhpc.supervise import Flags

pytestmark = pytest.mark.usefixtures("stages", "own_signals")


def _run(root: Path, task: Task, flags: Flags, grace_s: float = 20.0, **fields: Any) -> attempt.Result:
    found = supervise.run_child(
        keys.preimage(task), folder_of(root, task), site(root, **fields), lambda _: False, flags, grace_s
    )
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)  # no child is left, waited for or not
    return found


def _end(root: Path, task: Task) -> End:
    found = lease.read_attempt(folder_of(root, task), 1)
    assert found is not None
    assert found.end is not None
    return found.end


def _working(root: Path, task: Task) -> bool:
    """Whether the task is in the step at which it does its deed."""
    params: dict[str, Any] = getattr(task.spec, "params", {})
    return any(line.endswith(f" step {params.get('at', 0)}") for line in fake_stages.trace(root, keys.key(task)))


def _when_working(root: Path, task: Task, deed: Callable[[], None]) -> None:
    """Have a process do something once the task works; it is no child of ours, whom `run_child` would wait for."""

    def wait() -> None:
        until(lambda: _working(root, task), "the task to work")
        deed()

    assert reap(fork(lambda: 0 if fork(wait) else 1)) == 0


def test_a_child_records_like_anybody(root: Path) -> None:
    """The attempt runs in another process, whose result comes back; a second look finds the record."""
    task = condense()
    assert _run(root, task, Flags()) == "recorded"
    assert {line.split()[1] for line in fake_stages.trace(root, keys.key(task))} != {str(os.getpid())}
    assert _run(root, task, Flags()) == "cached"
    assert len(fake_stages.trace(root, keys.key(task))) == 4


@pytest.mark.parametrize(("do", "result"), [("fail", "failed"), ("bug", "failed")])
def test_a_childs_failure_comes_back(root: Path, do: str, result: str) -> None:
    """The child ends its diary itself, the parent learns of it."""
    task = condense(do=do)
    assert _run(root, task, Flags()) == result
    assert _end(root, task).outcome == "failed"


def test_missing_input_comes_back_as_blocked(root: Path) -> None:
    """A child that lacks an input says so by its status."""
    assert _run(root, condense(inputs={"set": "0" * 32}), Flags()) == "blocked"


def test_a_crash_in_native_code_is_a_failure_with_a_reason(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """An abort ends no diary; the parent does, and the log names the signal."""
    task = condense(do="crash")
    assert _run(root, task, Flags()) == "failed"
    assert (_end(root, task).outcome, "signal 6" in _end(root, task).reason) == ("failed", True)
    assert "a crash in native code" in capfd.readouterr().err


def test_a_killed_child_is_a_failure_whose_diary_is_ended(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """SIGKILL (the kernel out of memory, a hand) leaves no word; the parent writes it."""
    task = condense(do="deaf", gate="never")

    def kill_it() -> None:
        os.kill(int(fake_stages.trace(root, keys.key(task))[0].split()[1]), signal.SIGKILL)

    _when_working(root, task, kill_it)
    assert _run(root, task, Flags()) == "failed"
    assert "out of memory, or killed by hand" in _end(root, task).reason


def test_the_diary_that_a_parent_ends_keeps_the_cost(root: Path) -> None:
    """The last pulse's totals and figures become the end's: a killed task was not free."""
    task = condense(do="deaf", gate="never")

    def told() -> lease.Pulse | None:
        found = lease.read_attempt(folder_of(root, task), 1)
        return found.pulse if found is not None else None

    def kill_it() -> None:
        until(told, "a pulse")
        os.kill(int(fake_stages.trace(root, keys.key(task))[0].split()[1]), signal.SIGKILL)

    _when_working(root, task, kill_it)
    assert _run(root, task, Flags(), pulse_s=0.01) == "failed"
    last, end = told(), _end(root, task)
    assert last is not None
    assert (end.cost, end.energy) == (last.cost, last.energy)
    assert (end.cost["wall_s"] > 0, [figure.part for figure in end.energy]) == (True, ["cpu", "dram"])


def test_status_zero_without_a_record_is_a_failure(root: Path) -> None:
    """A library that ends the process "successfully" does not make a task recorded."""
    task = condense(do="leave")
    assert _run(root, task, Flags()) == "failed"
    assert "status 0 and left no record" in _end(root, task).reason


def test_errors_outside_the_stage_reach_the_log(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What goes wrong before there is a diary is printed: a text for the store's trouble, a traceback for a bug."""
    task = condense()
    store.write_task(folder_of(root, task), keys.preimage(task))
    folder_of(root, task).task.write_bytes(b"{}")
    assert _run(root, task, Flags()) == "failed"
    assert "holds another task than key" in capfd.readouterr().err
    assert supervise.run_child(b"\xff", folder_of(root, task), site(root), lambda _: False, Flags(), 1.0) == "failed"
    assert "Traceback" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("number", "requeue"), [(signal.SIGUSR2, True), (signal.SIGTERM, False), (signal.SIGINT, False)]
)
def test_a_stop_is_relayed_and_the_child_checkpoints(root: Path, number: int, *, requeue: bool) -> None:
    """USR2 asks to go on later, TERM and INT do not; either way the child saves and ends."""
    task, flags = condense(steps=5, at=2, do="wait", gate="never"), Flags()
    _when_working(root, task, partial(os.kill, os.getpid(), number))
    assert _run(root, task, flags) == "stopped"
    assert (flags.stop, flags.requeue) == (True, requeue)
    assert folder_of(root, task).checkpoint(1).read_text() == "2"
    assert _end(root, task).outcome == "stopped"


def test_a_stop_before_the_child_listens_is_not_lost(root: Path) -> None:
    """A signal that came just before or during the fork stops the child at its first safe point."""
    task, flags = condense(steps=50), Flags()
    flags.stop, flags.stopped_at = True, time.monotonic()
    assert _run(root, task, flags) == "stopped"
    assert folder_of(root, task).checkpoint(1).read_text() == "1"


def test_a_deaf_child_is_killed_after_its_grace(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A stage without a safe point loses its time, not its last checkpoint; it counts as stopped."""
    task, flags = condense(steps=5, at=2, do="deaf", gate="never"), Flags()
    _when_working(root, task, partial(os.kill, os.getpid(), signal.SIGTERM))
    begun = time.monotonic()
    assert _run(root, task, flags, grace_s=0.2, checkpoint_s=0.0) == "stopped"
    assert time.monotonic() - begun < 10
    assert "did not stop in time" in _end(root, task).reason
    assert folder_of(root, task).checkpoint(1).read_text() == "2"


def test_a_crash_during_the_grace_is_still_a_failure(root: Path) -> None:
    """Only what we killed ourselves counts as stopped."""
    task, flags = condense(do="crash"), Flags()
    flags.stop, flags.stopped_at = True, time.monotonic()
    assert _run(root, task, flags) == "failed"


def test_waiting_ends_at_a_signal() -> None:
    """A signal that comes while nobody looks is not slept through."""
    flags = Flags()
    begun = time.monotonic()
    os.kill(os.getpid(), signal.SIGTERM)
    flags.wait(30.0)
    assert time.monotonic() - begun < 10
    assert flags.stop
    flags.wait(0.0)  # drained: returns by its time-out


def test_the_first_signal_says_what_is_wanted() -> None:
    """A TERM that follows a USR2 (preemption) does not cancel the requeue; the clock runs from the first."""
    flags = Flags()
    os.kill(os.getpid(), signal.SIGUSR2)
    until(lambda: flags.stop, "the first signal")
    first = flags.stopped_at
    os.kill(os.getpid(), signal.SIGTERM)
    flags.wait(1.0)
    assert flags.requeue
    assert flags.stopped_at == first
