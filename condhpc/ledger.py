"""The table of records: read fast, typed, and with every unreadable one named."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from condhpc import files
from condhpc.energy import MOST, Amount, Energy
from condhpc.layout import Layout
from condhpc.lease import Attempt
from condhpc.planned import no_collection
from condhpc.spec import Stage
from condhpc.store import SCHEMA


def _free(levels: int) -> Any:
    """What JSON may hold so many levels deep, with whole numbers of 64 bits: kept files take no others."""
    number = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
    scalar = number | float | str | bool | None
    return scalar if levels == 0 else scalar | list[_free(levels - 1)] | dict[str, _free(levels - 1)]  # type: ignore[misc]


if TYPE_CHECKING:
    Free = Any
else:
    Free = _free(8)  # checked while a record is decoded, where it takes a tenth of a microsecond


class Entry(msgspec.Struct, frozen=True, gc=False):
    """What tables need of a record; artefacts stay on disk."""

    key: str
    stage: Stage
    attempt: int
    values: dict[str, Free]
    cost: dict[str, Amount]
    environment: dict[str, Free]
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
_MOST = 1 << 31
"""More attempts, restarts or threads than there can be."""
_LATEST_S = 1e11
"""Later than any clock that was merely set wrong; calendars end there, too."""


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
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
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
            if strange := _strange(found):
                problems.append(f"{path}: not a readable record ({strange}); `condhpc retry` computes it again")
                continue
            entries[key] = found
    return Ledger(entries, problems)


def _strange(found: Entry) -> str:
    """What is not of its kind among what is counted with, of records that something else wrote; empty where all is."""
    said, values = found.environment.get, found.values.get
    restarts, threads = said("restarts", 0), said("threads", 1)
    if type(restarts) is not int or not 0 <= restarts < _MOST or not 0 <= found.attempt < _MOST:
        return f"attempt {found.attempt}, restarts {restarts!r}: expected numbers from 0 on"
    if type(threads) is not int or not 0 < threads < _MOST:
        return f"threads {threads!r}: expected a number from 1 on"
    if not (0.0 <= found.started < _LATEST_S and 0.0 <= found.ended < _LATEST_S):
        return f"from {found.started} to {found.ended}: expected epoch seconds"
    for name in ("shards_gpu_s", "shards_cpu_s"):
        seconds = values(name, 0.0)
        if (type(seconds) is not float and type(seconds) is not int) or not -MOST <= seconds <= MOST:
            return f"{name} is {seconds!r:.40}, expected seconds"
    if found.stage == "relabel":
        size = values("label_bytes", 0)
        if type(size) is not int or not 0 <= size <= MOST:
            return f"label_bytes is {size!r:.40}, expected a number of bytes"
    return ""
