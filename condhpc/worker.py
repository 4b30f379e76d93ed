"""What one array element runs: `python -m condhpc.worker <payload> [--element I]`.

Torch is imported once; every task of the pack runs in a forked child with its own lease and record. Before each
task the worker looks whether it should go on: stop signals, a cancelled run, a budget used up, too little time left.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import importlib
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from condhpc import attempt, hints, joining, lanes, lease, payload, scheduler, store
from condhpc.attempt import Result
from condhpc.errors import CondhpcError, SchedulerError, StoreError
from condhpc.follower import Follower
from condhpc.joining import Caller, Place
from condhpc.layout import Layout
from condhpc.payload import Element, Header
from condhpc.sights import Sight, Sights, Work
from condhpc.supervise import Flags, run_child

_PEER_POLL_S = 0.2
_BUSY_POLL_S = 5.0


class Worker:
    """Runs the tasks of one element until all have ended, or until it must end itself."""

    def __init__(self, header: Header, element: Element, path: Path, index: int) -> None:
        self.header = header
        self.path = path
        self.index = index
        self.layout = Layout(Path(header.site.root))
        self.run = self.layout.run(header.site.run)
        self.flags = Flags()
        self.started = time.monotonic()
        work = [Work(preimage, self.layout, header.site.shards) for _, preimage in element.keyed()]
        self.sights = Sights(header, work)
        # What was tried before comes last: one bad task must not eat every restart of its pack.
        self.work = sorted(work, key=lambda w: lease.latest_number(w.folder))
        self.lanes = min(header.concurrent, len(work))
        self.site = msgspec.structs.replace(header.site, lanes=max(1, self.lanes))
        self.caller: Caller | None = None
        """Reaches the other ranks, where several share each task."""
        self.writer = f"{index}-{os.getpid()}" if header.peers else str(index)

    def main(self) -> int:
        """Exit status of the element: 0 all recorded, 1 something failed, 3 blocked, 75 to be continued."""
        importlib.import_module("condhpc_jobs.preload")
        attempt.code_digest()  # once, not in every child
        try:
            code = lanes.run(self.lanes, self._lane, self.flags) if self.lanes > 1 else self._work()
        finally:
            if self.caller is not None:
                self.caller.end()
        if code == lanes.TO_BE_CONTINUED and self._may_requeue():
            self._requeue()
        return code

    def _lane(self, number: int) -> int:
        """One of several forks that share the list; each starts elsewhere in it, so that few leases are fought for."""
        self.writer = f"{self.index}-{number}"
        first = number * len(self.work) // self.lanes
        self.work = self.work[first:] + self.work[:first]
        return self._work()

    def _work(self) -> int:
        """Do all that is to be done, or that another does, until the end or a stop; the exit status."""
        todo = list(self.work)
        while todo and not self._must_end():
            work, sight = self.sights.next(todo)
            if work is None:
                self.flags.wait(_PEER_POLL_S if self.header.peers or self.lanes > 1 else _BUSY_POLL_S)
                continue
            result = self._attempt(work) if sight == "ready" else self._skip(work, sight)
            if result == "busy":
                self.flags.wait(_PEER_POLL_S)
                continue
            work.result = result
            todo.remove(work)
            if result == "stopped":  # whoever stopped the child alone meant all of us
                self.flags.stop = True
        self._note_left(todo)
        return self._status()

    def _attempt(self, work: Work) -> Result:
        grace_s = max(5.0, 0.8 * self.header.signal_s)
        gone = self.sights.gone(work.folder)
        result = run_child(work.preimage, work.folder, self.site, gone, self.flags, grace_s, self.caller)
        if result != "busy":
            self._hint([work], result)
        if result == "blocked":
            self._cancel_siblings(work)
        return result

    def _skip(self, work: Work, sight: Sight) -> Result:
        """A task that needs no attempt. A peer's failure leaves a `blocked` diary where none tells it yet."""
        if sight != "blocked":
            result: Result = "cached" if sight == "cached" else "failed"
            self._hint([work], result)
            return result
        try:
            if self.sights.state(work.folder) == "ready":
                self._note_blocked(work)
        except StoreError as error:
            print(error, file=sys.stderr, flush=True)
        return "blocked"

    def _note_blocked(self, work: Work) -> None:
        store.write_task(work.folder, work.preimage)
        held = attempt.take(work.folder, lease.myself(run=self.header.site.run), self.sights.gone(work.folder))
        if held is not None:
            held.end("blocked", "an input ended without a record")
            self._hint([work], "blocked")

    def _note_left(self, todo: list[Work]) -> None:
        """Say why these are not begun: to Slurm an element that was stopped is as FAILED as one that is broken.

        Of a shared list the next worker goes on with the rest.
        """
        over = bool(todo) and self._is_over_budget()
        if over:
            told = f"over_budget: {len(todo)} tasks are not begun; `condhpc budget {self.run.name}` says more"
            print(told, file=sys.stderr, flush=True)
        free = [work for work in todo if self.sights.of(work, {}) == "ready"] if not self.header.peers else []
        self._hint(free, "over_budget" if over else "stopped")

    def _cancel_siblings(self, work: Work) -> None:
        """Cancel pending elements of this array all of whose tasks miss the same input: they start for nothing."""
        array = os.environ.get("SLURM_ARRAY_JOB_ID")
        if not array:
            return
        missing = {key for key, folder in work.inputs.items() if not store.is_recorded(folder)}
        siblings = range(self.index + 1, len(self.header.offsets))
        doomed = [f"{array}_{i}" for i in siblings if self._all_need(payload.read(self.path, i)[1], missing)]
        if doomed:
            with contextlib.suppress(SchedulerError):  # then they find out on their own
                scheduler.Slurm().cancel_pending(doomed)

    @staticmethod
    def _all_need(element: Element, missing: set[str]) -> bool:
        return all(missing & set(task.inputs.values()) for task in payload.tasks(element))

    def _hint(self, told: Sequence[Work], result: hints.Result | Literal["busy"]) -> None:
        """Tell those who look at the run, so that they need not stat every task."""
        if not (told and self.header.site.run):
            return
        self.run.done.mkdir(parents=True, exist_ok=True)
        now = round(time.time(), 3)
        lines = [msgspec.json.encode({"key": work.key, "result": result, "time": now}) + b"\n" for work in told]
        with (self.run.done / f"{self.path.stem}.{self.writer}.jsonl").open("ab", buffering=0) as file:
            file.write(b"".join(lines))

    # -- the end -------------------------------------------------------------------------------------------

    def _must_end(self) -> bool:
        if self.flags.stop or self._is_cancelled() or self._is_over_budget():
            return True
        left_s = self.header.time_min * 60.0 - (time.monotonic() - self.started)
        if self.header.time_min and left_s < self.header.margin_s:
            self.flags.requeue = True
            return True
        return False

    def _is_cancelled(self) -> bool:
        return bool(self.header.site.run) and self.run.cancel.exists()

    def _is_over_budget(self) -> bool:
        return bool(self.header.site.run) and self.run.over_budget.exists()

    def _status(self) -> int:
        results = {work.result for work in self.work}
        if results & {None, "stopped"}:
            return lanes.TO_BE_CONTINUED
        if "failed" in results:
            return 1
        return 3 if "blocked" in results else 0

    def _may_requeue(self) -> bool:
        """Whether the end was asked for by a signal that means "later", or by the clock (of a lane, perhaps)."""
        self._must_end()
        return self.flags.requeue and self.header.requeue and not self._is_cancelled() and not self._is_over_budget()

    def _requeue(self) -> None:
        """Put this element back into the queue and return at once; where refused, `submit` goes on later."""
        me = lease.myself()
        if not me.job:
            return
        if me.restarts >= self.header.max_requeues:
            print(f"requeued {me.restarts} times already: not again", file=sys.stderr)
            return
        try:
            scheduler.Slurm().requeue(me.job)
        except SchedulerError as error:
            print(f"{error}\n`condhpc submit` continues this work", file=sys.stderr)


