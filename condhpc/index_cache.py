"""Indexes kept under the root, so that a million files are listed once.

An index is used again while the folders that hold the files look as before: modification time and inode of each split
and class folder. A file that comes, goes or is renamed changes its folder. Not noticed: a file that is written over in
place (jobs then find another size), and a folder whose times were set back.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from condhpc import facts, files, keys, registry
from condhpc.file_index import Index

if TYPE_CHECKING:
    from condhpc.datasets.base import Dataset
    from condhpc.layout import Layout

_SETTLED_S = 2.0
"""A folder that changed less than this before it was listed could change again within a tick of its clock."""


class Listed(msgspec.Struct, frozen=True):
    """One listing: what was asked, and what the folders looked like before it began."""

    loader: str
    folder: str
    splits: tuple[str, ...]
    index: str
    """Digest of the index that was found."""
    looks: dict[str, tuple[int, int]]
    """Path to modification time in ns and inode."""


class IndexCache:
    """A lister for `facts` that looks under a root first. It writes only when told to: `plan` must not."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._new: dict[Path, tuple[Listed, Index]] = {}

    def index(self, loader: str, folder: Path | None, splits: Sequence[str]) -> Index:
        """The kept index where the folders look as before, else a new listing; raises InputError."""
        if folder is None:
            return facts.list_files(loader, folder, splits)
        plugin: Dataset = registry.load("datasets", loader)
        listed = self._listed(loader, folder, splits)
        looks = _looks(plugin.watched(folder, splits))
        if listed is not None and looks and listed.looks == looks:
            kept = self._kept(listed.index)
            if kept is not None:
                return kept
        return self._list(plugin, loader, folder, splits, looks)

    def listed_anew(self, loader: str, folder: Path | None, splits: Sequence[str]) -> Index:
        """A new listing, whatever is kept; raises InputError."""
        if folder is None:
            return facts.list_files(loader, folder, splits)
        plugin: Dataset = registry.load("datasets", loader)
        return self._list(plugin, loader, folder, splits, _looks(plugin.watched(folder, splits)))

    def last(self, loader: str, folder: Path | None, splits: Sequence[str]) -> Index:
        """The index kept last, however the folders look now, so that missing files show; else a new listing."""
        listed = self._listed(loader, folder, splits) if folder is not None else None
        kept = self._kept(listed.index) if listed is not None else None
        return kept if kept is not None else facts.list_files(loader, folder, splits)

    def keep(self) -> int:
        """Write what was listed anew under the root; how many listings that was."""
        for path, (listed, index) in self._new.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            files.replace(self._layout.index(listed.index), keys.encode(index))
            files.replace(path, keys.encode(listed))
        return len(self._new)

    def _list(
        self, plugin: Dataset, loader: str, folder: Path, splits: Sequence[str], looks: dict[str, tuple[int, int]]
    ) -> Index:
        began_ns = time.time_ns()
        index = plugin.index(folder, splits)
        newest_ns = max((mtime_ns for mtime_ns, _ in looks.values()), default=began_ns)
        if newest_ns < began_ns - _SETTLED_S * 1e9:
            listed = Listed(loader, str(folder), tuple(splits), index.digest(), looks)
            self._new[self._path(loader, folder, splits)] = listed, index
        return index

    def _listed(self, loader: str, folder: Path, splits: Sequence[str]) -> Listed | None:
        try:
            return msgspec.json.decode(self._path(loader, folder, splits).read_bytes(), type=Listed)
        except (OSError, ValueError):  # absent or torn: list again
            return None

    def _kept(self, digest: str) -> Index | None:
        """The index of that digest as it stands under the root; None where it is missing or damaged."""
        try:
            data = self._layout.index(digest).read_bytes()
            return msgspec.json.decode(data, type=Index) if keys.digest(data) == digest else None
        except (OSError, ValueError):
            return None

    def _path(self, loader: str, folder: Path, splits: Sequence[str]) -> Path:
        """By all that decides a listing beside the files: the loader with its code and class list, and the question."""
        plugin: Dataset = registry.load("datasets", loader)
        code = registry.code_digest("datasets", loader)
        asked: list[Any] = [loader, plugin.version, code, plugin.class_names(), str(folder.absolute()), tuple(splits)]
        return self._layout.listed(keys.digest(keys.encode(asked)))


def _looks(paths: Sequence[Path]) -> dict[str, tuple[int, int]]:
    """Modification time and inode of each; empty where one is gone, so that nothing kept is used."""
    try:
        return {str(path): (held.st_mtime_ns, held.st_ino) for path in paths for held in [path.stat()]}
    except OSError:
        return {}
