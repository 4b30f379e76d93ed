"""A run's ledger kept in its folder, so that 100,000 records are opened once.

Every record's size and modification time are asked for each time: one that is new, was replaced or was deleted by hand
is noticed at once, and only such ones are opened. What is long in a record (bits per image, values per class) is left
out. The file is derived: it may be deleted, one of another version is made again, and where the folder cannot be
written, as in a colleague's run, records are read each time.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from condhpc import files, ledger
from condhpc.energy import Energy, Grade, Part
from condhpc.layout import Layout, RunFolder
from condhpc.lease import Attempt
from condhpc.ledger import Entry, Ledger
from condhpc.planned import no_collection
from condhpc.spec import Stage

_VERSION = 1
LONG = ("correct_bits", "per_class", "probed_top1_pct")
"""Values that no table shows."""


class _Kept(msgspec.Struct, array_like=True, gc=False):
    """An entry, with what many share by number."""

    key: str
    stage: Stage
    attempt: int
    values: dict[str, Any]
    cost: dict[str, float]
    environment: int
    energy: tuple[tuple[int, float | None, float], ...]
    """Source by number, joules, seconds."""
    started: float
    ended: float
    attempts: tuple[Attempt, ...]
    mtime_ns: int
    size: int


class _File(msgspec.Struct, array_like=True):
    version: int
    environments: list[dict[str, Any]]
    sources: list[tuple[Part, Grade, str]]
    entries: list[_Kept]


_decoder = msgspec.msgpack.Decoder(_File)


class Read(msgspec.Struct, frozen=True):
    """Records of a run, and what they looked like on disk."""

    ledger: Ledger
    looks: dict[str, tuple[int, int]]
    """Key to modification time in ns and size of its record."""
    note: str
    """Why nothing was kept, if so."""


def read(run: RunFolder, layout: Layout, tasks: Sequence[tuple[Stage, str]], *, anew: bool = False) -> Read:
    """The records of these tasks; with `anew` all are opened."""
    with no_collection():
        held = _File(_VERSION, [], [], []) if anew else _load(run)
        kept = {one.key: one for one in held.entries}
        looks = _looks(layout, tasks)
        same = {key: one for key, one in kept.items() if looks.get(key) == (one.mtime_ns, one.size)}
        found = ledger.read(layout, [task for task in tasks if task[1] in looks and task[1] not in same])
        new = {key: _slim(entry) for key, entry in found.entries.items()}
        old = _entries(held, same)
        entries = {key: new[key] if key in new else old[key] for _, key in tasks if key in new or key in old}
        changed = new or len(entries) < len(kept)
        note = _keep(run, entries, looks) if changed else ""
        return Read(Ledger(entries, found.problems), looks, note)


def _looks(layout: Layout, tasks: Iterable[tuple[Stage, str]]) -> dict[str, tuple[int, int]]:
    """Of tasks that have a record; one that may not be looked at has a look that nothing kept has."""
    found: dict[str, tuple[int, int]] = {}
    store = f"{layout.root}/store"
    for stage, key in tasks:
        try:
            seen = os.stat(f"{store}/{stage}/{key[:2]}/{key}/record.json")  # noqa: PTH116 - the hot path
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            found[key] = -1, -1
        else:
            found[key] = seen.st_mtime_ns, seen.st_size
    return found


def _load(run: RunFolder) -> _File:
    try:
        held = _decoder.decode(run.ledger.read_bytes())
    except (OSError, ValueError):  # absent, torn or of other code: read all again
        return _File(_VERSION, [], [], [])
    return held if held.version == _VERSION else _File(_VERSION, [], [], [])


def _slim(entry: Entry) -> Entry:
    """Without long values, changed in place: the entry was read just now."""
    for name in LONG:
        entry.values.pop(name, None)
    return entry


def _entries(held: _File, same: Mapping[str, _Kept]) -> dict[str, Entry]:
    environments, sources = held.environments, held.sources
    found = {}
    for key, one in same.items():
        energy = []
        for number, joules, window_s in one.energy:
            part, grade, source = sources[number]
            energy.append(Energy(part, joules, grade, source, window_s))
        found[key] = Entry(
            key, one.stage, one.attempt, one.values, one.cost, environments[one.environment], tuple(energy),
            one.started, one.ended, one.attempts,
        )  # fmt: skip
    return found


def _keep(run: RunFolder, entries: Mapping[str, Entry], looks: Mapping[str, tuple[int, int]]) -> str:
    """Write the file; why that cannot be, if so."""
    environments: dict[bytes, int] = {}
    sources: dict[tuple[Part, Grade, str], int] = {}
    encode = msgspec.msgpack.Encoder().encode
    kept = []
    for key, entry in entries.items():
        environment = environments.setdefault(encode(entry.environment), len(environments))
        energy = tuple(
            (sources.setdefault((e.part, e.grade, e.source), len(sources)), e.joules, e.window_s) for e in entry.energy
        )
        mtime_ns, size = looks[key]
        held = entry.values, entry.cost, environment, energy, entry.started, entry.ended, entry.attempts
        kept.append(_Kept(key, entry.stage, entry.attempt, *held, mtime_ns, size))
    distinct = [msgspec.msgpack.decode(data) for data in environments]
    try:
        files.replace(run.ledger, encode(_File(_VERSION, distinct, list(sources), kept)))
    except OSError as error:
        return f"{run.ledger}: cannot be written ({error.strerror}); records are read again each time"
    return ""
