"""What people do to a run's tasks: cancel, try again, hold, release, throttle. Says what it did; asks nobody.

Every function calls Slurm at once and may take seconds: call them beside the screen, not on its thread. All raise
CondhpcError with what to do about it where something cannot be done.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager

import msgspec

from condhpc import profile as profiles
from condhpc import retrying, runs
from condhpc.errors import InputError
from condhpc.findings import Snapshot
from condhpc.layout import Layout, RunFolder
from condhpc.profile import Profile
from condhpc.run_view import Place, RunView
from condhpc.runs import PlanLine, Submission
from condhpc.scheduler import Slurm
from condhpc.slurm_text import QueueRow, StateClass
from condhpc.spec import Stage
from condhpc.stakes import Stakes, stakes_of


class Actions:
    """Actions on one run. `current` is the profile in force, by which work is sent again."""

    def __init__(
        self,
        run: RunFolder,
        layout: Layout,
        current: Profile,
        slurm: Slurm | None = None,
        after: Callable[[], object] = lambda: None,
    ) -> None:
        """`slurm` stands in for the cluster's commands in tests; else the run's profile says whether there are any.

        `after` is called when the queue may have changed.
        """
        self.run = run
        self._layout = layout
        self._current = current
        self._own = profiles.of_run(run.profile)
        self._slurm = (slurm or Slurm()) if self._own.backend == "slurm" else None
        self._after = after
        self._view = RunView(run)
        self._plan: list[PlanLine] = []

    def stakes(self, keys: Iterable[str], shot: Snapshot) -> Stakes:
        """What cancelling these tasks concerns, as of a snapshot: reads the run's folder, asks nobody. For dialogs."""
        self._plan = self._plan or runs.plan(self.run)
        self._view.refresh()
        return stakes_of(keys, shot.rows, shot.taken_s, self._view.places, self._plan, self._cpus)

    def cancel(self, keys: Collection[str]) -> list[str]:
        """Cancel the elements that hold these tasks, and those that can do nothing without them. What was done.

        Running tasks checkpoint. These tasks are sent again only by `retry` and `submit --continue`; others that went
        with them also by the steward.
        """
        from condhpc import cancelling  # submitit: half a second that a screen need not take to start

        self._require_own()
        with self._told_after():
            return cancelling.cancel_tasks(self.run, self._layout, self._slurm, keys)

    def retry(
        self,
        keys: Collection[str],
        *,
        time_min: int | None = None,
        mem_gb: float | None = None,
        accept_code: bool = False,
    ) -> list[str]:
        """Send these tasks again, with what they wait for and what waits for them. What was done, in words.

        Failed ones that met a limit get half as much again; with `time_min` minutes or `mem_gb` gigabytes all get
        these. Local work is started and not waited for.
        """
        from condhpc import advancing
        from condhpc.sending import Terms

        self._require_own()
        asked = msgspec.structs.replace(retrying.BY_HAND, keys=frozenset(keys), time_min=time_min, mem_gb=mem_gb)
        said: list[str] = []
        advancing.set_aside(self.run, self._layout, asked, said.append)
        terms = Terms(asked=asked)
        with self._told_after():
            advancing.advance(
                self.run, self._layout, self._current, accept_code=accept_code, say=said.append, terms=terms
            )
        return said

    def hold(self, keys: Collection[str] | None = None) -> list[str]:
        """Hold the waiting elements of these tasks, or of the whole run (None). What was done, in words."""
        slurm = self._cluster("held")
        rows = [row for row in self._queue(slurm) if row.state_class is StateClass.WAITING and row.priority > 0]
        return self._told(slurm.hold, rows, keys, "held; `condhpc release` lets them go", "none of these waits")

    def release(self, keys: Collection[str] | None = None) -> list[str]:
        """Let held elements of these tasks, or of the whole run (None), go on. What was done, in words.

        Raises InputError where the run's budget is used up: that holds them.
        """
        slurm = self._cluster("released")
        if why := runs.over_budget(self.run):
            raise InputError(f"run {self.run.name}: {why}; `condhpc budget {self.run.name} --set` raises it")
        # What runs was held with the rest of its array, and would stay so when it is requeued.
        rows = [row for row in self._queue(slurm) if row.state_class is StateClass.HELD or not row.priority]
        return self._told(slurm.release, rows, keys, "released", "none of these is held")

    def throttle(self, running: int, stage: Stage | None = None) -> list[str]:
        """Let at most so many elements of each array run at a time; 0: no bound. Of a stage, or of all (None).

        Arrays that are sent later get `max_running` of the profile.
        """
        slurm = self._cluster("throttled")
        if running < 0:
            raise InputError(f"throttle: found {running}, expected a number of elements, or 0 for no bound")
        of_stage = {held.reply.job for held in self._sent() if held.reply and stage in {None, held.intent.stage}}
        arrays = sorted({row.ids.parent for row in self._queue(slurm)} & of_stage)
        if not arrays:
            raise InputError(f"run {self.run.name}: no array{f' of stage {stage}' if stage else ''} waits or runs")
        with self._told_after():
            slurm.throttle(arrays, running)
        bound = f"at most {running} elements at a time" if running else "no bound"
        return [f"{len(arrays)} arrays: {bound}; later ones get `max_running` of the profile"]

    def by_hand(self, key: str) -> str:
        """The shell line that runs a task by hand, as its element does; raises InputError before its first try."""
        self._plan = self._plan or runs.plan(self.run)
        line = next((line for line in self._plan if line.key == key), None)
        folder = self._layout.task(line.stage, key) if line is not None else None
        if line is None or folder is None or not folder.task.is_file():
            raise InputError(f"task {key[:12]}: nobody began it yet, so there is nothing to run by hand")
        words = [*self._own.launch_prefix, self._own.python, "-m", f"condhpc_jobs.{line.stage}", str(folder.path)]
        return " && ".join([*self._own.setup, shlex.join(words)])

    # -- what they share -----------------------------------------------------------------------------------------

    @contextmanager
    def _told_after(self) -> Iterator[None]:
        """Also after a failure: half of it may have been done."""
        try:
            yield
        finally:
            self._after()

    def _cpus(self, place: Place) -> int:
        wanted = self._own.stage(place.submission.intent.stage or "evaluate")
        return wanted.cpus * wanted.ranks

    def _require_own(self) -> None:
        if self.run.path.stat().st_uid != os.getuid():
            raise InputError(f"run {self.run.name} is another user's: only its owner can do that")

    def _cluster(self, what: str) -> Slurm:
        self._require_own()
        if self._slurm is None:
            raise InputError(f"run {self.run.name} is on the local back-end: what waits there cannot be {what}")
        return self._slurm

    def _sent(self) -> list[Submission]:
        self._view.refresh()
        return self._view.submissions

    def _queue(self, slurm: Slurm) -> list[QueueRow]:
        jobs = [held.reply.job for held in self._sent() if held.reply is not None and held.reply.job]
        return [row for row in slurm.queue(jobs) if row.state_class.in_queue]

    def _told(
        self,
        act: Callable[[list[str]], None],
        rows: Iterable[QueueRow],
        keys: Collection[str] | None,
        done: str,
        none: str,
    ) -> list[str]:
        """Act on whole arrays, or on the elements of single tasks."""
        found = {element: row.ids.parent for row in rows for element in row.ids.elements()}
        if keys is not None:
            places = self._view.places
            wanted = {places[key].element for key in keys if key in places}
            found = {element: element for element in found if element in wanted}
        if not found:
            raise InputError(f"run {self.run.name}: {none}")
        with self._told_after():
            act(sorted(set(found.values())))
        return [f"{len(found)} elements {done}"]
