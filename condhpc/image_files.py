"""Image files of a dataset, in a folder or in a pack: what is there, and the bytes of each.

A pack is a folder in one file: listing it and reading from it give what the folder gives.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from condhpc.errors import CorruptArtefactError, InputError, StageError

if TYPE_CHECKING:
    from condhpc.file_index import Index, SplitIndex


class Entry(NamedTuple):
    """Something that lies in a folder."""

    name: str
    kind: Literal["folder", "file", "other"]
    size: int
    """Bytes of a file, else 0."""


Listing = Callable[[str], list[Entry]]
"""What lies in a folder below the dataset's own (POSIX; `""` is that itself). Hidden entries are left out; empty
where there is no such folder."""


class Files(Protocol):
    """The image files of one split, by position. Threads may share it, and forked children."""

    def read(self, position: int) -> bytes:
        """One file's bytes; raises StageError where it is gone, of another size than indexed, or damaged."""

    def where(self, position: int) -> str:
        """Its path, for messages."""


def listing_of(home: Path) -> Listing:
    """How to list what a dataset has, in a folder or in a pack; raises InputError for a file that is no pack."""
    if not home.is_file():
        return lambda below: _folder_entries(home / below)
    from condhpc.packs import Pack

    try:
        return _pack_listing(Pack(home).index)
    except CorruptArtefactError as error:
        raise InputError(str(error)) from error


def files_of(split: SplitIndex, home: Path) -> Files:
    """A split's files in a folder or in a pack; raises StageError where the pack cannot be used."""
    return PackedFiles(split, home) if home.is_file() else FolderFiles(split, home)


class FolderFiles:
    """Files in folders."""

    def __init__(self, split: SplitIndex, folder: Path) -> None:
        self._split = split
        self._folder = str(folder)

    def read(self, position: int) -> bytes:
        """One file, whole."""
        path = self.where(position)
        try:
            with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - a third of the cost of pathlib's
                data = file.read()
        except OSError as error:
            raise StageError(f"{path}: cannot be read ({error.strerror}); the dataset's index lists it") from error
        return _of_size(data, self._split.sizes[position], path)

    def where(self, position: int) -> str:
        """Path on disk."""
        return f"{self._folder}/{self._split.paths[position]}"


class PackedFiles:
    """Files in a pack."""

    def __init__(self, split: SplitIndex, path: Path) -> None:
        from condhpc.packs import Pack

        self._split = split
        try:
            self._pack = Pack(path)
            self._entries = self._pack.entries(split)
        except CorruptArtefactError as error:
            raise StageError(str(error)) from error
        except KeyError as error:
            raise StageError(f"{path}: {error.args[0]} is not in this pack; pack the dataset again") from error

    def read(self, position: int) -> bytes:
        """One file, verified."""
        try:
            data = self._pack.read(self._entries[position])
        except (OSError, CorruptArtefactError) as error:
            raise StageError(f"{self.where(position)}: cannot be read ({error}); pack the dataset again") from error
        return _of_size(data, self._split.sizes[position], self.where(position))

    def where(self, position: int) -> str:
        """Path of the pack, and path in it."""
        return f"{self._pack.path}: {self._split.paths[position]}"


def _of_size(data: bytes, size: int, where: str) -> bytes:
    if len(data) != size:
        raise StageError(
            f"{where}: {len(data)} bytes, {size} when it was indexed; restore the file, or index the dataset anew "
            "(`condhpc data index`) and submit again"
        )
    return data


def _folder_entries(folder: Path) -> list[Entry]:
    try:
        with os.scandir(folder) as entries:
            return [_entry(entry) for entry in entries if not entry.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _entry(entry: os.DirEntry[str]) -> Entry:
    if entry.is_file():
        return Entry(entry.name, "file", entry.stat().st_size)
    return Entry(entry.name, "folder" if entry.is_dir() else "other", 0)


def _pack_listing(index: Index) -> Listing:
    found: dict[str, list[Entry]] = {}
    for split in index.splits.values():
        for path, size in zip(split.paths, split.sizes, strict=True):
            below, _, name = path.rpartition("/")
            if below not in found:
                _add_folder(found, below)
            found[below].append(Entry(name, "file", size))
    return lambda below: found.get(below, [])


def _add_folder(found: dict[str, list[Entry]], below: str) -> None:
    """Note a folder, in the folder above it, too."""
    found[below] = []
    if below:
        above, _, name = below.rpartition("/")
        if above not in found:
            _add_folder(found, above)
        found[above].append(Entry(name, "folder", 0))
