"""Whether tables that were written are still those of their run, found out in milliseconds.

A stamp beside the tables says what everything looked like when they were made of a run that was complete and whose
accounting had had its last word: sizes and modification times of the run's files, of the tables, of the store's folders
(a task that comes or goes changes them) and of the records themselves. Of these 8,000 are asked for each time: all of
an ordinary run; of a larger one a random share, so that a record deleted by hand, whose folder stays, may go unnoticed
until something else changes (`collect --rescan` looks at all). Everything else makes the tables anew: a run that is not
complete, other formats, another release or a changed source file of condhpc.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

import condhpc
from condhpc import files
from condhpc.layout import Layout, RunFolder
from condhpc.spec import STAGES
from condhpc.tables import Cell

_VERSION = 1
_NAME = ".collected"
_LOOKED_AT = 8_000
_KEY_CHARS = 32

Look = tuple[str, int, int]
"""Name, modification time in ns, size."""


class Shown(msgspec.Struct, frozen=True, array_like=True):
    """What `collect` says beside its files."""

    table: list[tuple[Cell, ...]]
    scores: list[tuple[Cell, ...]]
    problems: list[str]
    notes: list[str]


class _Stamp(msgspec.Struct, array_like=True):
    version: int
    run: str
    formats: list[str]
    code: Look
    of_run: list[Look]
    of_store: list[Look]
    tables: list[Look]
    shown: Shown
    keys: bytes
    stages: bytes
    """One number per key."""
    looks: bytes
    """Modification time and size per key."""


_decoder = msgspec.msgpack.Decoder(_Stamp)


def look(run: RunFolder, layout: Layout, out_dir: Path, formats: Sequence[str]) -> tuple[list[Path], Shown] | None:
    """The tables that are there and what was said with them; None where something is or may be other than it was."""
    try:
        stamp = _decoder.decode((out_dir / _NAME).read_bytes())
    except (OSError, ValueError):
        return None
    if (stamp.version, stamp.run, stamp.formats) != (_VERSION, str(run.path), list(formats)):
        return None
    paths = [out_dir / name for name, _, _ in stamp.tables]
    same = (
        stamp.code == code()
        and stamp.of_run == list(_of_run(run))
        and stamp.tables == list(seen(paths, out_dir))
        and stamp.of_store == list(_of_store(layout))
        and _same_records(stamp, layout)
    )
    return (paths, stamp.shown) if same else None


def write(
    run: RunFolder, layout: Layout, out_dir: Path, formats: Sequence[str], before: list[Look], made: Made
) -> None:
    """Note that these are the tables of a complete run as it is; `before`: `begin`, asked before it was read."""
    if before != list(_of_run(run)):
        return  # something was written meanwhile
    stamp = _Stamp(
        _VERSION, str(run.path), list(formats), code(), before, list(_of_store(layout)),
        list(seen(made.paths, out_dir)), made.shown, "".join(made.keys).encode(), made.stages, made.looks.tobytes(),
    )  # fmt: skip
    files.replace(out_dir / _NAME, msgspec.msgpack.encode(stamp))


def forget(out_dir: Path) -> None:
    """The tables are about to change."""
    with contextlib.suppress(OSError):
        (out_dir / _NAME).unlink()


class Made(msgspec.Struct, frozen=True):
    """Tables, and what they were made of."""

    paths: list[Path]
    shown: Shown
    keys: Sequence[str]
    """Of all planned tasks."""
    stages: bytes
    """Their numbers in STAGES."""
    looks: array[int]
    """Modification times and sizes of their records."""


def begin(run: RunFolder) -> list[Look]:
    """What a run's files look like now."""
    return list(_of_run(run))


def _of_run(run: RunFolder) -> Iterator[Look]:
    paths = (run.plan, run.manifest, run.profile, run.submissions, run.accounting, run.budget, run.cancel)
    yield from seen(paths, run.path)


def seen(paths: Iterable[Path], base: Path) -> Iterator[Look]:
    """What files look like; -1 where there is none."""
    for path in paths:
        name = os.path.relpath(path, base)
        try:
            found = path.stat()
        except OSError:
            yield name, -1, -1
        else:
            yield name, found.st_mtime_ns, found.st_size


def _of_store(layout: Layout) -> Iterator[Look]:
    for stage in STAGES:
        try:
            found = [(entry.name, entry.stat().st_mtime_ns) for entry in os.scandir(layout.root / "store" / stage)]
        except OSError:
            continue
        yield from ((f"{stage}/{name}", mtime_ns, 0) for name, mtime_ns in sorted(found))


def code() -> Look:
    """The source files of what writes tables, by name, age and size: one that replaces another may be older."""
    home = Path(condhpc.__file__).parent
    entries = (entry for folder in (home, home / "paper") for entry in os.scandir(folder))
    seen = sorted((one.path, one.stat().st_mtime_ns, one.stat().st_size) for one in entries if one.name.endswith(".py"))
    digest = hashlib.blake2b(repr(seen).encode(), digest_size=7).digest()
    return condhpc.__version__, int.from_bytes(digest), len(seen)


def _same_records(stamp: _Stamp, layout: Layout) -> bool:
    looks = array("q")
    looks.frombytes(stamp.looks)
    count = len(stamp.stages)
    which: Iterable[int] = range(count) if count <= _LOOKED_AT else random.sample(range(count), _LOOKED_AT)
    store = f"{layout.root}/store"
    for i in which:
        key = stamp.keys[i * _KEY_CHARS : (i + 1) * _KEY_CHARS].decode()
        try:
            seen = os.stat(f"{store}/{STAGES[stamp.stages[i]]}/{key[:2]}/{key}/record.json")  # noqa: PTH116 - hot
        except OSError:
            return False
        if (seen.st_mtime_ns, seen.st_size) != (looks[2 * i], looks[2 * i + 1]):
            return False
    return True
