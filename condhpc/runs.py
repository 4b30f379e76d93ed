"""What a run's folder says: its plan, and what was handed to the cluster or to local workers. Append-only."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from condhpc.errors import InputError, StoreError
from condhpc.files import ends_line, publish
from condhpc.layout import Layout, RunFolder
from condhpc.planned import Label
from condhpc.spec import Stage

Backend = Literal["local", "slurm"]


class PlanLine(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
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
    found: dict[str, Submission] = {}
    for event in _lines(run.submissions, _events):
        if isinstance(event, Intent):
            found[event.name] = Submission(intent=event)
        elif event.name in found:
            found[event.name] = _updated(found[event.name], event)
    return list(found.values())


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
    """The planned tasks of a run, inputs first."""
    return list(_lines(run.plan, _plan_lines))


def _lines(path: Path, decoder: msgspec.json.Decoder[_T]) -> Iterator[_T]:
    """Decoded lines; a torn one (its writer was killed) is left out. Raises StoreError for one of another version."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    for number, line in enumerate(data[: data.rfind(b"\n") + 1].split(b"\n"), 1):
        try:
            if line:
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
