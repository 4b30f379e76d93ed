"""The store: a record is the last thing written and vouches for bytes; a kill at any instant loses nothing."""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from children import fork, kill_me_at, reap, until
from made_tasks import analyze, condense, folder_of, site

from condhpc import arrays, attempt, keys, lease, store
from condhpc.errors import CorruptArtefactError, InputMissingError, StoreError
from condhpc.layout import Layout, TaskFolder
from condhpc.spec import Task

pytestmark = pytest.mark.usefixtures("stages")


def _run(root: Path, task: Task, **fields: Any) -> attempt.Result:
    return attempt.run(keys.preimage(task), site(root, **fields), threading.Event())


def _read_set(folder: TaskFolder) -> arrays.CondensedSet:
    record = store.read_record(folder)
    assert record is not None
    return arrays.read_condensed_set(store.verified(folder, record, "images"))


# -- killed at any instant ---------------------------------------------------------------------------------


def _assert_all_or_nothing(folder: TaskFolder) -> bool:
    """Whether there is a record; if so, it is complete and its artefact verified."""
    record = store.read_record(folder)
    if record is None:
        return False
    assert _read_set(folder).attributes["key"] == folder.path.name
    return True


def _assert_next_attempt_finishes(root: Path, task: Task, *, recorded: bool) -> None:
    folder = folder_of(root, task)
    assert _run(root, task) == ("cached" if recorded else "recorded")
    assert _assert_all_or_nothing(folder)
    if not recorded:
        assert len(list(folder.path.iterdir())) <= 3, sorted(folder.path.iterdir())


def test_killed_before_any_file_operation_the_next_attempt_finishes(root: Path) -> None:
    """A kill before each open, link, rename and removal leaves a complete verified record or none."""
    survived, task = False, condense(kind="h5", steps=2)
    for instant in range(1, 200):

        def work(instant: int = instant) -> int:
            kill_me_at(instant, "/store/")
            return attempt.exit_code(_run(root, task, checkpoint_s=0.0, pulse_s=0.001))

        code = reap(fork(work))
        assert code in {0, -signal.SIGKILL}
        _assert_next_attempt_finishes(root, task, recorded=_assert_all_or_nothing(folder_of(root, task)))
        shutil.rmtree(root)
        if code == 0:
            survived = True
            break
    assert survived, "the loop ended before a child came through: more instants are needed"


def test_killed_at_random_instants_the_next_attempt_finishes(root: Path) -> None:
    """SIGKILL from outside, in the middle of writes too, leaves a complete verified record or none."""
    begun = time.monotonic()
    assert reap(fork(partial(_run, root, condense(99, kind="h5", steps=5), checkpoint_s=0.0))) == 0
    whole_s, draw = time.monotonic() - begun, random.Random(7)
    for number in range(20):
        task = condense(number, kind="h5", steps=5)
        delay_s = draw.uniform(0.0, whole_s)
        pid = fork(partial(_run, root, task, checkpoint_s=0.0, pulse_s=0.001))
        folder = folder_of(root, task)
        until(folder.task.exists, "the child to begin")
        deadline = time.monotonic() + delay_s
        until(lambda deadline=deadline: time.monotonic() >= deadline, "the instant")
        os.kill(pid, signal.SIGKILL)  # a zombie takes it too
        assert reap(pid) in {0, -signal.SIGKILL}
        _assert_next_attempt_finishes(root, task, recorded=_assert_all_or_nothing(folder))


def test_many_kills_of_one_task_end_in_one_record(root: Path) -> None:
    """Killed again and again, a task still ends; the record tells all its attempts, the folder keeps three files."""
    task = condense(kind="h5", steps=3)
    folder = folder_of(root, task)
    for instant in (5, 9, 13, 17, 15, 11):

        def work(instant: int = instant) -> None:
            kill_me_at(instant, "/store/")
            _run(root, task, checkpoint_s=0.0)

        assert reap(fork(work)) == -signal.SIGKILL
    begun = lease.latest_number(folder)
    assert begun >= 3
    assert _run(root, task) == "recorded"
    record = store.read_record(folder)
    assert record is not None
    assert [held.number for held in record.attempts] == list(range(1, begun + 1))
    assert len(list(folder.path.iterdir())) == 3


