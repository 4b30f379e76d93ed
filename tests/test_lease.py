"""Leases: one winner per generation, death only by proof, diaries that survive torn lines."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

import msgspec
import pytest
from children import fork, gate, kill, reap, until

from condhpc import lease
from condhpc.layout import TaskFolder
from condhpc.lease import Lease, Owner


@pytest.fixture
def folder(tmp_path: Path, outside_slurm: None) -> TaskFolder:
    """Folder of a task that nobody has tried."""
    (tmp_path / "k").mkdir()
    return TaskFolder(tmp_path / "k")


def _never(_: object) -> bool:
    return False


def _held(folder: TaskFolder) -> Lease:
    found = lease.acquire(folder, lease.myself(), _never)
    assert found is not None
    return found


def _other(**fields: object) -> Owner:
    return msgspec.structs.replace(lease.myself(), **fields)


def _hang_with_lease(folder: TaskFolder) -> int:
    """Pid of a live child that holds the folder's lease."""

    def hold() -> None:
        _held(folder)
        signal.pause()

    pid = fork(hold)
    until(lambda: lease.latest_number(folder), "the child's lease")
    return pid


def test_every_generation_has_one_winner_among_eight_processes(folder: TaskFolder) -> None:
    """However eight processes race for takeovers, no number is won twice and none is left out."""
    wait, open_ = gate()

    def contend(me: int) -> None:
        wait()
        won = []
        while len(won) < 5:
            if found := lease.acquire(folder, lease.myself(), lambda _: True):
                won.append(found.number)
        (folder.path.parent / f"won.{me}").write_text(" ".join(map(str, won)))

    children = [fork(partial(contend, number)) for number in range(8)]
    open_()
    assert [reap(pid) for pid in children] == [0] * 8
    won = [int(n) for path in folder.path.parent.glob("won.*") for n in path.read_text().split()]
    assert sorted(won) == list(range(1, 41))
    owners = [attempt.owner.pid for attempt in lease.attempts(folder)]
    assert sorted(set(owners)) == sorted(children)
    assert not list(folder.path.glob(".*"))


def test_a_held_lease_is_not_given_twice(folder: TaskFolder) -> None:
    """While the owner lives and nobody calls it gone, a contender gets nothing."""
    held = _held(folder)
    assert lease.acquire(folder, lease.myself(), _never) is None
    assert held.is_current()


@pytest.mark.parametrize("outcome", ["failed", "stopped", "blocked", "superseded"])
def test_an_ended_attempt_makes_room_at_once(folder: TaskFolder, outcome: lease.Outcome) -> None:
    """After the last line of a diary the next generation is free, and the diary says how it ended."""
    held = _held(folder)
    held.pulse(step=3, total=9, values={"loss": 0.5}, cost={"wall_s": 1.0})
    held.end(outcome, "why", {"wall_s": 2.0})
    found = lease.read_attempt(folder, 1)
    assert found is not None
    assert found.pulse is not None
    assert found.end is not None
    assert (found.pulse.beat, found.pulse.step, found.pulse.total, found.pulse.values) == (1, 3, 9, {"loss": 0.5})
    assert (found.end.outcome, found.end.reason, found.end.cost) == (outcome, "why", {"wall_s": 2.0})
    assert _held(folder).number == 2


def test_sigkilled_owner_is_provably_gone(folder: TaskFolder) -> None:
    """A live process of this machine is never gone, a killed one is, even before its parent has waited for it."""
    pid = _hang_with_lease(folder)
    held = lease.read_attempt(folder, 1)
    assert held is not None
    assert not lease.provably_gone(held.owner, lease.myself())
    os.kill(pid, signal.SIGKILL)
    until(lambda: lease.process_start(pid) is None, "the kernel to kill the child")
    assert lease.provably_gone(held.owner, lease.myself())
    assert reap(pid) == -signal.SIGKILL
    assert lease.provably_gone(held.owner, lease.myself())


