"""Pools of local workers: which may still work, and whose tasks to look at when one ends."""

from __future__ import annotations

import os
from collections.abc import Iterable

from condhpc import lease
from condhpc.pools import Pools
from condhpc.runs import Intent, Reply, Submission

GRACE_S = 60.0


def pool(name: str, *, pids: dict[str, int] | None = None, host: str = "", sent: float = 0.0) -> Submission:
    """A pool of two tasks; without pids its reply is missing."""
    intent = Intent(name=name, backend="local", elements=((f"{name}0", f"{name}1"),), time=sent)
    if pids is None:
        return Submission(intent=intent)
    return Submission(intent=intent, reply=Reply(name=name, host=host or os.uname().nodename, pids=pids, time=sent))


def test_only_pools_whose_standing_changed_are_named() -> None:
    """At first all, then those that end; what is on Slurm has no standing here."""
    own = {str(os.getpid()): lease.process_start(os.getpid()) or 0}
    alive, ended = pool("a", pids=own), pool("b", pids=own)
    array = Submission(intent=Intent(name="s", backend="slurm", elements=(("x",),), time=0.0))
    pools = Pools(GRACE_S)

    def nobody(keys: Iterable[str]) -> bool:
        raise AssertionError(f"asked for {list(keys)}")

    assert pools.refresh([alive, ended, array], 0.0, nobody) == [("a0", "a1"), ("b0", "b1")]
    assert pools.standing == {"a": "active", "b": "active", "s": None}
    assert pools.refresh([alive, ended, array], 0.0, nobody) == []
    gone = pool("b", pids={str(os.getpid()): 1})
    assert pools.refresh([alive, gone, array], 0.0, nobody) == [("b0", "b1")]
    assert pools.standing["b"] is None


def test_a_pool_without_a_reply_is_starting_for_a_while() -> None:
    """Its submitter may be between the two lines; later it is dead."""
    pools = Pools(GRACE_S)
    starting = [pool("a", sent=1000.0)]
    pools.refresh(starting, 1059.0, lambda _: False)
    assert pools.standing["a"] == "active"
    assert pools.refresh(starting, 1061.0, lambda _: False) == [("a0", "a1")]
    assert pools.standing["a"] is None


def test_on_another_host_living_leases_tell() -> None:
    """Its processes cannot be seen from here."""
    pools = Pools(GRACE_S)
    asked: list[list[str]] = []

    def held(keys: Iterable[str]) -> bool:
        asked.append(list(keys))
        return len(asked) == 1

    far = [pool("a", pids={"1": 1}, host="elsewhere")]
    pools.refresh(far, 0.0, held)
    assert pools.standing["a"] == "active"
    assert pools.refresh(far, 0.0, held) == [("a0", "a1")]
    assert asked == [["a0", "a1"]] * 2
