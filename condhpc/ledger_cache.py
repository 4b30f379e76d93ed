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
from contextlib import ExitStack
from functools import cached_property
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

_VERSION = 4
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
    keys: bytes
    """One after the other, in the order of the plan."""
    looks: bytes
    """Modification time and size per key."""
    starts: bytes
    """Of each entry in `data`, and the end of the last."""
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
        asked = [(i, self._tasks[i][1]) for i in places if self._looks[2 * i] != ABSENT]
        held, looks = self._held, self._looks
        same = {key for i, key in asked if held.is_same(key, i, looks[2 * i], looks[2 * i + 1])}
        unread = [self._tasks[i] for i, key in asked if key not in same and key not in self._read]
        found = ledger.read(self._layout, unread)
        self.problems += found.problems
        self._read.update(key for _, key in unread)
        self._new.update((key, _slim(entry)) for key, entry in found.entries.items())
        new = self._new
        return {key: new[key] if key in new else held.entry(key, i) for i, key in asked if key in new or key in same}

    def keep(self, at_least: int) -> str:
        """Write the ledger where more than so many entries are new; why that cannot be, if so."""
        if len(self._new) <= at_least:
            return ""
        known: dict[str, Entry | memoryview] = {}
        looks = array("q")
        for i, (_, key) in enumerate(self._tasks):
            look_of_task = self._looks[2 * i : 2 * i + 2]
            if key in self._new:
                known[key] = self._new[key]
            elif self._held.is_same(key, i, *look_of_task):
                known[key] = self._held.packed(key, i)
            else:
                continue
            looks += look_of_task
        return _keep(self._run, self._held, known, looks)


def look(layout: Layout, tasks: Iterable[Task]) -> array[int]:
    """Of each task's record; one that may not be looked at has a look that nothing kept has."""
    found: list[int] = []
    add, stat = found.append, os.stat
    with ExitStack() as opened:
        handles: dict[Stage, int] = {}
        for stage, key in tasks:
            try:
                if stage not in handles:
                    handles[stage] = _handle(layout.stage(stage), opened)
                seen = stat(f"{key[:2]}/{key}/record.json", dir_fd=handles[stage])
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


def _handle(folder: str, opened: ExitStack) -> int:
    """An open folder: a path below it has fewer parts to be looked up, 100,000 times."""
    handle = os.open(folder, getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY)
    opened.callback(os.close, handle)
    return handle


_KEY_CHARS = 32
_EMPTY = _File(_VERSION, [], [], b"", b"", array("q", [0]).tobytes(), memoryview(b""))


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
        self._looks = numbers(file.looks)
        self._starts = numbers(file.starts)

    @cached_property
    def _at(self) -> dict[bytes, int]:
        """Where a key is, for what is no longer in its place."""
        return {self._key(i): i for i in range(len(self._starts) - 1)}

    def _key(self, i: int) -> bytes:
        return self.file.keys[i * _KEY_CHARS : (i + 1) * _KEY_CHARS]

    def _find(self, key: str, place: int) -> int | None:
        """By its place in the plan, which is its own where the records of all before it are kept."""
        name = key.encode()
        return place if self._key(place) == name else self._at.get(name)

    def is_same(self, key: str, place: int, mtime_ns: int, size: int) -> bool:
        """Whether a record looks as it did."""
        i = self._find(key, place)
        return i is not None and self._looks[2 * i] == mtime_ns and self._looks[2 * i + 1] == size

    def packed(self, key: str, place: int) -> memoryview:
        """An entry as it is kept."""
        i = self._find(key, place)
        assert i is not None
        return self.file.data[self._starts[i] : self._starts[i + 1]]

    def entry(self, key: str, place: int) -> Entry:
        """An entry."""
        one = _entry_decoder.decode(self.packed(key, place))
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


def _keep(run: RunFolder, held: _Held, entries: Mapping[str, Entry | memoryview], looks: array[int]) -> str:
    """Write the file, of new entries, and of others as they are kept; why that cannot be, if so."""
    encode = msgspec.msgpack.Encoder().encode
    environments = {encode(one): number for number, one in enumerate(held.file.environments)}
    sources = {one: number for number, one in enumerate(held.file.sources)}
    packed: list[bytes | memoryview] = []
    for key, entry in entries.items():
        if isinstance(entry, memoryview):
            packed.append(entry)
            continue
        environment = environments.setdefault(encode(entry.environment), len(environments))
        energy = tuple(
            (sources.setdefault((e.part, e.grade, e.source), len(sources)), e.joules, e.window_s) for e in entry.energy
        )
        said = entry.values, entry.cost, environment, energy, entry.started, entry.ended, entry.attempts
        packed.append(encode(_Kept(key, entry.stage, entry.attempt, *said)))
    distinct = [msgspec.msgpack.decode(data) for data in environments]
    starts = array("q", accumulate(map(len, packed), initial=0)).tobytes()
    data = memoryview(b"".join(packed))
    file = _File(_VERSION, distinct, list(sources), "".join(entries).encode(), looks.tobytes(), starts, data)
    try:
        files.replace(run.ledger, encode(file))
    except OSError as error:
        return f"{run.ledger}: cannot be written ({error.strerror}); records are read again each time"
    return ""
