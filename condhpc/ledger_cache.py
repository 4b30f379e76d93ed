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
ABSENT, _HIDDEN = -2, -1
"""In place of a modification time and a size: of a task without a record; of a record in a folder that is closed."""
Task = tuple[Stage, str]


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
    data: memoryview
    """Entries one after the other, so that single ones can be decoded."""


_decoder = msgspec.msgpack.Decoder(_File)
_entry_decoder = msgspec.msgpack.Decoder(_Kept)


class Read(msgspec.Struct, frozen=True):
    """Records of a run, and what they looked like on disk."""

    ledger: Ledger
    looks: array[int]
    """Modification time in ns and size of each task's record, one after the other; ABSENT without one."""
    note: str
    """Why nothing was kept, if so."""


def read(run: RunFolder, layout: Layout, tasks: Sequence[Task], *, anew: bool = False) -> Read:
    """The records of these tasks; with `anew` all are opened."""
    with no_collection():
        looks = look(layout, tasks)
        opened = Opened(run, layout, tasks, looks, anew=anew)
        entries = opened.entries(range(len(tasks)))
        return Read(Ledger(entries, opened.problems), looks, opened.keep(0))


class Opened:
    """A run's records; of those that look as before, an entry is decoded when it is asked for, the others are read."""

    def __init__(
        self, run: RunFolder, layout: Layout, tasks: Sequence[Task], looks: array[int], *, anew: bool = False
    ) -> None:
        """`looks` are those of just now. Tasks are named by their place."""
        self._run, self._layout, self._tasks, self._looks = run, layout, tasks, looks
        self._held = _Held(_EMPTY if anew else _load(run))
        self._new: dict[str, Entry] = {}
        self._read: set[str] = set()
        self.problems: list[str] = []

    def entries(self, places: Iterable[int]) -> dict[str, Entry]:
        """Of those tasks that have a record which can be read; `problems` tells of the others."""
        asked = [i for i in places if self._looks[2 * i] != ABSENT]
        tasks, held, looks = self._tasks, self._held, self._looks
        same = {tasks[i][1] for i in asked if held.is_same(tasks[i][1], looks[2 * i], looks[2 * i + 1])}
        unread = [tasks[i] for i in asked if tasks[i][1] not in same and tasks[i][1] not in self._read]
        found = ledger.read(self._layout, unread)
        self.problems += found.problems
        self._read.update(key for _, key in unread)
        self._new.update((key, _slim(entry)) for key, entry in found.entries.items())
        keys = [tasks[i][1] for i in asked]
        new = self._new
        return {key: new[key] if key in new else held.entry(key) for key in keys if key in new or key in same}

    def keep(self, at_least: int) -> str:
        """Write the ledger where more than so many entries are new; why that cannot be, if so."""
        if len(self._new) <= at_least:
            return ""
        known: dict[str, Entry | None] = {}
        looks = array("q")
        for i, (_, key) in enumerate(self._tasks):
            look_of_task = self._looks[2 * i : 2 * i + 2]
            if key in self._new or self._held.is_same(key, *look_of_task):
                known[key] = self._new.get(key)
                looks += look_of_task
        return _keep(self._run, self._held, known, looks)


def look(layout: Layout, tasks: Iterable[Task]) -> array[int]:
    """Of each task's record; one that may not be looked at has a look that nothing kept has."""
    found: list[int] = []
    add, stat, store = found.append, os.stat, f"{layout.root}/store"
    for stage, key in tasks:
        try:
            seen = stat(f"{store}/{stage}/{key[:2]}/{key}/record.json")
        except (FileNotFoundError, NotADirectoryError):
            add(ABSENT)
            add(ABSENT)
        except OSError:
            add(_HIDDEN)
            add(_HIDDEN)
        else:
            add(seen.st_mtime_ns)
            add(seen.st_size)
    return array("q", found)


_EMPTY = _File(_VERSION, [], [], [], b"", b"", memoryview(b""))


def _load(run: RunFolder) -> _File:
    try:
        held = _decoder.decode(files.mapped(run.ledger))
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
        self._at = dict(zip(file.keys, range(len(file.keys)), strict=True))
        self._looks = numbers(file.looks)
        self._ends = list(accumulate(numbers(file.sizes), initial=0))

    def is_same(self, key: str, mtime_ns: int, size: int) -> bool:
        """Whether a record looks as it did."""
        i = self._at.get(key)
        return i is not None and self._looks[2 * i] == mtime_ns and self._looks[2 * i + 1] == size

    def packed(self, key: str) -> memoryview:
        """An entry as it is kept."""
        i = self._at[key]
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


def _keep(run: RunFolder, held: _Held, entries: Mapping[str, Entry | None], looks: array[int]) -> str:
    """Write the file, of entries that are new, and as they are for those that are None; why that cannot be, if so."""
    encode = msgspec.msgpack.Encoder().encode
    environments = {encode(one): number for number, one in enumerate(held.file.environments)}
    sources = {one: number for number, one in enumerate(held.file.sources)}
    packed: list[bytes | memoryview] = []
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
    sizes = array("q", map(len, packed)).tobytes()
    data = memoryview(b"".join(packed))
    file = _File(_VERSION, distinct, list(sources), list(entries), looks.tobytes(), sizes, data)
    try:
        files.replace(run.ledger, encode(file))
    except OSError as error:
        return f"{run.ledger}: cannot be written ({error.strerror}); records are read again each time"
    return ""
