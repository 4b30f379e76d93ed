"""A tree of processes, made up and real: nothing is counted twice, nothing that ended is forgotten."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from children import fork, gate, kill, reap, until

from condhpc import process_usage
from condhpc.process_usage import Tree, Used, look


def used(pid: int, parent: int, cpu_s: float, children_cpu_s: float = 0.0, io: int | None = 0) -> Used:
    """A process whose own and inherited CPU time is `cpu_s`."""
    return Used(pid, parent, cpu_s, children_cpu_s, io, io, 100)


def after(*looks: list[Used]) -> process_usage.Look:
    """The last look's sums."""
    tree = Tree()
    found = [tree.note({one.pid: one for one in processes}) for processes in looks]
    return found[-1]


def test_what_was_used_before_is_not_ours() -> None:
    """Root and children that lived at the first look are counted from there."""
    found = after([used(1, 0, 5.0), used(2, 1, 3.0)], [used(1, 0, 6.0), used(2, 1, 3.5)])
    assert found.cpu_s == pytest.approx(1.5)


def test_a_reaped_child_is_counted_once() -> None:
    """Its time was seen in itself, and is then found at its parent."""
    found = after([used(1, 0, 0.0)], [used(1, 0, 1.0), used(2, 1, 4.0)], [used(1, 0, 5.5, 4.0)])
    assert found.cpu_s == pytest.approx(5.5)


def test_a_child_between_two_looks_is_counted() -> None:
    """It is only ever seen at its parent."""
    assert after([used(1, 0, 0.0)], [used(1, 0, 4.5, 4.0)]).cpu_s == pytest.approx(4.5)


def test_a_child_that_nobody_waited_for_is_kept() -> None:
    """A daemon's time goes to init: what it had at the last look stays in the sum, bytes too."""
    looks = (
        [used(1, 0, 0.0)],
        [used(1, 0, 1.0), used(2, 1, 4.0, io=50)],
        [used(1, 0, 1.0, io=7)],
        [used(1, 0, 1.5, io=9)],
    )
    found = after(*looks)
    assert (found.cpu_s, found.read_bytes, found.written_bytes) == (pytest.approx(5.5), 59, 59)


def test_grandchildren_reach_the_nearest_that_lives() -> None:
    """A shell that waits for its command, and is waited for, hands on both."""
    looks = [used(1, 0, 0.0)], [used(1, 0, 0.0), used(2, 1, 1.0), used(3, 2, 4.0)], [used(1, 0, 5.0, 5.0)]
    assert after(*looks).cpu_s == pytest.approx(5.0)


def test_a_grandchild_whose_parent_did_not_wait_is_kept() -> None:
    """The parent's own time comes to us, its orphan's does not; one of both is no sign of the other."""
    looks = (
        [used(1, 0, 0.0)],
        [used(1, 0, 0.0), used(2, 1, 1.0), used(3, 2, 4.0)],
        [used(1, 0, 1.0, 1.0), used(3, 0, 6.0)],  # an orphan, still known
        [used(1, 0, 1.0, 1.0)],
    )
    assert after(*looks).cpu_s == pytest.approx(7.0)


def test_a_pid_that_is_used_again_is_another_process() -> None:
    """Keys tell them apart: the first one's time is kept."""
    tree = Tree()
    tree.note({"root": used(1, 0, 0.0)})
    tree.note({"root": used(1, 0, 0.0), "old": used(2, 1, 4.0)})
    assert tree.note({"root": used(1, 0, 0.0), "new": used(2, 1, 1.0)}).cpu_s == pytest.approx(5.0)


def test_unreadable_bytes_are_absent_or_as_they_were() -> None:
    """Never 0: of the root they are absent, of a child the last that was seen."""
    assert after([used(1, 0, 0.0, io=None)], [used(1, 0, 1.0, io=None)]).read_bytes is None
    found = after([used(1, 0, 0.0)], [used(1, 0, 0.0, io=10), used(2, 1, 0.0, io=5)], [
        used(1, 0, 0.0, io=10), used(2, 1, 0.0, io=None)])  # fmt: skip
    assert found.read_bytes == 15


