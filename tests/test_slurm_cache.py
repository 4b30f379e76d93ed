"""The files that watchers share: who may ask, what was answered, and what a dead or foreign process leaves."""

from __future__ import annotations

from pathlib import Path

import pytest
from children import fork, gate, reap
from made_clock import Clock
from made_runs import squeue_row

from condhpc import slurm_cache
from condhpc.slurm_cache import Cache, Calls
from condhpc.slurm_text import QueueRow, parse_squeue


@pytest.fixture
def clock() -> Clock:
    """For all caches of a test."""
    return Clock()


def rows(*states: str) -> list[QueueRow]:
    """An array whose elements are in these states."""
    return parse_squeue("".join(squeue_row(f"7_{index}", state) for index, state in enumerate(states)))


def test_of_two_watchers_one_may_ask_in_an_interval(tmp_path: Path, clock: Clock) -> None:
    """The claim of one keeps the other out until the interval, and its tenth of jitter, is over."""
    first, second = Cache(tmp_path, clock), Cache(tmp_path, clock)
    assert first.claim("squeue", 30.0)
    assert not second.claim("squeue", 30.0)
    clock.now += 29.9
    assert not second.claim("squeue", 30.0)
    clock.now += 3.2
    assert second.claim("squeue", 30.0)
    assert not first.claim("squeue", 30.0)
    assert first.claim("sacct", 120.0), "programs are counted apart"
    assert [len(first.state().squeue.last_h), len(first.state().sacct.last_h)] == [2, 1]
    clock.now += 3600.0
    assert second.claim("squeue", 30.0)
    assert len(first.state().squeue.last_h) == 1


def test_of_racing_processes_one_may_ask(tmp_path: Path) -> None:
    """Eight processes that want to ask at the same moment."""
    wait, open_ = gate()

    def race() -> int:
        wait()
        return 1 if Cache(tmp_path).claim("squeue", 30.0) else 0

    children = [fork(race) for _ in range(8)]
    open_()
    assert sorted(reap(pid) for pid in children) == [0] * 7 + [1]
    assert not (tmp_path / "lock").exists()


def test_an_answer_is_there_for_all_and_the_same_object_while_it_stands(tmp_path: Path, clock: Clock) -> None:
    """Rows come back equal in another process; who holds them already does not read them again."""
    first, second = Cache(tmp_path, clock), Cache(tmp_path, clock)
    assert second.newest() is None
    given = rows("RUNNING", "PENDING")
    first.answered(clock.now, given)
    found = second.newest()
    assert found is not None
    assert (found.asked_s, found.rows) == (clock.now, given)
    assert second.newest() is found
    assert first.newest() is not None
    assert first.newest().rows is given  # type: ignore[union-attr]
    second.answered(clock.now + 1, rows("RUNNING"))
    assert first.newest().asked_s == clock.now + 1  # type: ignore[union-attr]


def test_nothing_new_and_slow_answers_double_the_interval_up_to_five_minutes(tmp_path: Path, clock: Clock) -> None:
    """What changed brings the first interval back; a failure backs off, too, and its words stay until an answer."""
    cache = Cache(tmp_path, clock)
    intervals = []
    for _ in range(6):
        cache.note("squeue")
        cache.answered(clock.now, rows("RUNNING"))
        calls = cache.state().squeue
        intervals.append(round(calls.every_s(30.0) / (1 + calls.jitter), 6))
    assert intervals == [30.0, 60.0, 120.0, 240.0, 300.0, 300.0]
    cache.answered(clock.now, rows("PENDING"))
    assert cache.state().squeue.doublings == 0
    clock.now += 2.5
    cache.answered(clock.now - 2.5, rows("RUNNING"))
    assert cache.state().squeue.doublings == 1, "the controller is busy"
    cache.failed("down")
    assert (cache.state().squeue.error, cache.state().squeue.doublings) == ("down", 2)
    cache.answered(clock.now, rows("FAILED"))
    assert (cache.state().squeue.error, cache.state().squeue.doublings) == ("", 0)


