"""What tasks were given when their stage's resources had not done: what the next plan learns from.

One line in `needed.jsonl` under the root for each task that was sent again with more. It counts for that task, and,
once that task has a record, for all that differ from it in seeds alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

import msgspec

from condhpc.files import ends_line
from condhpc.layout import Layout
from condhpc.planned import Label
from condhpc.resources import More
from condhpc.spec import Stage


class Needed(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One task, and what it was given."""

    key: str
    stage: Stage
    label: Label
    more: More
    run: str
    time: float


_decoder = msgspec.json.Decoder(Needed)


def append(layout: Layout, found: Iterable[Needed]) -> None:
    """Add lines; the caller holds the root's lock."""
    data = b"".join(msgspec.json.encode(line) + b"\n" for line in found)
    if not data:
        return
    with layout.needed.open("a+b") as file:
        file.write(data if ends_line(file) else b"\n" + data)


def read(layout: Layout) -> list[Needed]:
    """All lines, oldest first; one that cannot be read is left out: at worst a task meets its limit again."""
    try:
        data = layout.needed.read_bytes()
    except FileNotFoundError:
        return []
    found = []
    for line in data.split(b"\n"):
        try:
            found += [_decoder.decode(line)] if line else []
        except ValueError:  # torn, or of another version
            continue
    return found


def more(layout: Layout, tasks: Iterable[tuple[str, Stage, Label]]) -> dict[str, More]:
    """By key, for those of these tasks that were given more before, or that are like one for which that did."""
    lines = read(layout)
    if not lines:
        return {}
    own: dict[str, More] = {}
    for line in lines:
        own[line.key] = own[line.key].joined(line.more) if line.key in own else line.more
    did = _proven(layout, lines)
    found = {}
    for key, stage, label in tasks:
        if key in own:
            found[key] = own[key]
        elif (like := did.get(_kind(stage, label))) is not None:
            found[key] = like
    return found


def _proven(layout: Layout, lines: Iterable[Needed]) -> Mapping[tuple[object, ...], More]:
    """By kind, what recorded tasks had been given."""

    @cache
    def is_recorded(stage: Stage, key: str) -> bool:
        return layout.task(stage, key).record.exists()

    found: dict[tuple[object, ...], More] = {}
    for line in lines:
        if is_recorded(line.stage, line.key):
            kind = _kind(line.stage, line.label)
            given = msgspec.structs.replace(line.more, why=f"a task like these needed it in run {line.run}")
            found[kind] = found[kind].joined(given) if kind in found else given
    return found


def _kind(stage: Stage, label: Label) -> tuple[object, ...]:
    """All but the seeds."""
    role = (label.role or "").partition(".")[0]
    return stage, label.dataset, label.condenser, label.ipc, label.protocol, label.student, label.metric, role
