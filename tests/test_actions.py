"""Actions on a made run, with a Slurm that notes what it is told."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from made_runs import FakeQueue, MadeRun, squeue_row

from condhpc import advancing, cancelling, retries, runs
from condhpc import profile as profiles
from condhpc.actions import Actions
from condhpc.errors import InputError
from condhpc.profile import Profile
from condhpc.retrying import UNASKED
from condhpc.sending import Terms


class Told(FakeQueue):
    """Recorded squeue; notes every order."""

    def __init__(self, *rows: str) -> None:
        super().__init__(*rows)
        self.orders: list[tuple[Any, ...]] = []

    def cancel(self, ids: Iterable[str]) -> None:
        """Note it."""
        self.orders.append(("cancel", *sorted(ids)))

    def hold(self, jobs: Iterable[str]) -> None:
        """Note it."""
        self.orders.append(("hold", *jobs))

    def release(self, jobs: Iterable[str]) -> None:
        """Note it."""
        self.orders.append(("release", *jobs))

    def throttle(self, arrays: Iterable[str], running: int) -> None:
        """Note it."""
        self.orders.append(("throttle", *arrays, running))


@pytest.fixture
def made(root: Path) -> MadeRun:
    """Sets in array 608, one with two, one with one; their three students in 609: the first alone, then two."""
    found = MadeRun(root)
    sets = [found.condense(seed=seed) for seed in range(3)]
    students = [found.evaluate(key) for key in sets]
    found.write()
    found.submit(sets[:2], sets[2:], job="608", name="sets")
    found.submit(students[:1], students[1:], job="609", name="students")
    profile = Profile(name="p", backend="slurm", root=root, python="python3", setup=("module load x",))
    found.run.profile.write_bytes(profiles.encode(profile))
    return found


@pytest.fixture
def act(made: MadeRun) -> Callable[..., tuple[Actions, Told]]:
    """Actions on it with these rows in the queue."""

    def start(*rows: str) -> tuple[Actions, Told]:
        slurm = Told(*rows)
        return Actions(made.run, made.layout, profiles.of_run(made.run.profile), slurm), slurm

    return start


def _keys(made: MadeRun) -> list[str]:
    return [line.key for line in made.lines]


def _cancelled(made: MadeRun) -> dict[str, tuple[set[int], set[str]]]:
    return {s.intent.name: (set(s.cancelled), set(s.withdrawn)) for s in runs.submissions(made.run)}


ALL = (
    squeue_row("608_0", "RUNNING"),
    squeue_row("608_[1]", "PENDING", "Resources"),
    squeue_row("609_[0-1]", "PENDING", "Dependency"),
)


def test_cancel_ends_elements_and_what_is_lost_with_them(made: MadeRun, act: Any) -> None:
    """The set's pack and the element whose only student waits for it; the pack with another student goes on."""
    actions, slurm = act(*ALL)
    keys = _keys(made)
    lines = actions.cancel([keys[0]])
    assert slurm.orders == [("cancel", "608_0", "609_0")]
    assert _cancelled(made) == {"sets": ({0}, {keys[0]}), "students": ({0}, set())}
    assert lines == [
        "3 tasks in 2 elements cancelled; what runs checkpoints first",
        "1 of them wait for the others: these go on with them",
        "1 of them only share elements: `condhpc submit --continue`, or the steward, sends them again",
    ]


def test_a_failed_task_is_only_withdrawn(made: MadeRun, act: Any) -> None:
    """Nothing is ended; the steward leaves it, and `retries` knows until it is sent again."""
    actions, slurm = act(squeue_row("609_[0-1]", "PENDING", "Dependency"))
    keys = _keys(made)
    made.hint("sets", 1, keys[2], "failed")
    assert actions.cancel([keys[2]])[1] == "1 neither wait nor run: they are not sent again by themselves"
    assert slurm.orders == [("cancel",)]
    assert retries.withdrawn_keys(made.run) == {keys[2]}
    made.submit([keys[2]], job="700", name="again")
    assert retries.withdrawn_keys(made.run) == set()


def test_recorded_and_strange_tasks_cannot_be_cancelled(made: MadeRun, act: Any) -> None:
    """Nothing is told to Slurm and nothing written."""
    actions, slurm = act(*ALL)
    made.hint("sets", 0, _keys(made)[0], "recorded")
    with pytest.raises(InputError, match="none of these tasks"):
        actions.cancel([_keys(made)[0], "0" * 32])
    assert (slurm.orders, _cancelled(made)["sets"]) == ([], (set(), set()))


def test_cancelling_the_rest_forgets_single_tasks(made: MadeRun, act: Any) -> None:
    """A whole run that is cancelled and gone on with is sent whole."""
    actions, _ = act(*ALL)
    actions.cancel([_keys(made)[0]])
    runs.append(made.run, runs.Cancel(name="sets", time=runs.now()))
    assert retries.withdrawn_keys(made.run) == set()
    assert UNASKED.withdrawn is False


def test_hold_names_arrays_or_single_elements(made: MadeRun, act: Any) -> None:
    """Of the whole run the arrays that wait; of tasks their elements; what runs is left."""
    actions, slurm = act(*ALL)
    assert actions.hold() == ["3 elements held; `condhpc release` lets them go"]
    assert actions.hold([_keys(made)[2], _keys(made)[0]]) == ["1 elements held; `condhpc release` lets them go"]
    assert slurm.orders == [("hold", "608", "609"), ("hold", "608_1")]
    with pytest.raises(InputError, match="none of these waits"):
        actions.hold([_keys(made)[0]])


