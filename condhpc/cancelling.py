"""Cancelling single tasks of a run: whole elements of Slurm, or local pools, and what can do nothing without them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator

from condhpc import handover, launch, runs
from condhpc.action_text import counted
from condhpc.errors import InputError
from condhpc.hints import RECORDED
from condhpc.layout import Layout, RunFolder
from condhpc.queue_view import Queue, pool_is_alive
from condhpc.root_lock import root_lock
from condhpc.run_view import Place, RunView
from condhpc.runs import Cancel
from condhpc.scheduler import Slurm
from condhpc.stakes import waiting_for

Element = tuple[str, int]
"""Name of a submission, and which of its elements."""


def cancel_tasks(run: RunFolder, layout: Layout, slurm: Slurm | None, keys: Collection[str]) -> list[str]:
    """End the elements that hold these tasks; running ones checkpoint. What was done, in words.

    These tasks are withdrawn: nobody sends them again unasked, be they over or not. Whatever went with them is not.
    """
    with root_lock(layout):
        if slurm is not None:
            handover.reconcile(layout, slurm)
        view = RunView(run)
        view.refresh()
        meant = {key for key in keys if key in view.places and not _is_recorded(view, key)}
        if not meant:
            raise InputError(f"run {run.name}: none of these tasks was sent by it and is still to be done")
        live = dict(_live(view, slurm))
        hit = {element for key in meant if (element := _element(view.places[key])) in live}
        doomed = meant | set(waiting_for(meant, runs.plan(run)))
        hit |= {element for element, place in live.items() if _open(view, place) <= doomed}
        _end({element: live[element] for element in hit}, slurm)
        _note(run, view, meant, hit)
    return list(_lines(view, meant, doomed, {element: live[element] for element in hit}))


def keep_cancelled(run: RunFolder, keys: Collection[str]) -> None:
    """Where a cancelled run goes on with these tasks alone: all else stays cancelled, task by task."""
    for held in runs.submissions(run):
        rest = tuple(key for index in sorted(held.cancelled) for key in held.intent.elements[index] if key not in keys)
        if rest:
            runs.append(run, Cancel(name=held.intent.name, elements=(), keys=rest, time=runs.now()))


def _element(place: Place) -> Element:
    return place.name, place.index


def _is_recorded(view: RunView, key: str) -> bool:
    hint = view.hints.of(view.places[key].name, key)
    return hint is not None and hint.result in RECORDED


def _open(view: RunView, place: Place) -> set[str]:
    """Tasks of an element that it may still work on."""
    said = {key: view.hints.of(place.name, key) for key in place.submission.intent.elements[place.index]}
    return {key for key, hint in said.items() if hint is None or hint.result == "stopped"}


def _live(view: RunView, slurm: Slurm | None) -> Iterator[tuple[Element, Place]]:
    """Elements in the queue and pools whose workers live; raises SchedulerError where nobody can tell."""
    jobs = [held.reply.job for held in view.submissions if held.reply is not None and held.reply.job]
    queue = Queue(slurm.queue(jobs)) if slurm is not None and jobs else Queue([])
    for held in view.submissions:
        for index in range(len(held.intent.elements)):
            place = Place(held, index)
            if held.reply is None or index in held.cancelled:
                continue
            alive = pool_is_alive(held.reply) is not False if place.is_local else queue.standing(place.element)
            if alive:
                yield _element(place), place


def _end(hit: dict[Element, Place], slurm: Slurm | None) -> None:
    """Tell Slurm, or the workers."""
    for place in hit.values():
        reply = place.submission.reply
        if place.is_local and reply is not None:
            if pool_is_alive(reply) is None:
                raise InputError(f"its workers run on {reply.host}: cancel there")
            launch.Pool.of(reply).stop()
    if slurm is not None:
        slurm.cancel(place.element for place in hit.values() if not place.is_local)


def _note(run: RunFolder, view: RunView, meant: set[str], hit: set[Element]) -> None:
    """One line per submission."""
    indices: dict[str, set[int]] = defaultdict(set)
    withdrawn: dict[str, list[str]] = defaultdict(list)
    for name, index in hit:
        indices[name].add(index)
    for key in sorted(meant):
        withdrawn[view.places[key].name].append(key)
    for name in sorted(indices.keys() | withdrawn.keys()):
        event = Cancel(name=name, elements=tuple(sorted(indices[name])), keys=tuple(withdrawn[name]), time=runs.now())
        runs.append(run, event)


def _lines(view: RunView, meant: set[str], doomed: set[str], hit: dict[Element, Place]) -> Iterator[str]:
    gone = {key for place in hit.values() for key in _open(view, place)}
    yield f"{counted(len(gone), 'task')} in {counted(len(hit), 'element')} cancelled; what runs checkpoints first"
    if idle := len(meant - gone):
        yield f"{idle} neither wait nor run: they are not sent again by themselves"
    if rest := len((gone & doomed) - meant):
        yield f"{rest} of them wait for the others: these go on with them"
    if others := len(gone - doomed):
        yield f"{others} of them only share elements: `condhpc submit --continue`, or the steward, sends them again"
