"""Tasks that failed alike: by the last line of their traceback, Slurm's word and the class of their failure."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from condhpc import failures, runs
from condhpc.briefs import Brief, lost_h
from condhpc.charges import Charge
from condhpc.failures import Evidence
from condhpc.findings import Row
from condhpc.layout import Layout, RunFolder
from condhpc.outlook import FailureGroup
from condhpc.retrying import CLASS_OF
from condhpc.run_view import Place
from condhpc.runs import Submission
from condhpc.spec import STAGES
from condhpc.task_state import BAD

_SIGNATURE_CHARS = 160
_PATTERNS = (
    (re.compile(r"\b0x[0-9a-fA-F]+\b"), "ADDRESS"),
    (re.compile(r"\b(?=[0-9a-f]*\d)[0-9a-f]{12,}\b"), "KEY"),
    (re.compile(r"(?<![\w.])(?:~|\.{1,2})?/[^\s'\":,;()\[\]]+"), "PATH"),
    (re.compile(r"\d+(?:[.,:]\d+)*"), "N"),
)
_ENDED_AS = re.compile(r"ended as ([A-Z_]+)")
_FALLBACK = {"failed": "no reason known", "blocked": "an input is missing", "lost": "left no word"}


def signature(line: str) -> str:
    """A line without what differs from task to task: numbers, paths, keys, addresses."""
    for pattern, word in _PATTERNS:
        line = pattern.sub(word, line)
    return line[:_SIGNATURE_CHARS]


class _Bad(msgspec.Struct, frozen=True):
    """What is known of one task."""

    slurm_state: str
    cause: Literal["infra", "limit", "code", ""]


class FailureGroups:
    """Keeps what it found out of a task until its row changes."""

    def __init__(
        self,
        run: RunFolder,
        layout: Layout,
        charges: Callable[[str], Sequence[Charge]],
        brief: Callable[[str], Brief],
        position: Callable[[str], int],
    ) -> None:
        """By element its charges; by key what is known of a task, and where it stands in the plan."""
        self._run = run
        self._layout = layout
        self._charges = charges
        self._brief = brief
        self._position = position
        self._rows: dict[str, Row] = {}
        self._known: dict[str, _Bad] = {}
        self._sent: list[Submission] = []
        self._bytes = -1

    def change(self, row: Row) -> None:
        """A row is another one now."""
        self._known.pop(row.key, None)
        if row.state in BAD:
            self._rows[row.key] = row
        else:
            self._rows.pop(row.key, None)

    def charged_anew(self) -> None:
        """The accounting has said more: Slurm's words may be others."""
        self._known.clear()

    def now(self) -> list[FailureGroup]:
        """The most frequent first, tasks in the order of the plan."""
        unknown = [row for key, row in self._rows.items() if key not in self._known]
        if unknown:
            self._known.update(self._looked_at(unknown))
        groups: dict[tuple[str, ...], list[Row]] = defaultdict(list)
        for row in sorted(self._rows.values(), key=lambda row: self._position(row.key)):
            known = self._known[row.key]
            line = row.detail or _FALLBACK.get(row.state, "")
            groups[signature(line), row.state, known.slurm_state, known.cause].append(row)
        found = [self._group(which[0], rows) for which, rows in groups.items()]
        return sorted(found, key=lambda group: -len(group.keys))

    def _group(self, text: str, rows: Sequence[Row]) -> FailureGroup:
        first, known = rows[0], self._known[rows[0].key]
        lost = [lost_h(self._brief(row.key)) for row in rows]
        gpu_h = [gpu for gpu, _ in lost if gpu is not None]
        cpu_h = [cpu for _, cpu in lost if cpu is not None]
        stages = {row.stage for row in rows}
        return FailureGroup(
            signature=text,
            example=first.detail,
            state=first.state,
            stages=[stage for stage in STAGES if stage in stages],
            slurm_state=known.slurm_state,
            cause=known.cause,
            nodes=[host for host, _ in Counter(row.host for row in rows if row.host).most_common()],
            keys=[row.key for row in rows],
            gpu_h_lost=round(sum(gpu_h), 6) if gpu_h else None,
            cpu_h_lost=round(sum(cpu_h), 6) if cpu_h else None,
        )

    # -- one task ------------------------------------------------------------------------------------------------

    def _looked_at(self, rows: Iterable[Row]) -> dict[str, _Bad]:
        """By diaries and the run's own account of Slurm's words; nobody is asked."""
        rows = list(rows)
        places = self._places({row.key for row in rows})
        charges = {place.element: self._charges(place.element) for place in places.values() if place.element}
        evidence = Evidence(
            run=self._run,
            layout=self._layout,
            places=places,
            sent=Counter(),
            charges=charges,
            limits_min={held.intent.name: held.intent.time_min for held in self._sent},
            queue={},
        )
        found = failures.failures(evidence, {row.key: row.stage for row in rows})
        return {
            row.key: _Bad(
                slurm_state=_slurm_state(row, charges),
                cause=CLASS_OF[found[row.key].cause] if row.key in found else "",
            )
            for row in rows
        }

    def _places(self, keys: set[str]) -> dict[str, Place]:
        try:
            size = self._run.submissions.stat().st_size
        except FileNotFoundError:
            return {}
        if size != self._bytes:
            self._bytes = size
            self._sent = [held for held in runs.submissions(self._run) if held.refusal is None]
        return {
            key: Place(held, index)
            for held in self._sent
            for index, pack in enumerate(held.intent.elements)
            for key in pack
            if key in keys
        }


def _slurm_state(row: Row, charges: Mapping[str, Sequence[Charge]]) -> str:
    """Its newest word on the element; one that completed, or that our own diaries made up, says nothing."""
    known = [charge for charge in charges.get(row.element, ()) if charge.source == "sacct"]
    told = _ENDED_AS.search(row.detail)
    word = known[-1].state.split(" ", 1)[0] if known else told[1] if told else ""
    return "" if word in {"COMPLETED", "RUNNING"} else word
