"""Several ranks as forked processes of a test, over a rendezvous file, without Slurm."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from children import fork, reap

from condhpc.context import FollowerContext
from condhpc.joining import Place
from condhpc.layout import TaskFolder


class RankContext(FollowerContext):
    """As much of an attempt's context as a team of ranks needs; rank 0's notes ticks and saves as asked."""

    def __init__(self, folder: Path, place: Place) -> None:
        self.lease: Any = SimpleNamespace(folder=TaskFolder(folder), number=1)
        self.device = "cpu"
        self.asked = threading.Event()
        self.share(place)
        self.ranks_cpu_s = 0.0


def on_ranks(count: int, folder: Path, work: Callable[[RankContext], Any]) -> list[Any]:
    """What `work` returns on each of so many ranks, in their order; each is a process of its own."""
    statuses = statuses_on_ranks(count, folder, work)
    assert statuses == [0] * count, statuses
    return [pickle.loads((folder / f"found{rank}").read_bytes()) for rank in range(count)]


def statuses_on_ranks(count: int, folder: Path, work: Callable[[RankContext], Any]) -> list[int]:
    """How those processes end: their exit statuses, negative for signals."""
    folder.mkdir(parents=True, exist_ok=True)

    def child(rank: int) -> None:
        found = work(RankContext(folder, Place(rank, count, rank)))
        (folder / f"found{rank}").write_bytes(pickle.dumps(found))

    pids = [fork(partial(child, rank)) for rank in range(count)]
    return [reap(pid) for pid in pids]
