"""What is to be done about each task of an element, as the store and the diaries show it now."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Literal

from condhpc import keys, lease, owners, sharding, store
from condhpc.attempt import Result
from condhpc.context import input_stage
from condhpc.errors import CorruptArtefactError
from condhpc.layout import Layout, TaskFolder
from condhpc.lease import Attempt
from condhpc.owners import Watch
from condhpc.payload import Header
from condhpc.spec import Task

_FAILURES = frozenset({"failed", "blocked"})

Sight = Literal["ready", "wait", "blocked", "failed", "cached"]


class Work:
    """One task of the element."""

    def __init__(self, preimage: bytes, layout: Layout, shards: int = 1) -> None:
        self.preimage = preimage
        self.key = keys.digest(preimage)
        self.task: Task = keys.parse_preimage(preimage)
        self.folder = layout.task(self.task.stage, self.key)
        self.inputs = {key: layout.task(input_stage(self.task, role), key) for role, key in self.task.inputs.items()}
        """What must be recorded first: shards, too."""
        for key in map(keys.key, sharding.shards_of(self.task, shards)):
            self.inputs[key] = layout.task(self.task.stage, key)
        self.result: Result | None = None


class Sights:
    """Looks at the tasks of one element and at their inputs."""

    def __init__(self, header: Header, work: Sequence[Work]) -> None:
        self._peers = header.peers
        self._created = header.created
        self._watch = Watch(header.site.lease_stale_s)
        self._by_key = {w.key: w for w in work}

    def next(self, todo: list[Work]) -> tuple[Work | None, Sight]:
        """The first task that need not wait, with what is to be done about it."""
        seen: dict[str, Sight] = {}
        for work in todo:
            sight = self.of(work, seen)
            if sight != "wait":
                return work, sight
        return None, "wait"

    def of(self, work: Work, seen: dict[str, Sight]) -> Sight:
        """What is to be done about one task; `seen` keeps what its inputs looked like."""
        try:
            if store.is_recorded(work.folder):
                return "cached"
            own = self.state(work.folder)
        except (CorruptArtefactError, PermissionError) as error:  # that task's trouble alone: the pack goes on
            print(error, file=sys.stderr, flush=True)
            return "failed"
        if own in {"wait", "failed", "blocked"}:
            return own
        if not self._peers:
            return "ready"  # inputs are checked, patiently, by the attempt itself
        inputs = {self._look_at_input(key, folder, seen) for key, folder in work.inputs.items()}
        return "blocked" if inputs & _FAILURES else "wait" if "wait" in inputs else "ready"

    def _look_at_input(self, key: str, folder: TaskFolder, seen: dict[str, Sight]) -> Sight:
        if key not in seen:
            seen[key] = self._sight_of_input(key, folder)
        return seen[key]

    def _sight_of_input(self, key: str, folder: TaskFolder) -> Sight:
        """An input that nobody works on is waited for only while it is still to be done here."""
        try:
            if store.is_recorded(folder):
                return "cached"
            state = self.state(folder)
        except (CorruptArtefactError, PermissionError):
            return "failed"
        if state != "ready":
            return state
        own = self._by_key.get(key)
        return "wait" if own is not None and own.result is None else "blocked"

    def state(self, folder: TaskFolder) -> Sight:
        """What an unrecorded task's newest diary says: live elsewhere, ended badly in this submission, or free."""
        last = lease.read_attempt(folder, lease.latest_number(folder))
        if last is None:
            return "ready"
        if last.end is None:
            return "ready" if self.gone(folder)(last) else "wait"
        if last.end.time < self._created or last.end.outcome not in _FAILURES:
            return "ready"
        return "blocked" if last.end.outcome == "blocked" else "failed"

    def gone(self, folder: TaskFolder) -> Callable[[Attempt], bool]:
        """Reasons to take over: the owner's process or job ended, or its heartbeat stood still while we looked."""
        me = lease.myself()
        return lambda held: (
            lease.provably_gone(held.owner, me)
            or self._watch.is_stale(folder, held)
            or owners.left_queue(folder, held, me.job)
        )
