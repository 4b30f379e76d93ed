"""`condhpc status --follow`: a line whenever something changed, until nothing goes on by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from condhpc.findings import Snapshot
from condhpc.tables import printable
from condhpc.task_state import STATES

LOOK_S = 5.0
"""Between looks at the run's files; how often Slurm is asked is not decided here."""


class Source(Protocol):
    """Where snapshots come from: `observe.Observer`."""

    def snapshot(self) -> Snapshot:
        """The run now."""


def follow(source: Source, say: Callable[[str], object], wait: Callable[[], object], *, as_json: bool) -> Snapshot:
    """Say what changed, look by look; the last snapshot. Between two looks `wait` is called."""
    said: list[str] = []
    while True:
        shot = source.snapshot()
        lines = list(_lines(shot))
        if lines != said:
            if as_json:
                say(msgspec.json.encode(shot).decode())
            else:
                when = f"{datetime.fromtimestamp(shot.taken_s, UTC):%Y-%m-%d %H:%M:%SZ}"
                for line in lines[:1] + [line for line in lines[1:] if line not in said]:
                    say(f"{when}  {line}")
            said = lines
        if shot.state != "running":
            return shot
        wait()


def _lines(shot: Snapshot) -> Iterator[str]:
    """The run in one line, then one for each thing that is wrong."""
    stages = [f"{stage} {counts['recorded']}/{sum(counts.values())}" for stage, counts in shot.counts.items()]
    others = [f"{shot.total(state)} {state}" for state in STATES[1:] if shot.total(state)]
    yield f"{shot.state}: {', '.join(stages + others)}"
    yield from map(printable, shot.problems)
