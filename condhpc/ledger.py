"""The table of records: read fast, typed, and with every unreadable one named."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from condhpc import files
from condhpc.energy import Energy
from condhpc.layout import Layout
from condhpc.lease import Attempt
from condhpc.planned import no_collection
from condhpc.spec import Stage
from condhpc.store import SCHEMA


class Entry(msgspec.Struct, frozen=True, gc=False):
    """What tables need of a record; artefacts stay on disk."""

    key: str
    stage: Stage
    attempt: int
    values: dict[str, Any]
    cost: dict[str, float]
    environment: dict[str, Any]
    energy: tuple[Energy, ...] = ()
    started: float = 0.0
    ended: float = 0.0
    attempts: tuple[Attempt, ...] = ()
    """Those before this one."""
    schema: int = SCHEMA


class Ledger(msgspec.Struct, frozen=True):
    """Records by key, and one line per record that cannot be used."""

    entries: dict[str, Entry]
    problems: list[str]


_decoder = msgspec.json.Decoder(Entry)


def read(layout: Layout, tasks: Iterable[tuple[Stage, str]]) -> Ledger:
    """The records of these tasks; those without one are left out.

    Artefacts are not asked for: numbers stay true when scratch space was purged.
    """
    entries: dict[str, Entry] = {}
    problems: list[str] = []
    with no_collection():
        for stage, key in tasks:
            path = layout.record_text(stage, key)
            try:
                found = _decoder.decode(files.small(path))
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                problems.append(f"{path}: cannot be read ({error.strerror}); ask its owner, it is left out")
                continue
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                problems.append(f"{path}: not a readable record ({error}); `condhpc retry` computes it again")
                continue
            if found.schema > SCHEMA:
                problems.append(
                    f"{path}: schema {found.schema}, known up to {SCHEMA}: a newer condhpc made it and can count it"
                )
                continue
            if (found.stage, found.key) != (stage, key):
                problems.append(
                    f"{path}: is the record of {found.stage} {found.key}; move {layout.task(stage, key).path} away"
                )
                continue
            entries[key] = found
    return Ledger(entries, problems)
