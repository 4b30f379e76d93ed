"""Which of a run's missing tasks are sent again, by class of their failure, and what they are given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec

from condhpc import needed, runs
from condhpc.failures import Failure, dependants, failures, gather
from condhpc.layout import Layout, RunFolder
from condhpc.needed import Needed
from condhpc.planned import Label
from condhpc.profile import Profile
from condhpc.retrying import Asked, Ceiling, Verdict, decide
from condhpc.scheduler import Slurm
from condhpc.sizing import node_gb, partition_of
from condhpc.spec import Stage
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
    found = failures(gather(run, layout, slurm), taken.new)
    if not found:
        return Choice(taken, [])
    stages = {key: taken.unrecorded[key].stage for key in found}
    ceilings = _ceilings(slurm, profile, set(stages.values()))
    verdicts = {key: _verdict(failure, ceilings[stages[key]], asked) for key, failure in found.items()}
    now = runs.now()
    needed.append(
        layout,
        (
            Needed(key=key, stage=stages[key], label=labels[key], more=verdict.more, run=run.name, time=now)
            for key, verdict in verdicts.items()
            if verdict.send and verdict.more is not None
        ),
    )
    held = [key for key, verdict in verdicts.items() if not verdict.send]
    left = dependants(taken.unrecorded, held) & taken.new.keys()
    kept = {key: task for key, task in taken.unrecorded.items() if key not in left}
    lines = [*_lines(verdicts, stages)]
    if waiting := len(left - set(held)):
        lines.append(f"{waiting} tasks wait for these")
    return Choice(msgspec.structs.replace(taken, unrecorded=kept), lines)


def _verdict(failure: Failure, ceiling: Ceiling, asked: Asked) -> Verdict:
    return decide(failure.cause, failure.sent, failure.given, ceiling, asked)


def _ceilings(slurm: Slurm | None, profile: Profile, stages: set[Stage]) -> dict[Stage, Ceiling]:
    """The most that each stage's partition gives; local work has no bounds that could be raised."""
    if slurm is None:
        return dict.fromkeys(stages, Ceiling())
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
