"""What a worker sees of its tasks: what is free, waited for, over, or can do nothing."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from made_owners import as_anybody, close, give_away, needs_root
from made_tasks import analyze, condense, folder_of, site

from condhpc import attempt, keys, lease, store
from condhpc.layout import Layout
from condhpc.lease import Lease, Outcome
from condhpc.payload import Header
from condhpc.sights import Sights, Work
from condhpc.spec import Task

pytestmark = pytest.mark.usefixtures("outside_slurm")
DISTANT_S = 4e9


def seen(root: Path, *tasks: Task, peers: bool = False, created: float = 0.0) -> tuple[Sights, list[Work]]:
    """The looks of an element at its tasks."""
    work = [Work(keys.preimage(task), Layout(root)) for task in tasks]
    return Sights(Header(name="p", time_min=0, site=site(root, run="r"), peers=peers, created=created), work), work


def held(root: Path, task: Task) -> Lease:
    """An attempt of this very process, which lives."""
    folder = folder_of(root, task)
    store.write_task(folder, keys.preimage(task))
    found = lease.acquire(folder, lease.myself(), lambda _: True)
    assert found is not None
    return found


def test_a_task_is_free_then_waited_for_then_recorded(root: Path, stages: Path) -> None:
    """Nobody's, another's who lives, and done."""
    task = condense()
    sights, (work,) = seen(root, task)
    assert sights.of(work, {}) == "ready"
    mine = held(root, task)
    assert sights.of(work, {}) == "wait"
    assert sights.next([work]) == (None, "wait")
    mine.end("stopped")
    assert sights.next([work]) == (work, "ready")
    assert attempt.run(work.preimage, site(root), threading.Event()) == "recorded"
    assert sights.next([work]) == (work, "cached")


def test_a_record_that_cannot_be_read_is_its_own_tasks_trouble(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It is said, and the next task is looked at."""
    bad, fine = condense(0), condense(1)
    store.write_task(folder_of(root, bad), keys.preimage(bad))
    folder_of(root, bad).record.write_bytes(b"{")
    sights, work = seen(root, bad, fine)
    assert [sights.of(one, {}) for one in work] == ["failed", "ready"]
    assert "not a readable record" in capfd.readouterr().err


@needs_root
@pytest.mark.parametrize("closed", ["folder", "record", "diary"])
def test_a_closed_task_of_another_user_is_its_own_tasks_trouble(
    root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], closed: str
) -> None:
    """What cannot be looked at is said and left, also as an input of what peers share; the next task is looked at."""
    theirs, fine = condense(0), condense(1)
    held(root, theirs).end("stopped")
    folder = folder_of(root, theirs)
    folder.record.write_bytes(b"{}")
    if closed == "diary":
        folder.record.unlink()
    give_away(folder.path.parent)
    path = {"folder": folder.path, "record": folder.record, "diary": folder.lease(1)}[closed]
    close(path)
    sights, work = seen(root, theirs, fine, analyze({"set": keys.key(theirs)}), peers=True)
    looks = as_anybody(lambda: [sights.of(one, {}) for one in work], tmp_path / "answer.json")
    assert looks == ["failed", "ready", "blocked"]
    assert str(path) in capfd.readouterr().err


@pytest.mark.parametrize(
    ("outcome", "now", "later"),
    [("failed", "failed", "ready"), ("blocked", "blocked", "ready"), ("stopped", "ready", "ready")],
)
def test_failures_count_within_their_submission(root: Path, outcome: Outcome, now: str, later: str) -> None:
    """Those before it are history."""
    task = condense()
    held(root, task).end(outcome)
    for created, expected in ((0.0, now), (DISTANT_S, later)):
        sights, (work,) = seen(root, task, created=created)
        assert sights.of(work, {}) == expected


def test_a_pack_leaves_inputs_to_the_attempt(root: Path) -> None:
    """Only peers, who share a list, order by them."""
    student = analyze({"set": keys.key(condense())})
    sights, (work,) = seen(root, student)
    assert sights.of(work, {}) == "ready"
    sights, (work,) = seen(root, student, peers=True)
    assert sights.of(work, {}) == "blocked", "nobody computes its set"


def test_peers_wait_for_what_is_still_to_be_done_here(root: Path) -> None:
    """The input's own turn comes first; when that ended without a record, nothing is left to wait for."""
    first = condense()
    student = analyze({"set": keys.key(first)})
    sights, (of_student, of_first) = seen(root, student, first, peers=True)
    assert sights.next([of_student, of_first]) == (of_first, "ready")
    assert sights.of(of_student, {}) == "wait"
    of_first.result = "failed"
    assert sights.of(of_student, {}) == "blocked"


@pytest.mark.parametrize(("outcome", "expected"), [(None, "wait"), ("failed", "blocked"), ("stopped", "blocked")])
def test_peers_look_at_inputs_of_others(root: Path, outcome: Outcome | None, expected: str) -> None:
    """A living attempt elsewhere is waited for; one that ended without a record is not."""
    first = condense()
    elsewhere = held(root, first)
    if outcome is not None:
        elsewhere.end(outcome)
    sights, (work,) = seen(root, analyze({"set": keys.key(first)}), peers=True)
    assert sights.of(work, {}) == expected


def test_an_input_is_looked_at_once_for_all_its_students(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of thousands shares few sets."""
    first = condense()
    held(root, first)
    students = [analyze({"set": keys.key(first)}, number=number) for number in range(5)]
    sights, work = seen(root, *students, peers=True)
    asked: list[Path] = []
    plain = store.is_recorded
    monkeypatch.setattr(store, "is_recorded", lambda folder: asked.append(folder.path) or plain(folder))
    assert sights.next(work) == (None, "wait")
    assert asked.count(folder_of(root, first).path) == 1
    assert len(asked) == len(students) + 1