def _ranked(header: Header, element: Element, path: Path, index: int, place: Place) -> int:
    """One rank of an element: rank 0 is its worker, and tells the others what to join and when to end."""
    run = Layout(Path(header.site.root)).run(header.site.run)
    calls = run.calls(path.stem, index, lease.myself().restarts)
    if place.rank:
        return Follower(header, element, calls, place).main()
    worker = Worker(header, element, path, index)
    worker.caller = Caller(calls, place)
    return worker.main()


def main(argv: list[str] | None = None) -> int:
    """Entry point of an element."""
    parser = argparse.ArgumentParser(prog="condhpc.worker", description="Run one element of an array.")
    parser.add_argument("payload", type=Path)
    parser.add_argument("--element", type=int, default=None, help="default: SLURM_ARRAY_TASK_ID, else 0")
    arguments = parser.parse_args(argv)
    faulthandler.enable()  # a crash in native code leaves the Python lines above it in the log
    index = arguments.element if arguments.element is not None else int(os.environ.get("SLURM_ARRAY_TASK_ID", "0"))
    try:
        header, element = payload.read(arguments.payload, index)
        place = joining.place(header.ranks, os.environ)
        if place.ranks > 1:
            return _ranked(header, element, arguments.payload, index, place)
        return Worker(header, element, arguments.payload, index).main()
    except CondhpcError as error:
        print(f"condhpc.worker: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    raise SystemExit(main())
