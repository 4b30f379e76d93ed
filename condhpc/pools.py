"""Pools of local workers: which of them may still work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from condhpc.queue_view import pool_is_alive
from condhpc.runs import Submission
from condhpc.task_state import InQueue


class Pools:
    """The standing of every submission's pool; None for what is on Slurm, and for a pool that is gone."""

    def __init__(self, grace_s: float) -> None:
        """`grace_s`: how long a pool without a reply may still be starting."""
        self._grace_s = grace_s
        self.standing: dict[str, InQueue | None] = {}
        """By the submission's name."""

    def refresh(
        self, submissions: Sequence[Submission], now: float, is_any_live: Callable[[Iterable[str]], bool]
    ) -> list[Sequence[str]]:
        """Packs of the pools that began or ended. `is_any_live`: whether somebody alive holds one of these tasks."""
        before = self.standing
        self.standing = {held.intent.name: self._of(held, now, is_any_live) for held in submissions}
        return [
            pack
            for held in submissions
            if before.get(held.intent.name) != self.standing[held.intent.name]
            for pack in held.intent.elements
        ]

    def _of(self, held: Submission, now: float, is_any_live: Callable[[Iterable[str]], bool]) -> InQueue | None:
        if held.intent.backend != "local":
            return None
        if held.reply is None:
            return "active" if now - held.intent.time < self._grace_s else None
        alive = pool_is_alive(held.reply)
        if alive is None:  # only its own host sees its processes: heartbeats tell
            alive = is_any_live(key for pack in held.intent.elements for key in pack)
        return "active" if alive else None
