"""Who computes what right now, over all runs of a root: what a new submission need not send again."""

from __future__ import annotations

import time
from collections.abc import Iterator

import msgspec

from condhpc import lease, runs
from condhpc.hints import Hint
from condhpc.layout import Layout, RunFolder
from condhpc.queue_view import Eye, Queue, pool_is_alive
from condhpc.run_view import RunView
from condhpc.runs import Reply
from condhpc.scheduler import Slurm
from condhpc.slurm_text import QueueRow, StateClass

_INTENT, _REPLY, _REFUSAL = (b'{"type":"%s"' % kind for kind in (b"intent", b"reply", b"refusal"))
_reply_decoder = msgspec.json.Decoder(Reply)


class Live(msgspec.Struct, frozen=True):
    """Somebody's work on a key."""

    element: str
    """`608_3`; empty for local work."""
    run: str


def live(layout: Layout, slurm: Slurm | None, stale_s: float = 900.0) -> dict[str, Live]:
    """Keys in elements that are in the queue (one squeue call), or leased by a live local process.

    Left out: what an element said it recorded, failed or found blocked, what a user cancelled, and what waits for
    a dependency that can never be satisfied. Raises SchedulerError when squeue does not answer.
    """
    rows = slurm.queue() if slurm is not None else []
    queue = Queue(rows)
    arrays = frozenset(row.ids.parent for row in rows if row.state_class.in_queue)
    eye = Eye(me=lease.myself(), now=time.time(), stale_s=stale_s, queue=queue, asked=arrays)
    found: dict[str, Live] = {}
    for run in map(layout.run, layout.run_names()):
        if _may_live(run, arrays):
            view = RunView(run)
            view.refresh()
            found |= {key: Live("", run.name) for key in _leased(view, eye, layout)}
            found |= {key: Live(element, run.name) for key, element in _in_queue(view, queue)}
    return found


def _may_live(run: RunFolder, arrays: frozenset[str]) -> bool:
    """A quick look at replies alone: most runs are over, and their intents are long."""
    try:
        data = run.submissions.read_bytes()
    except FileNotFoundError:
        return False
    except PermissionError:  # a colleague's, who keeps it closed: leases keep two from computing one task
        return False
    unsettled = 0
    for line in data.split(b"\n")[:-1]:
        unsettled += line.startswith(_INTENT) - line.startswith((_REPLY, _REFUSAL))
        if not line.startswith(_REPLY):
            continue
        try:
            reply = _reply_decoder.decode(line)
        except ValueError:  # torn: the full reader knows what to do
            return True
        if reply.job in arrays or (not reply.job and pool_is_alive(reply) is not False):
            return True
    return unsettled > 0


def _in_queue(view: RunView, queue: Queue) -> Iterator[tuple[str, str]]:
    """(key, element id) of a run's elements in the queue."""
    for held in view.unfinished():
        job = held.reply.job if held.reply is not None else queue.parent_of.get(held.intent.name, "")
        for index, pack in enumerate(held.intent.elements):
            element = f"{job}_{index}"
            if not job or index in held.cancelled or not _may_start(queue.row(element)):
                continue
            yield from ((key, element) for key in pack if not _is_over(view.hints.of(held.intent.name, key)))


def _may_start(row: QueueRow | None) -> bool:
    return row is not None and row.state_class.in_queue and row.state_class is not StateClass.BLOCKED


def _leased(view: RunView, eye: Eye, layout: Layout) -> Iterator[str]:
    """Keys of a run's local pools that a live process holds."""
    pools = [held for held in view.unfinished() if held.intent.backend == "local" and not held.cancelled]
    alive = [held for held in pools if held.reply is not None and pool_is_alive(held.reply) is not False]
    if not alive:
        return
    stages = {line.key: line.stage for line in runs.plan(view.run)}
    for held in alive:
        for key in (key for pack in held.intent.elements for key in pack):
            folder = layout.task(stages[key], key)
            if _is_over(view.hints.of(held.intent.name, key)):
                continue
            if eye.is_live(lease.read_attempt(folder, lease.latest_number(folder))):
                yield key


def _is_over(hint: Hint | None) -> bool:
    """Whether an element has nothing more to do for a task; a stopped one goes on after a requeue."""
    return hint is not None and hint.result != "stopped"
