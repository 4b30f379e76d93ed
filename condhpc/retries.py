"""Which of a run's missing tasks are sent again, by class of their failure, and what they are given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

import msgspec

from condhpc import needed, runs
from condhpc.failures import dependants, failures, gather
from condhpc.layout import Layout, RunFolder
from condhpc.needed import Needed
from condhpc.planned import Label
from condhpc.profile import Profile
from condhpc.resources import More
from condhpc.retrying import CLASS_OF, Asked, Ceiling, Verdict, decide
from condhpc.scheduler import Slurm
from condhpc.sizing import node_gb, partition_of
from condhpc.spec import Stage, Task
from condhpc.survey import Survey


class Choice(NamedTuple):
    """What a run goes on with."""

    survey: Survey
    """Without what is not tried again, and all that waits for it."""
    lines: list[str]
    """In words, one for each fate."""


def choose(
    run: RunFolder,
    layout: Layout,
    slurm: Slurm | None,
    taken: Survey,
    labels: Mapping[str, Label],
    profile: Profile,
    asked: Asked,
) -> Choice:
    """Look at every missing task that was tried; note what is given to those that get more (under the root's lock)."""
    taken = taken if asked.keys is None else _only(taken, asked.keys)
    withdrawn = set[str]() if asked.withdrawn else withdrawn_keys(run) & taken.new.keys()
    stages = {key: task.stage for key, task in taken.new.items() if key not in withdrawn}
    verdicts = _verdicts(run, layout, slurm, stages, profile, asked)
    if not verdicts and not withdrawn:
        return Choice(taken, [])
    now = runs.now()
    needed.append(
        layout,
        (
            Needed(key=key, stage=stages[key], label=labels[key], more=verdict.more, run=run.name, time=now)
            for key, verdict in verdicts.items()
            if verdict.send and verdict.more is not None
        ),
    )
    waiting_for = {key for key, verdict in verdicts.items() if not verdict.send} | withdrawn
    left = dependants(taken.unrecorded, waiting_for) & taken.new.keys()
    kept = {key: task for key, task in taken.unrecorded.items() if key not in left}
    lines = [*_lines(verdicts, stages)]
    if withdrawn:
        lines.append(
            f"{len(withdrawn)} cancelled by hand: `condhpc retry --task` or `submit --continue` sends them again"
        )
    if waiting := len(left - waiting_for):
        lines.append(f"{waiting} tasks wait for these")
    return Choice(msgspec.structs.replace(taken, unrecorded=kept), lines)


def withdrawn_keys(run: RunFolder) -> set[str]:
    """Tasks that a user cancelled one by one, and that were not sent since."""
    found: set[str] = set()
    for held in runs.submissions(run):
        if held.refusal is None:
            found.difference_update(key for pack in held.intent.elements for key in pack)
            found |= held.withdrawn
    return found


def _only(taken: Survey, keys: frozenset[str]) -> Survey:
    """These tasks with what is missing of what they wait for, and with what waits for nothing else."""
    new = taken.new
    wanted = keys & new.keys()
    for key in reversed(new):
        if key in wanted:
            wanted |= {one for one in new[key].waits_for if one in new}
    kept: dict[str, Task] = {}
    for key, task in taken.unrecorded.items():
        missing = [one for one in task.waits_for if one in taken.unrecorded]
        follows = not wanted.isdisjoint(missing) and all(one in kept for one in missing)
        if key in wanted or key in taken.live or follows:
            kept[key] = task
            wanted |= {key} if follows else frozenset()
    return msgspec.structs.replace(taken, unrecorded=kept)


def _verdicts(
    run: RunFolder,
    layout: Layout,
    slurm: Slurm | None,
    stages: Mapping[str, Stage],
    profile: Profile,
    asked: Asked,
) -> dict[str, Verdict]:
    """What becomes of each of these tasks that failed."""
    if not stages:
        return {}
    found = failures(gather(run, layout, slurm), stages)
    given = _given(asked, stages.keys() - found.keys())
    if not found:
        return given
    limited = {stages[key] for key, failure in found.items() if CLASS_OF[failure.cause] == "limit"}
    ceilings = _ceilings(slurm, profile, limited)
    return given | {
        key: decide(failure.cause, failure.sent, failure.given, ceilings.get(stages[key], Ceiling()), asked)
        for key, failure in found.items()
    }


def _given(asked: Asked, others: Collection[str]) -> dict[str, Verdict]:
    """What a user says of named tasks counts for those that did not fail, too."""
    if asked.keys is None or (asked.time_min is None and asked.mem_gb is None):
        return {}
    more = More(time_min=asked.time_min, mem_gb=asked.mem_gb, why="asked for by hand")
    return {key: Verdict(send=True, more=more, why="asked for by hand") for key in asked.keys & set(others)}


def _ceilings(slurm: Slurm | None, profile: Profile, stages: set[Stage]) -> dict[Stage, Ceiling]:
    """The most that the partitions of these stages give; local work has no bounds that could be raised."""
    if slurm is None or not stages:
        return {}
    limits = slurm.limits()
    parts = {stage: partition_of(limits, profile.stage(stage)) for stage in stages}
    return {
        stage: Ceiling(part.max_time_min if part is not None else None, node_gb(part)) for stage, part in parts.items()
    }


def _lines(verdicts: Mapping[str, Verdict], stages: Mapping[str, Stage]) -> Iterator[str]:
    """What is tried again first, then what is not."""
    counts = Counter((not verdict.send, stages[key], verdict.why) for key, verdict in verdicts.items())
    for (held, stage, why), count in sorted(counts.items()):
        yield f"{count} {stage} {'not sent again' if held else 'sent again'}: {why}"