def test_release_lets_go_what_is_held_unless_the_budget_holds_it(made: MadeRun, act: Any) -> None:
    """Held elements alone."""
    actions, slurm = act(squeue_row("608_[0-1]", "PENDING", "JobHeldUser"), squeue_row("609_[0-1]", "PENDING"))
    assert actions.release() == ["2 elements released"]
    assert slurm.orders == [("release", "608")]
    made.run.over_budget.write_text("budget used up: 2 of 2 GPU-h\n")
    with pytest.raises(InputError, match="used up"):
        actions.release()


def test_throttle_bounds_arrays_in_the_queue(made: MadeRun, act: Any) -> None:
    """All of them; of a stage that has none it says so, and no number below 0 is passed on."""
    actions, slurm = act(*ALL)
    assert actions.throttle(3)[0].startswith("2 arrays: at most 3 elements at a time")
    assert actions.throttle(0)[0].startswith("2 arrays: no bound")
    assert slurm.orders == [("throttle", "608", "609", 3), ("throttle", "608", "609", 0)]
    with pytest.raises(InputError, match="no array of stage teacher"):
        actions.throttle(3, "teacher")
    with pytest.raises(InputError, match="expected a number"):
        actions.throttle(-1)


def test_the_line_by_hand_runs_in_a_shell(made: MadeRun, act: Any) -> None:
    """After the site's set-up; for a task that nobody began there is nothing to run."""
    actions, _ = act()
    key = _keys(made)[0]
    with pytest.raises(InputError, match="nobody began it"):
        actions.by_hand(key)
    folder = made.folder(key)
    line = actions.by_hand(key)
    assert line == f"module load x && python3 -m condhpc_jobs.condense {folder.path}"
    words = subprocess.run(["sh", "-n", "-c", line], check=False, capture_output=True)
    assert words.returncode == 0


def test_local_work_cannot_be_held(made: MadeRun) -> None:
    """There is no queue."""
    profile = Profile(name="p", backend="local", root=made.layout.root)
    made.run.profile.write_bytes(profiles.encode(profile))
    actions = Actions(made.run, made.layout, profile)
    for refused in (actions.hold, actions.release, lambda: actions.throttle(1)):
        with pytest.raises(InputError, match="local back-end"):
            refused()


def test_another_users_run_is_left_alone(made: MadeRun, act: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks at a colleague's run changes nothing."""
    actions, slurm = act(*ALL)
    monkeypatch.setattr("os.getuid", lambda: 4_000_000)
    for refused in (actions.hold, actions.release, lambda: actions.cancel(_keys(made)), lambda: actions.retry(["a"])):
        with pytest.raises(InputError, match="another user's"):
            refused()
    assert slurm.orders == []


def test_the_rest_of_a_cancelled_run_stays_cancelled(made: MadeRun) -> None:
    """Where single tasks of it go on, the steward must not send all else."""
    keys = _keys(made)
    for name in ("sets", "students"):
        runs.append(made.run, runs.Cancel(name=name, time=runs.now()))
    assert retries.withdrawn_keys(made.run) == set()
    cancelling.keep_cancelled(made.run, {keys[0], keys[3]})
    assert retries.withdrawn_keys(made.run) == set(keys) - {keys[0], keys[3]}


def test_retry_asks_for_these_tasks_alone(made: MadeRun, act: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand, with what is given; damaged records of these are set aside first, others are not even read."""
    seen: list[Terms] = []

    def advance(*_: Any, say: Callable[[str], None], terms: Terms, **__: Any) -> advancing.Step:
        seen.append(terms)
        say("1 condense sent again")
        return advancing.Step(1, None, profiles.of_run(made.run.profile))

    monkeypatch.setattr(advancing, "advance", advance)
    keys = _keys(made)
    damaged = {"set": {"file": "set.0001.h5", "sha256": "0" * 64, "bytes": 4}}
    for key in keys[:2]:
        made.record(key, artefacts=damaged)
        (made.folder(key).path / "set.0001.h5").write_bytes(b"else")
    actions, _ = act()
    said = actions.retry([keys[0]], time_min=30, mem_gb=8.0)
    asked = seen[0].asked
    assert (asked.keys, asked.time_min, asked.mem_gb, asked.by_hand) == ({keys[0]}, 30, 8.0, True)
    assert said[-1] == "1 condense sent again"
    assert f"condense {keys[0]} is computed again" in said[0]
    assert made.folder(keys[1]).record.exists()
    assert not made.folder(keys[0]).record.exists()


def test_others_are_told_when_the_queue_may_have_changed(made: MadeRun) -> None:
    """After each action, also after one that Slurm refuses half-way."""
    slurm, told = Told(*ALL), []
    current = profiles.of_run(made.run.profile)
    actions = Actions(made.run, made.layout, current, slurm, after=lambda: told.append(len(slurm.orders)))
    keys = _keys(made)
    actions.cancel([keys[0]])
    actions.hold()
    actions.throttle(1)
    slurm.hold = lambda _: next(iter(()))  # type: ignore[method-assign, assignment]
    with pytest.raises(StopIteration):
        actions.hold()
    assert told == [1, 2, 3, 3]