# -- damaged after it was recorded -------------------------------------------------------------------------


@pytest.fixture
def recorded(root: Path) -> TaskFolder:
    """Folder of a recorded condensed set."""
    task = condense(kind="h5")
    assert _run(root, task) == "recorded"
    return folder_of(root, task)


def _artefact(folder: TaskFolder) -> Path:
    return folder.path / "images.0001.h5"


def test_truncated_artefact_is_never_used(recorded: TaskFolder) -> None:
    """Another size is seen without reading: the task does not count as recorded, and no consumer gets the file."""
    path = _artefact(recorded)
    path.write_bytes(path.read_bytes()[:-1])
    assert not store.is_recorded(recorded)
    with pytest.raises(CorruptArtefactError, match=r"images\.0001\.h5: \d+ bytes, its record says \d+"):
        _read_set(recorded)


def test_every_flipped_bit_is_detected(recorded: TaskFolder) -> None:
    """A flip anywhere, in HDF5's own structures too, is found before the file is opened as HDF5."""
    path, draw = _artefact(recorded), random.Random(3)
    whole = path.read_bytes()
    for _ in range(50):
        data = bytearray(whole)
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        path.write_bytes(data)
        with pytest.raises(CorruptArtefactError, match="bytes changed since"):
            _read_set(recorded)
    path.write_bytes(whole)
    assert len(_read_set(recorded).labels_N) == 2


def test_foreign_artefact_is_never_used(recorded: TaskFolder, tmp_path: Path) -> None:
    """A sound HDF5 file of another task in this one's place is refused."""
    other = condense(5, kind="h5")
    assert _run(tmp_path / "other", other) == "recorded"
    source = _artefact(folder_of(tmp_path / "other", other))
    data = source.read_bytes()
    assert len(data) == _artefact(recorded).stat().st_size
    shutil.copy(source, _artefact(recorded))
    with pytest.raises(CorruptArtefactError, match="bytes changed since"):
        _read_set(recorded)


def test_foreign_record_is_never_used(root: Path, recorded: TaskFolder) -> None:
    """A record copied from another task's folder is no record of this one."""
    other = folder_of(root, condense(5))
    other.path.mkdir(parents=True)
    shutil.copy(recorded.record, other.record)
    with pytest.raises(CorruptArtefactError, match=f"record of another task, {recorded.path.name}"):
        store.is_recorded(other)


DEEP = b'{"values": {"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}"


@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff\xfe", b'{"key": "\xff"}', b"null", DEEP])
def test_unreadable_record_is_reported(recorded: TaskFolder, damage: bytes) -> None:
    """A record that is no record is an error that says what to do, never a hit and never silence."""
    recorded.record.write_bytes(damage)
    with pytest.raises(CorruptArtefactError, match=r"not a readable record .*condhpc retry"):
        store.is_recorded(recorded)


def test_retry_finds_what_a_look_at_sizes_does_not(root: Path, recorded: TaskFolder) -> None:
    """A flipped bit leaves a hit by size; checked by digest the record is set aside and the task computed again."""
    assert store.set_aside_if_corrupt(recorded) == ""
    data = bytearray(_artefact(recorded).read_bytes())
    data[-1] ^= 1
    _artefact(recorded).write_bytes(data)
    assert store.is_recorded(recorded)
    assert "bytes changed" in store.set_aside_if_corrupt(recorded)
    assert not store.is_recorded(recorded)
    assert store.set_aside_if_corrupt(recorded) == ""
    assert _run(root, condense(kind="h5")) == "recorded"
    record = store.read_record(recorded)
    assert record is not None
    assert record.artefacts["images"].file == "images.0002.h5"
    assert len(_read_set(recorded).labels_N) == 2