def test_a_reused_pid_is_told_by_its_start_time() -> None:
    """A living process with the owner's pid is another one when it started at another time."""
    me = lease.myself()
    assert not lease.provably_gone(me, me)
    assert lease.provably_gone(_other(pid_start=me.pid_start - 1), me)


def test_a_rebooted_machine_has_lost_its_owners() -> None:
    """Pids of an earlier boot of the same machine are gone."""
    assert lease.provably_gone(_other(boot="an earlier one"), lease.myself())


def test_other_machines_and_containers_prove_nothing() -> None:
    """Another host, machine or pid namespace: this pid says nothing there."""
    me, dead = lease.myself(), {"pid": 2**22 + 1, "pid_start": 1}
    assert lease.provably_gone(_other(**dead), me)
    assert not lease.provably_gone(_other(**dead, host="elsewhere"), me)
    assert not lease.provably_gone(_other(**dead, machine="another container"), me)
    assert not lease.provably_gone(_other(**dead, boot=""), me)
    assert not lease.provably_gone(_other(pid=dead["pid"], pid_start=0), me)


def test_a_process_hidden_from_us_is_not_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where /proc hides other users' processes (`hidepid`), a missing entry proves nothing."""
    owner = _other(pid_start=1)
    monkeypatch.setattr(lease, "process_start", lambda _: None)
    assert lease.provably_gone(msgspec.structs.replace(owner, pid=2**22 + 1), owner)

    def refused(pid: int, number: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "kill", refused)
    assert not lease.provably_gone(owner, owner)


@pytest.mark.parametrize(("mine", "theirs", "gone"), [(1, 0, True), (0, 0, False), (0, 1, False)])
def test_a_higher_restart_of_the_same_job_proves_death(
    monkeypatch: pytest.MonkeyPatch, outside_slurm: None, *, mine: int, theirs: int, gone: bool
) -> None:
    """A requeued element knows that its earlier start is over, on whatever host that was."""
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "608")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    monkeypatch.setenv("SLURM_RESTART_COUNT", str(mine))
    me = lease.myself()
    assert me.job == "608_3"
    owner = msgspec.structs.replace(me, host="elsewhere", restarts=theirs)
    assert lease.provably_gone(owner, me) is gone
    assert not lease.provably_gone(msgspec.structs.replace(owner, job="608_4"), me)


def test_zombies_and_missing_processes_have_no_start() -> None:
    """Only a process that can still write counts."""
    assert lease.process_start(os.getpid()) == lease.myself().pid_start
    assert lease.process_start(2**22 + 1) is None


def test_takeover_fences_the_old_owner(folder: TaskFolder) -> None:
    """After a takeover the old owner is not current; after the record nobody's work counts any more."""
    old = _held(folder)
    new = lease.acquire(folder, lease.myself(), lambda _: True)
    assert new is not None
    assert new.number == 2
    assert not old.is_current()
    assert new.is_current()
    folder.record.touch()
    assert not new.is_current()


@pytest.mark.parametrize("torn", [b'{"pulse":{"beat":2,"ti', b"\xff\xfe\x00", b"{}"])
def test_torn_last_line_is_ignored(folder: TaskFolder, torn: bytes) -> None:
    """A diary whose writer died in a line, or whose tail is no text, still tells the rest."""
    held = _held(folder)
    held.pulse(step=1, total=2, values={}, cost={})
    with folder.lease(1).open("ab") as file:
        file.write(torn)
    found = lease.read_attempt(folder, 1)
    assert found is not None
    assert found.pulse is not None
    assert (found.pulse.beat, found.end) == (1, None)


def test_diary_without_an_owner_holds_nobody_back(folder: TaskFolder) -> None:
    """A lease that is no lease (emptied by a broken disk) reads as no attempt and is passed over."""
    folder.lease(4).write_bytes(b"\x00\x00garbage")
    assert lease.read_attempt(folder, 4) is None
    assert _held(folder).number == 5


