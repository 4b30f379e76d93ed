"""A run's ledger kept in its folder, so that 100,000 records are opened once.

Every record's size and modification time are asked for each time: one that is new, was replaced or was deleted by hand
is noticed at once, and only such ones are opened. What is long in a record (bits per image, values per class) is left
out. The file is derived: it may be deleted, one of another version is made again, and where the folder cannot be
written, as in a colleague's run, records are read each time.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any

import msgspec

from condhpc import files, ledger
from condhpc.energy import Energy, Grade, Part
from condhpc.layout import Layout, RunFolder
from condhpc.lease import Attempt
from condhpc.ledger import Entry, Ledger
from condhpc.planned import no_collection
from condhpc.spec import Stage

_VERSION = 2
LONG = ("correct_bits", "per_class", "probed_top1_pct")
"""Values that no table shows."""
Look = tuple[int, int]
"""Modification time in ns and size of a record."""


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


class _File(msgspec.Struct, array_like=True):
    version: int
    environments: list[dict[str, Any]]
    sources: list[tuple[Part, Grade, str]]
    keys: list[str]
    looks: bytes
    """Modification time and size per key."""
    sizes: bytes
    """Of each entry in `data`."""
    data: bytes
    """Entries one after the other, so that single ones can be decoded."""


_decoder = msgspec.msgpack.Decoder(_File)
_entry_decoder = msgspec.msgpack.Decoder(_Kept)


class Read(msgspec.Struct, frozen=True):
    """Records of a run, and what they looked like on disk."""

    ledger: Ledger
    looks: dict[str, Look]
    """By key."""
    note: str
    """Why nothing was kept, if so."""


def read(
    run: RunFolder,
    layout: Layout,
    tasks: Sequence[tuple[Stage, str]],
    *,
    anew: bool = False,
) -> Read:
    """The records of these tasks; with `anew` all are opened."""
    with no_collection():
        found = Opened(run, layout, tasks, look(layout, tasks), anew=anew)
        return Read(Ledger(found.entries(key for _, key in tasks), found.problems), found.looks, found.note)


class Opened:
    """A run's records of which only those that are new were read; entries of the others are decoded when asked for."""

    def __init__(
        self,
        run: RunFolder,
        layout: Layout,
        tasks: Sequence[tuple[Stage, str]],
        looks: dict[str, Look],
        *,
        anew: bool = False,
    ) -> None:
        """`looks` are those of just now."""
        self.looks = looks
        self._held = held = _Held(_EMPTY if anew else _load(run))
        self._same = same = held.same(looks)
        found = ledger.read(layout, [task for task in tasks if task[1] in looks and task[1] not in same])
        self._new = new = {key: _slim(entry) for key, entry in found.entries.items()}
        self.problems = found.problems
        self.note = ""
        """Why nothing was kept, if so."""
        if new or len(same) < len(held.at):
            known = {key: new.get(key) for _, key in tasks if key in new or key in same}
            self.note = _keep(run, held, known, looks)

    def entries(self, keys: Iterable[str]) -> dict[str, Entry]:
        """Of those that have a record which can be read."""
        new, same, kept = self._new, self._same, self._held.entry
        return {key: new[key] if key in new else kept(key) for key in keys if key in new or key in same}


def look(layout: Layout, tasks: Iterable[tuple[Stage, str]]) -> dict[str, Look]:
    """Of tasks that have a record; one that may not be looked at has a look that nothing kept has."""
    found: dict[str, Look] = {}
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


_EMPTY = _File(_VERSION, [], [], [], b"", b"", b"")


def _load(run: RunFolder) -> _File:
    try:
        held = _decoder.decode(run.ledger.read_bytes())
    except (OSError, ValueError):  # absent, torn or of other code: read all again
        return _EMPTY
    return held if held.version == _VERSION else _EMPTY


def numbers(data: bytes) -> array[int]:
    """64-bit numbers from their bytes."""
    found = array("q")
    found.frombytes(data)
    return found


class _Held:
    """A loaded file, whose entries are decoded one by one."""

    def __init__(self, file: _File) -> None:
        self.file = file
        self.at = dict(zip(file.keys, range(len(file.keys)), strict=True))
        """Key to its place."""
        self._ends = list(accumulate(numbers(file.sizes), initial=0))

    def same(self, looks: Mapping[str, Look]) -> set[str]:
        """Keys whose records look as they did."""
        flat = iter(numbers(self.file.looks))
        then = zip(self.file.keys, zip(flat, flat, strict=True), strict=True)
        return {key for key, was in then if looks.get(key) == was}

    def packed(self, key: str) -> bytes:
        """An entry as it is kept."""
        i = self.at[key]
        return self.file.data[self._ends[i] : self._ends[i + 1]]

    def entry(self, key: str) -> Entry:
        """An entry."""
        one = _entry_decoder.decode(self.packed(key))
        energy = []
        for number, joules, window_s in one.energy:
            part, grade, source = self.file.sources[number]
            energy.append(Energy(part, joules, grade, source, window_s))
        environment = self.file.environments[one.environment]
        return Entry(
            one.key, one.stage, one.attempt, one.values, one.cost, environment, tuple(energy), one.started, one.ended,
            one.attempts,
        )  # fmt: skip


def _slim(entry: Entry) -> Entry:
    """Without long values, changed in place: the entry was read just now."""
    for name in LONG:
        entry.values.pop(name, None)
    return entry


def _keep(run: RunFolder, held: _Held, entries: Mapping[str, Entry | None], looks: Mapping[str, Look]) -> str:
    """Write the file, of entries that are new, and as they are for those that are None; why that cannot be, if so."""
    encode = msgspec.msgpack.Encoder().encode
    environments = {encode(one): number for number, one in enumerate(held.file.environments)}
    sources = {one: number for number, one in enumerate(held.file.sources)}
    packed = []
    for key, entry in entries.items():
        if entry is None:
            packed.append(held.packed(key))
            continue
        environment = environments.setdefault(encode(entry.environment), len(environments))
        energy = tuple(
            (sources.setdefault((e.part, e.grade, e.source), len(sources)), e.joules, e.window_s) for e in entry.energy
        )
        said = entry.values, entry.cost, environment, energy, entry.started, entry.ended, entry.attempts
        packed.append(encode(_Kept(key, entry.stage, entry.attempt, *said)))
    distinct = [msgspec.msgpack.decode(data) for data in environments]
    seen = array("q", [number for key in entries for number in looks[key]]).tobytes()
    sizes = array("q", map(len, packed)).tobytes()
    try:
        files.replace(
            run.ledger, encode(_File(_VERSION, distinct, list(sources), list(entries), seen, sizes, b"".join(packed)))
        )
    except OSError as error:
        return f"{run.ledger}: cannot be written ({error.strerror}); records are read again each time"
    return ""
