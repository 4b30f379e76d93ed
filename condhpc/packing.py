"""From the files of a dataset to one pack: read by several threads, written in order, published when it is whole."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from condhpc import files, packs
from condhpc.errors import InputError

if TYPE_CHECKING:
    from condhpc.datasets.base import Split
    from condhpc.file_index import Index

_AHEAD = 8
"""Files per reader that are asked for before they are needed."""


def pack(index: Index, splits: Mapping[str, Split], out: Path, readers: int, note: Callable[[int], None]) -> None:
    """Write all splits of an index into the new file `out`; what is interrupted leaves nothing under that name.

    `note` is told how many files are written. Raises InputError where `out` cannot be, StageError naming a file
    that is not as indexed, CorruptArtefactError where what is read back differs.
    """
    needed = sum(size for split in index.splits.values() for size in split.sizes)
    _require_room(out, needed)

    def contents() -> Iterator[bytes]:
        done = 0
        for name in index.splits:
            for content in _in_order(splits[name], readers):
                yield content
                done += 1
                note(done)

    with files.under_construction(out) as temp:
        packs.write(temp, index, contents())


def _require_room(out: Path, needed: int) -> None:
    if out.exists():
        raise InputError(f"{out}: exists already; choose another name, or remove it")
    if not out.parent.is_dir():
        raise InputError(f"{out.parent}: no such folder; make it first")
    free = shutil.disk_usage(out.parent).free
    if free < needed:
        raise InputError(f"{out.parent}: {free / 1e9:.1f} GB are free, the pack takes {needed / 1e9:.1f} GB")


def _in_order(split: Split, readers: int) -> Iterator[bytes]:
    """All files of a split by position, some read ahead: network file systems answer late."""
    waiting: deque[Future[bytes]] = deque()
    with ThreadPoolExecutor(readers) as pool:
        try:
            for position in range(len(split)):
                waiting.append(pool.submit(split.encoded, position))
                if len(waiting) > readers * _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