def test_dead_childs_diary_is_ended_on_its_behalf_even_after_a_torn_line(folder: TaskFolder) -> None:
    """The end goes on a line of its own, with the cost of the last pulse."""

    def work() -> None:
        held = _held(folder)
        held.pulse(step=1, total=2, values={}, cost={"wall_s": 7.0})
        with folder.lease(1).open("ab") as file:
            file.write(b'{"pulse":{"be')
        os.kill(os.getpid(), signal.SIGKILL)

    pid = fork(work)
    assert reap(pid) == -signal.SIGKILL
    lease.end_for_dead(folder, pid, "failed", "killed")
    found = lease.read_attempt(folder, 1)
    assert found is not None
    assert found.end is not None
    assert (found.end.outcome, found.end.reason, found.end.cost) == ("failed", "killed", {"wall_s": 7.0})


def test_a_diary_names_the_gpu_and_an_older_one_does_not(folder: TaskFolder) -> None:
    """Pulses and the end, once it is known; lines of an older condhpc, without it, are read as before."""
    held = lease.acquire(folder, lease.myself(), lambda _: False)
    assert held is not None
    held.gpu = "NVIDIA H100"
    held.pulse(step=1, total=2, values={}, cost={})
    held.end("stopped")
    (told,) = lease.attempts(folder)
    assert told.pulse is not None
    assert told.end is not None
    assert (told.pulse.gpu, told.end.gpu) == ("NVIDIA H100", "NVIDIA H100")
    path = folder.lease(1)
    path.write_bytes(path.read_bytes().replace(b',"gpu":"NVIDIA H100"', b""))
    (older,) = lease.attempts(folder)
    assert older.pulse == msgspec.structs.replace(told.pulse, gpu="")
    assert older.end == msgspec.structs.replace(told.end, gpu="")


def test_only_the_dead_childs_own_diary_is_ended(folder: TaskFolder) -> None:
    """A diary of another process, an ended one and a folder without any stay as they are."""
    lease.end_for_dead(folder, 1, "failed", "x")
    held = _held(folder)
    lease.end_for_dead(folder, os.getpid() + 1, "failed", "x")
    assert [a.end for a in lease.attempts(folder)] == [None]
    held.end("stopped")
    lease.end_for_dead(folder, os.getpid(), "failed", "x")
    found = lease.read_attempt(folder, 1)
    assert found is not None
    assert found.end is not None
    assert found.end.outcome == "stopped"


@pytest.mark.parametrize("left", ["record.0006.aside.json", "images.0006.h5", "checkpoint.0006", "lease.0006"])
def test_numbers_are_never_reused(folder: TaskFolder, left: str) -> None:
    """Whatever carries an attempt's number keeps it taken: also after a record was set aside."""
    (folder.path / left).touch()
    (folder.path / "record.json").touch()
    (folder.path / ".lease.0009.host.1.ab.tmp").touch()
    assert lease.latest_number(folder) == 6
    assert _held(folder).number == 7


def test_a_folder_that_is_not_there_has_no_attempts(tmp_path: Path) -> None:
    """Looking at a task that nobody has tried is no error."""
    folder = TaskFolder(tmp_path / "none")
    assert lease.latest_number(folder) == 0
    assert lease.read_attempt(folder, 0) is None
    assert lease.attempts(folder) == []


def test_live_child_keeps_its_lease_until_it_dies(folder: TaskFolder) -> None:
    """A contender that asks for proof waits for the death of the owner and no longer."""
    pid = _hang_with_lease(folder)
    me = lease.myself()
    assert lease.acquire(folder, me, lambda held: lease.provably_gone(held.owner, me)) is None
    kill(pid)
    taken = lease.acquire(folder, me, lambda held: lease.provably_gone(held.owner, me))
    assert taken is not None
    assert taken.number == 2
