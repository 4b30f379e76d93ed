"""What a run's folder says: its plan, and what was handed to the cluster or to local workers. Append-only."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from condhpc.errors import InputError, StoreError
from condhpc.files import ends_line, publish
from condhpc.layout import Layout, RunFolder
from condhpc.planned import Label
from condhpc.spec import Stage
from condhpc.turns import give_way

Backend = Literal["local", "slurm"]


class PlanLine(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """One planned task; lines are in an order in which inputs come first."""

    key: str
    stage: Stage
    inputs: dict[str, str] = {}
    """Role to key."""
    label: Label
    cached: bool = False
    """Recorded already when the run was submitted."""


class Intent(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag="intent"):
    """Written before an array is handed over, so that a lost reply can be reconciled by name."""

    name: str
    """Unique name of the submission: Slurm job name and stem of its payload file."""
    backend: Backend
    stage: Stage | None = None
    """None for a pool of local workers that share all stages."""
    elements: tuple[tuple[str, ...], ...]
    """Keys by element."""
    after: tuple[str, ...] = ()
    """Elements that it waits for, `608_3`."""
    gpus: int = 0
    time_min: int = 0
    """Time limit of its elements; 0: the partition's default."""
    mem_gb: float = 0.0
    """Memory per node; 0: the partition's default."""
    concurrent: int = 1
    why: str = ""
    """Why resources are more than the profile and the plan say, in words; empty where they are not."""
    time: float


class Reply(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag="reply"):
    """What came back: a Slurm job id, or the local worker processes."""

    name: str
    job: str = ""
    cluster: str = ""
    host: str = ""
    pids: dict[str, int] = {}
    """Local workers: pid to start time of the process (ticks since boot)."""
    time: float


class Refusal(msgspec.Struct, frozen=True, kw_only=True, tag="refusal"):
    """The scheduler did not take it, and it is known that no job of that name exists."""

    name: str
    reason: str
    time: float


class Cancel(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag="cancel"):
    """A user cancelled elements of a submission (all of them where `elements` is None)."""

    name: str
    elements: tuple[int, ...] | None = None
    keys: tuple[str, ...] = ()
    """Tasks that were meant, where single ones were: nobody sends them again by himself."""
    time: float


Event = Intent | Reply | Refusal | Cancel


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """An intent with what became of it."""

    intent: Intent
    reply: Reply | None = None
    refusal: Refusal | None = None
    cancelled: frozenset[int] = frozenset()
    withdrawn: frozenset[str] = frozenset()
    """Tasks that a user cancelled one by one, not with all the rest."""

    @property
    def is_open(self) -> bool:
        """Neither a reply nor a refusal: it must be reconciled by name before its tasks are sent again."""
        return self.reply is None and self.refusal is None


_events = msgspec.json.Decoder(Event)
_plan_lines = msgspec.json.Decoder(PlanLine)
_T = TypeVar("_T")


def append(run: RunFolder, event: Event) -> None:
    """Add one line to `submissions.jsonl`; the submitter holds the root's lock, so it is the only writer.

    Not synced: whoever sends something meanwhile syncs beside it, and a lost reply is found by its intent's name.
    """
    with run.submissions.open("a+b") as file:
        if not ends_line(file):
            file.write(b"\n")  # the last writer was killed in its line
        file.write(msgspec.json.encode(event) + b"\n")


def now() -> float:
    """Wall-clock time of an event, seconds, to the millisecond."""
    return round(time.time(), 3)


def submissions(run: RunFolder) -> list[Submission]:
    """All submissions of a run in order, each with its latest fate."""
    diary = Diary(run)
    diary.refresh()
    return list(diary.held.values())


class _Said(msgspec.Struct, gc=False):
    type: str
    name: str
    stage: Stage | None = None
    backend: str = ""
    elements: tuple[msgspec.Raw, ...] | None = None
    job: str = ""


_said_lines = msgspec.json.Decoder(_Said)


def stages(run: RunFolder) -> dict[str, Stage | None]:
    """What each submission is of, by name and in order: all of them without their elements, which are long."""
    return {said.name: said.stage for said in _lines(run.submissions, _said_lines) if said.type == "intent"}


def elements(run: RunFolder) -> Iterator[str]:
    """`608_3`: all elements that were handed to Slurm and have a job; read without their tasks, which are long."""
    counts: dict[str, int] = {}
    jobs: dict[str, str] = {}
    for said in _lines(run.submissions, _said_lines):
        if said.type == "intent":
            jobs.pop(said.name, None)
            counts[said.name] = len(said.elements or ()) if said.backend == "slurm" else 0
        elif said.type == "reply" and said.name in counts:
            jobs[said.name] = said.job
    yield from (f"{job}_{i}" for name, job in jobs.items() for i in range(counts[name]))


