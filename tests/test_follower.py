"""An element of two ranks as two real processes, with stages that count: who joins, who writes, who ends when."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import fake_stages
import pytest
from children import PATIENCE_S, until
from made_tasks import condense, folder_of, write_payload

import condhpc
from condhpc import joining, keys, lease, store
from condhpc.layout import Layout
from condhpc.spec import Task

Start = Callable[[Path, int], "subprocess.Popen[bytes]"]


@pytest.fixture
def start(tmp_path: Path, stages: Path) -> Iterator[Start]:
    """Start one of two ranks; what still runs after the test is killed."""
    begun: list[subprocess.Popen[bytes]] = []

    def begin(path: Path, rank: int) -> subprocess.Popen[bytes]:
        env = {
            "PATH": "/usr/bin:/bin", "PYTHONPATH": f"{stages}:{Path(condhpc.__file__).parents[1]}",
            "SLURM_PROCID": str(rank), "SLURM_NTASKS": "2", "SLURM_LOCALID": str(rank),
        }  # fmt: skip
        with (tmp_path / f"log{rank}").open("ab") as log:
            words = [sys.executable, "-m", "condhpc.worker", str(path), "--element", "0"]
            begun.append(subprocess.Popen(words, env=env, stdout=log, stderr=log))
        return begun[-1]

    yield begin
    for process in begun:
        process.kill()
        process.wait()


def _did(root: Path, task: Task) -> dict[int, list[str]]:
    """Steps by pid: of rank 0's child and, where it joined, of rank 1's."""
    found: dict[int, list[str]] = {}
    for line in fake_stages.trace(root, keys.key(task)):
        attempt, pid, *words = line.split()
        found.setdefault(int(pid), []).append(f"{attempt} {' '.join(words)}")
    return found


def _calls(root: Path) -> list[str]:
    return [call.key for call in joining.calls(Layout(root).run("r").calls("p", 0, 0))]


def test_followers_join_each_attempt_and_write_nothing(root: Path, start: Start) -> None:
    """Both ranks run each task's stage; one record, one artefact, no checkpoint of the other; both end with 0."""
    tasks = [condense(0, steps=2), condense(1, steps=2)]
    path = write_payload(root, [tasks], ranks=2, site_checkpoint_s=0.0)
    assert [process.wait(PATIENCE_S) for process in (start(path, 1), start(path, 0))] == [0, 0]
    assert _calls(root) == [*map(keys.key, tasks), ""]
    for task in tasks:
        record = store.read_record(folder_of(root, task))
        assert record is not None
        assert record.environment["ranks"] == 2
        assert sorted(p.name for p in folder_of(root, task).path.iterdir()) == [
            "images.0001.txt", "record.json", "task.json",
        ]  # fmt: skip


def test_nobody_is_called_to_a_recorded_task(root: Path, start: Start) -> None:
    """Where rank 0 finds everything recorded, the others start nothing and end."""
    task = condense(0)
    path = write_payload(root, [[task]])
    assert start(path, 0).wait(PATIENCE_S) == 0
    before = fake_stages.trace(root, keys.key(task))
    path.unlink()
    path = write_payload(root, [[task]], ranks=2)
    assert [process.wait(PATIENCE_S) for process in (start(path, 1), start(path, 0))] == [0, 0]
    assert _calls(root) == [""]
    assert fake_stages.trace(root, keys.key(task)) == before


def test_a_stop_signal_is_rank_0s_to_obey(root: Path, start: Start) -> None:
    """Slurm signals both; the follower computes on until rank 0, after its checkpoint, says the end."""
    task = condense(0, steps=4, at=2, do="wait", gate="open")
    path = write_payload(root, [[task]], ranks=2)
    ranks = start(path, 0), start(path, 1)
    until(lambda: len(_did(root, task)) == 2 and all(s[-1] == "1 step 2" for s in _did(root, task).values()), "both")
    ranks[1].send_signal(signal.SIGUSR2)
    with pytest.raises(subprocess.TimeoutExpired):
        ranks[1].wait(1.5)
    assert lease.latest_number(folder_of(root, task)) == 1
    ranks[0].send_signal(signal.SIGKILL)  # with no agreement in fake stages, rank 0 is only heard to end
    joining.Caller(Layout(root).run("r").calls("p", 0, 0), joining.Place(0, 2)).end()
    assert ranks[1].wait(PATIENCE_S) == 0
    (root / "open").touch()  # for rank 0's child, which is left alone


def test_a_follower_ends_when_rank_0_is_silent_after_a_stop(root: Path, start: Start) -> None:
    """Signalled, and told nothing within the time that is left: exit status 75, no orphan."""
    path = write_payload(root, [[condense(0)]], ranks=2, signal_s=1)
    process = start(path, 1)
    until(lambda: b"SigCgt" in _status(process.pid) and _catches(process.pid, signal.SIGUSR2), "its handlers")
    process.send_signal(signal.SIGUSR2)
    assert process.wait(PATIENCE_S) == 75


def _status(pid: int) -> bytes:
    return Path(f"/proc/{pid}/status").read_bytes()


def _catches(pid: int, number: signal.Signals) -> bool:
    (line,) = [line for line in _status(pid).splitlines() if line.startswith(b"SigCgt")]
    return bool(int(line.split()[1], 16) >> (number - 1) & 1)


def test_a_followers_failure_is_left_as_its_word(root: Path, start: Start) -> None:
    """What a follower's stage raises, or a signal that kills it, stands in a file for rank 0."""
    fails, waits = condense(0, do="fail"), condense(1, do="deaf", gate="never")
    path = write_payload(root, [[fails, waits]], ranks=2)
    process = start(path, 1)
    for task in (fails, waits):
        store.write_task(folder_of(root, task), keys.preimage(task))
    caller = joining.Caller(Layout(root).run("r").calls("p", 0, 0), joining.Place(0, 2))
    caller.call(keys.key(fails), 1)
    until(folder_of(root, fails).failure(1, 1).exists, "its word")
    assert "rank 1: StageError: the loss is not finite" in folder_of(root, fails).failure(1, 1).read_text()
    caller.call(keys.key(waits), 1)
    until(lambda: any(s[-1] == "1 step 0" for s in _did(root, waits).values()), "the second task")
    (pid,) = _did(root, waits)
    os.kill(pid, signal.SIGKILL)
    until(folder_of(root, waits).failure(1, 1).exists, "its parent's word")
    assert "killed by signal 9" in folder_of(root, waits).failure(1, 1).read_text()
    caller.end()
    assert process.wait(PATIENCE_S) == 0
    assert not folder_of(root, fails).record.exists()


def test_a_child_does_not_outlive_its_follower(root: Path, start: Start) -> None:
    """Killed without a word, a follower takes its child along: Slurm would wait for it."""
    task = condense(0, do="deaf", gate="never")
    path = write_payload(root, [[task]], ranks=2)
    process = start(path, 1)
    joining.Caller(Layout(root).run("r").calls("p", 0, 0), joining.Place(0, 2)).call(keys.key(task), 1)
    until(lambda: any(s[-1] == "1 step 0" for s in _did(root, task).values()), "its child to work")
    (pid,) = _did(root, task)
    process.kill()
    process.wait()
    until(lambda: lease.process_start(pid) is None, "the child's end")