def test_purged_artefact_is_computed_again(root: Path, recorded: TaskFolder) -> None:
    """Scratch was cleaned: no hit, no input, but a new attempt."""
    _artefact(recorded).unlink()
    assert not store.is_recorded(recorded)
    with pytest.raises(InputMissingError, match="has no usable record"):
        store.require_recorded(Layout(root), "condense", recorded.path.name, 0.0)
    assert _run(root, condense(kind="h5")) == "recorded"
    found = store.require_recorded(Layout(root), "condense", recorded.path.name, 0.0)
    assert (found.task, found.artefacts["images"].file) == (condense(kind="h5"), "images.0002.h5")


# -- what is on disk ---------------------------------------------------------------------------------------


def test_a_recorded_task_costs_four_inodes(root: Path) -> None:
    """Folder, task, record, artefact: whatever attempts, checkpoints, pulses and failures there were."""
    task = condense(do="fail_once", kind="h5", steps=4, at=2)
    folder = folder_of(root, task)
    stop = threading.Event()
    stop.set()
    assert attempt.run(keys.preimage(task), site(root), stop) == "stopped"
    pid = fork(lambda: signal.raise_signal(signal.SIGKILL) if lease.acquire(folder, lease.myself(), _never) else None)
    assert reap(pid) == -signal.SIGKILL
    assert _run(root, task, checkpoint_s=0.0, pulse_s=0.001) == "recorded"
    assert 1 + len(list(folder.path.iterdir())) == 4
    record = store.read_record(folder)
    assert record is not None
    outcomes = [held.end.outcome if held.end else None for held in record.attempts]
    assert outcomes == ["stopped", None]


def test_a_failed_attempt_costs_no_inode_after_the_record(root: Path) -> None:
    """A failure after checkpoints leaves its files to the next attempt, and that leaves four inodes."""
    task = condense(do="fail_once", kind="h5", steps=4, at=2)
    assert _run(root, task, checkpoint_s=0.0) == "failed"
    assert sorted(path.name for path in folder_of(root, task).path.iterdir()) == [
        "checkpoint.0001", "lease.0001", "task.json",
    ]  # fmt: skip
    assert _run(root, task, checkpoint_s=0.0) == "recorded"
    assert 1 + len(list(folder_of(root, task).path.iterdir())) == 4


def test_task_file_of_another_task_is_refused(root: Path) -> None:
    """A folder whose `task.json` is not the preimage of its key is never written to."""
    task = condense()
    folder = folder_of(root, task)
    store.write_task(folder, keys.preimage(task))
    store.write_task(folder, keys.preimage(task))
    assert store.read_task(folder) == task
    folder.task.write_bytes(keys.preimage(condense(1)))
    with pytest.raises(StoreError, match="holds another task than key"):
        _run(root, task)
    assert [path.name for path in folder.path.iterdir()] == ["task.json"]
    with pytest.raises(StoreError, match="not the folder's name"):
        store.read_task(folder)


@pytest.mark.parametrize("damage", [None, b"", b"{}", b"\xff", b'{"format":9,"inputs":{},"spec":{},"stage":"embed"}'])
def test_unreadable_task_file_is_reported(root: Path, damage: bytes | None) -> None:
    """Missing, cut off or foreign: the error names the file."""
    folder = folder_of(root, condense())
    folder.path.mkdir(parents=True)
    if damage is not None:
        folder.task.write_bytes(damage)
    with pytest.raises(StoreError, match=r"task\.json: not a readable task"):
        store.read_task(folder)


def test_a_damaged_input_fails_its_consumer(root: Path) -> None:
    """A consumer of a bit-flipped set fails with the reason and records nothing."""
    source = condense(kind="h5")
    assert _run(root, source) == "recorded"
    path = _artefact(folder_of(root, source))
    data = bytearray(path.read_bytes())
    data[100] ^= 4
    path.write_bytes(data)
    task = analyze({"set": keys.key(source)})
    assert _run(root, task) == "failed"
    found = lease.read_attempt(folder_of(root, task), 1)
    assert found is not None
    assert found.end is not None
    assert "CorruptArtefactError" in found.end.reason
    assert not folder_of(root, task).record.exists()


def _never(_: object) -> bool:
    return False