def _burn(cpu_s: float) -> None:
    end = time.process_time() + cpu_s
    while time.process_time() < end:
        pass


@pytest.fixture
def busy_child() -> Iterator[Callable[[], int]]:
    """Starts children that burn 0.3 s and then wait to be killed."""
    pids: list[int] = []

    def begin() -> int:
        pids.append(fork(lambda: (_burn(0.3), signal.pause())))
        return pids[-1]

    yield begin
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            kill(pid)


def test_living_children_are_seen(busy_child: Callable[[], int]) -> None:
    """A data loader at work counts before anybody waits for it, and as much when it was waited for."""
    tree = Tree()
    tree.note(look())
    pid = busy_child()
    until(lambda: tree.note(look(tree.pids)).cpu_s >= 0.28, "the child's CPU time")
    assert pid in tree.pids
    before_s = tree.note(look(tree.pids)).cpu_s
    kill(pid)
    own_s = time.process_time()
    after_s = tree.note(look(tree.pids)).cpu_s
    assert pid not in tree.pids
    assert before_s - 0.03 <= after_s <= before_s + 0.2 + (time.process_time() - own_s)


def test_a_zombie_is_counted_until_it_is_waited_for() -> None:
    """Ended and not yet waited for: its time is its own, and then its parent's, at no time both or neither."""
    tree = Tree()
    start_s = time.process_time()
    tree.note(look())
    pid = fork(lambda: _burn(0.3))
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    as_zombie = tree.note(look(tree.pids))
    assert pid in tree.pids
    assert reap(pid) == 0
    waited_for = tree.note(look(tree.pids))
    own_s = time.process_time() - start_s
    assert 0.28 <= as_zombie.cpu_s <= 0.4 + own_s
    assert as_zombie.cpu_s - 0.03 <= waited_for.cpu_s <= 0.4 + own_s


def test_an_orphan_stays_ours(tmp_path: Path) -> None:
    """A grandchild whose parent ended is no descendant any more; it is known, and what it does counts."""
    wait, open_ = gate()
    ready = tmp_path / "ready"

    def middle() -> None:
        pid = fork(lambda: (wait(), _burn(0.3), signal.pause()))
        ready.with_suffix(".tmp").write_text(str(pid))
        ready.with_suffix(".tmp").rename(ready)
        signal.pause()

    tree = Tree()
    tree.note(look())
    parent = fork(middle)
    until(ready.exists, "the grandchild")
    orphan = int(ready.read_text())
    try:
        tree.note(look(tree.pids))
        assert {parent, orphan} <= tree.pids
        kill(parent)
        open_()
        until(lambda: tree.note(look(tree.pids)).cpu_s >= 0.28, "the orphan's CPU time")
        assert orphan in tree.pids
    finally:
        os.kill(orphan, signal.SIGKILL)
    until(lambda: orphan not in (tree.note(look(tree.pids)), tree.pids)[1], "the end of the orphan")
    assert tree.note(look(tree.pids)).cpu_s >= 0.28


def test_bytes_through_system_calls_are_counted(tmp_path: Path) -> None:
    """Also those of a child that came and went between two looks."""
    tree, path = Tree(), tmp_path / "file"
    start = tree.note(look())
    if start.read_bytes is None:
        pytest.skip("this kernel shows no /proc/<pid>/io")
    assert reap(fork(lambda: path.write_bytes(b"x" * 3_000_000) and None)) == 0
    assert len(path.read_bytes()) == 3_000_000
    found = tree.note(look(tree.pids))
    assert found.read_bytes is not None
    assert found.written_bytes is not None
    assert 3_000_000 <= found.read_bytes < 5_000_000
    assert 3_000_000 <= found.written_bytes < 3_500_000


def test_without_the_kernels_lists_children_are_found_all_the_same(
    busy_child: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels without CONFIG_PROC_CHILDREN: psutil looks through all processes."""
    pid = busy_child()
    monkeypatch.setattr(process_usage, "_has_lists", lambda: False)
    assert pid in {one.pid for one in look().values()}