class Diary:
    """The submissions of a run as they grow; what was read is not read again."""

    def __init__(self, run: RunFolder) -> None:
        self._path = run.submissions
        self._read = 0
        self._lines = 0
        self.held: dict[str, Submission] = {}
        """By name, in order."""

    def refresh(self) -> set[str]:
        """Names of the submissions that are new or that something new became of; raises StoreError."""
        try:
            size = self._path.stat().st_size
        except FileNotFoundError:
            return set()
        if size == self._read:
            return set()
        with self._path.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        data = data[: data.rfind(b"\n") + 1]
        events = list(_decoded(self._path, data.splitlines(keepends=True), self._lines + 1, _events))
        self._read += len(data)
        self._lines += data.count(b"\n")
        return {event.name for event in events if self._apply(event)}

    def _apply(self, event: Event) -> bool:
        if isinstance(event, Intent):
            elements = tuple(tuple(map(sys.intern, pack)) for pack in event.elements)
            self.held[event.name] = Submission(intent=msgspec.structs.replace(event, elements=elements))
        elif event.name in self.held:
            self.held[event.name] = _updated(self.held[event.name], event)
        else:
            return False
        return True


def _updated(held: Submission, event: Reply | Refusal | Cancel) -> Submission:
    if isinstance(event, Reply):
        return msgspec.structs.replace(held, reply=event)
    if isinstance(event, Refusal):
        return msgspec.structs.replace(held, refusal=event)
    indices = range(len(held.intent.elements)) if event.elements is None else event.elements
    withdrawn = frozenset[str]() if event.elements is None else held.withdrawn | frozenset(event.keys)
    return msgspec.structs.replace(held, cancelled=held.cancelled | frozenset(indices), withdrawn=withdrawn)


def over_budget(run: RunFolder) -> str:
    """Why a run's budget is used up, one line; empty while it is not."""
    try:
        return run.over_budget.read_text(encoding="utf-8").strip() or "the budget is used up"
    except FileNotFoundError:
        return ""


def write_plan(run: RunFolder, lines: Iterable[PlanLine]) -> None:
    """Write `plan.jsonl` of a new run, complete or not at all; raises StoreError where there is one."""
    encoder = msgspec.json.Encoder()
    if not publish(run.plan, b"".join(encoder.encode(line) + b"\n" for line in lines)):
        raise StoreError(f"{run.plan}: this run has a plan already")


def plan(run: RunFolder) -> list[PlanLine]:
    """The planned tasks of a run, inputs first. Equal texts and inputs are one object: plans say much twice."""
    texts: dict[object, Any] = {}
    return [_shared(line, texts) for line in _lines(run.plan, _plan_lines)]


def _shared(line: PlanLine, texts: dict[object, Any]) -> PlanLine:
    label = Label(*[texts.setdefault(value, value) for value in msgspec.structs.astuple(line.label)])
    pairs = tuple(line.inputs.items())
    inputs = texts.get(pairs)
    if inputs is None:  # students of a set have the same; nobody writes to it
        inputs = texts[pairs] = {role: sys.intern(key) for role, key in pairs}
    return PlanLine(key=sys.intern(line.key), stage=line.stage, inputs=inputs, label=label, cached=line.cached)


class _Inputs(msgspec.Struct, gc=False):
    inputs: dict[str, str] = {}


_input_lines = msgspec.json.Decoder(_Inputs)


def inputs(run: RunFolder) -> Iterator[dict[str, str]]:
    """Inputs of the planned tasks, in the plan's order, for whoever has the rest from elsewhere."""
    return (line.inputs for line in _lines(run.plan, _input_lines))


def _lines(path: Path, decoder: msgspec.json.Decoder[_T]) -> Iterator[_T]:
    """Decoded lines; none without the file."""
    try:
        with path.open("rb") as file:
            yield from _decoded(path, file, 1, decoder)
    except FileNotFoundError:
        return


def _decoded(path: Path, lines: Iterable[bytes], first: int, decoder: msgspec.json.Decoder[_T]) -> Iterator[_T]:
    """Values of lines, of which the first has that number in the file.

    A torn one (its writer was killed) is left out. Raises StoreError for one of another version.
    """
    for number, line in enumerate(lines, first):
        give_way()
        if not line.endswith(b"\n"):
            return
        try:
            if line != b"\n":
                yield decoder.decode(line)
        except msgspec.ValidationError as error:
            raise StoreError(f"{path}:{number}: not a line that this condhpc knows ({error})") from error
        except ValueError:  # malformed: torn
            continue


def find(layout: Layout, name: str | None) -> RunFolder:
    """The run of that name (a unique beginning is enough), or the user's newest one; raises InputError.

    On a shared root a colleague's run is meant only by its name, or where the user has none.
    """
    names = layout.run_names()
    if not names:
        raise InputError(f"{layout.runs}: there are no runs; `condhpc submit <manifest>` makes one")
    if name is None:
        own = [name for name in names if layout.run(name).path.stat().st_uid == os.getuid()]
        return layout.run((own or names)[-1])
    matching = [n for n in names if n == name] or [n for n in names if n.startswith(name)]
    if len(matching) != 1:
        what = "matches several runs" if matching else "matches no run"
        raise InputError(f"'{name}' {what}; runs under {layout.root}: {', '.join(matching or names[-10:])}")
    return layout.run(matching[0])


def log_files(run: RunFolder, name: str, element: int) -> list[Path]:
    """Logs of one element of a submission: its own file on Slurm, those of all workers of a local pool."""
    folder = run.logs / name
    own = folder / f"{element}.log"
    return [own] if own.exists() else sorted(folder.glob("*_log.*"))