def test_a_long_interval_of_the_profile_is_kept() -> None:
    """Back-off ends at five minutes, but never makes a profile's own interval shorter."""
    assert Calls(doublings=3).every_s(600.0) == 600.0


def test_a_call_in_the_future_is_a_wrong_clock_of_another_node(tmp_path: Path, clock: Clock) -> None:
    """It does not keep everybody from asking for hours."""
    ahead = Cache(tmp_path, lambda: clock.now + 7200.0)
    assert ahead.claim("squeue", 30.0)
    assert Cache(tmp_path, clock).claim("squeue", 30.0)


def test_a_lock_of_a_dead_process_is_removed(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody may ask while it could be alive; seen unmoved for seconds it is taken for dead."""
    monkeypatch.setattr(slurm_cache, "_LOCK_PATIENCE_S", 0.0)
    (tmp_path / "lock").touch()
    cache = Cache(tmp_path, clock)
    assert not cache.claim("squeue", 30.0)
    monkeypatch.setattr(slurm_cache, "_LOCK_STALE_S", -1.0)
    assert not cache.claim("squeue", 30.0)
    assert cache.claim("squeue", 30.0)


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff\xfe", b'{"squeue":1}'])
def test_damaged_files_are_as_none(tmp_path: Path, clock: Clock, damage: bytes) -> None:
    """Written by another version or torn by a full disk: asked anew, and replaced."""
    (tmp_path / "calls.json").write_bytes(damage)
    (tmp_path / "squeue.jsonl").write_bytes(damage)
    cache = Cache(tmp_path, clock)
    assert cache.newest() is None
    assert cache.claim("squeue", 30.0)
    cache.answered(clock.now, rows("RUNNING"))
    assert Cache(tmp_path, clock).newest() is not None


def test_without_a_folder_a_process_keeps_to_the_limits_alone(tmp_path: Path, clock: Clock) -> None:
    """A home that cannot be written: nothing fails, nothing is shared, the interval stands."""
    (tmp_path / "file").touch()
    cache = Cache(tmp_path / "file" / "below", clock)
    assert cache.claim("squeue", 30.0)
    assert not cache.claim("squeue", 30.0)
    cache.answered(clock.now, rows("RUNNING"))
    assert cache.newest() is not None
    assert len(cache.state().squeue.last_h) == 1


def test_clusters_do_not_share(tmp_path: Path) -> None:
    """A home that two clusters mount holds a folder for each: by the configuration's path and the cluster's name."""
    conf = tmp_path / "slurm.conf"
    conf.write_text("# a comment\nClusterName=alpha\n")
    env = {"HOME": str(tmp_path), "SLURM_CONF": str(conf)}
    alpha = slurm_cache.folder(env)
    assert alpha.parent == tmp_path / ".cache" / "condhpc"
    conf.write_text("ClusterName = beta\n")
    assert slurm_cache.folder(env) != alpha
    conf.write_text("ClusterName=alpha\n")
    assert slurm_cache.folder(env) == alpha
    assert slurm_cache.folder(env | {"XDG_CACHE_HOME": str(tmp_path / "x")}) == tmp_path / "x/condhpc" / alpha.name
    assert slurm_cache.folder(env | {"SLURM_CLUSTERS": "beta"}) != alpha


def test_the_folder_is_the_users_own(tmp_path: Path, clock: Clock) -> None:
    """Job names may say what others need not know."""
    Cache(tmp_path / "new", clock).claim("squeue", 30.0)
    assert (tmp_path / "new").stat().st_mode & 0o077 == 0


def test_a_users_own_deeds_make_the_answer_old(tmp_path: Path, clock: Clock) -> None:
    """After a cancel the next watcher asks at once; without any watcher so far nothing is written."""
    Cache(tmp_path / "none", clock).spoil()
    assert not (tmp_path / "none").exists()
    cache = Cache(tmp_path, clock)
    assert cache.claim("squeue", 30.0)
    for _ in range(3):
        cache.answered(clock.now, rows("RUNNING"))
    assert not cache.claim("squeue", 30.0)
    Cache(tmp_path, clock).spoil()
    assert cache.claim("squeue", 30.0)
    assert cache.state().squeue.doublings == 0
