"""Packs: all image files of a dataset in one HDF5, as they are, back to back. Written once, read with `pread`.

`bytes` is one contiguous dataset, so an image is one read at a known place of the file: no HDF5 library, no lock
and no file position is involved, which makes reading safe for threads and for forked children.
"""

from __future__ import annotations

import os
import weakref
import zlib
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import h5py
import msgspec
import numpy as np
from numpy.typing import NDArray

from condhpc import keys
from condhpc.errors import CorruptArtefactError
from condhpc.file_index import Index, SplitIndex

SCHEMA = 1
KIND = "image_pack"
_LIBVER = ("earliest", "v110")
_WRITE_BYTES = 8 << 20


class Section(msgspec.Struct, frozen=True):
    """The files of one split: entries `first` to `first + count`, in the order of the split's index."""

    first: int
    count: int
    paths_digest: str


def write(path: Path, index: Index, contents: Iterable[bytes]) -> None:
    """Write the files of all splits, in the index's order, and read everything back.

    Refuses an existing path; raises CorruptArtefactError where a file has not the size that the index says, or
    where what is read back is not what was written.
    """
    sizes_N = np.array([size for split in index.splits.values() for size in split.sizes], dtype=np.int64)
    offsets_M = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(sizes_N)])
    checksums_N = np.zeros(len(sizes_N), dtype=np.uint32)
    with h5py.File(path, "x", libver=_LIBVER) as file:
        file.attrs["schema"] = SCHEMA
        file.attrs["kind"] = KIND
        file.attrs["sections"] = keys.encode(_sections(index)).decode()
        encoded = keys.encode(index)
        file.attrs["index_digest"] = keys.digest(encoded)
        file.create_dataset("index", data=np.frombuffer(encoded, dtype=np.uint8))
        file.create_dataset("offsets", data=offsets_M)
        target = file.create_dataset("bytes", shape=(int(offsets_M[-1]),), dtype=np.uint8)
        _write_bytes(target, contents, sizes_N, checksums_N)
        file.create_dataset("crc32", data=checksums_N)
    _read_back(path, checksums_N)


def _sections(index: Index) -> dict[str, Section]:
    found: dict[str, Section] = {}
    first = 0
    for name, split in index.splits.items():
        found[name] = Section(first, len(split.paths), _paths_digest(split))
        first += len(split.paths)
    return found


def _paths_digest(split: SplitIndex) -> str:
    return keys.digest("\n".join(split.paths).encode())


def _write_bytes(
    target: h5py.Dataset,
    contents: Iterable[bytes],
    sizes_N: NDArray[np.int64],
    checksums_N: NDArray[np.uint32],
) -> None:
    """Fill `bytes` in large writes and note each file's checksum."""
    buffer, start, done = bytearray(), 0, 0
    for content in contents:
        if done == len(sizes_N) or len(content) != sizes_N[done]:
            raise CorruptArtefactError(f"{target.file.filename}: file {done} is not the one that the index lists")
        checksums_N[done] = zlib.crc32(content)
        buffer += content
        done += 1
        if len(buffer) >= _WRITE_BYTES:
            target[start : start + len(buffer)] = np.frombuffer(bytes(buffer), dtype=np.uint8)
            start += len(buffer)
            buffer.clear()
    if done != len(sizes_N):
        raise CorruptArtefactError(f"{target.file.filename}: {done} files were given, the index lists {len(sizes_N)}")
    if buffer:
        target[start : start + len(buffer)] = np.frombuffer(bytes(buffer), dtype=np.uint8)


def _read_back(path: Path, checksums_N: NDArray[np.uint32]) -> None:
    """What is on disk against what was written, from a handle of its own."""
    pack = Pack(path)
    if not np.array_equal(pack.checksums_N, checksums_N):
        raise CorruptArtefactError(f"{path}: its checksums are not those that were written")
    for entry in range(len(checksums_N)):
        pack.read(entry)


class Pack:
    """An open pack. Raises CorruptArtefactError for a file that is none, or is not whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with h5py.File(path, "r") as file:
                found = (file.attrs.get("kind"), file.attrs.get("schema"))
                if found != (KIND, SCHEMA):
                    raise CorruptArtefactError(
                        f"{path}: holds {found[0]} schema {found[1]}, expected {KIND} schema {SCHEMA} as written by "
                        "`condhpc data pack`"
                    )
                self.sections = msgspec.json.decode(file.attrs["sections"], type=dict[str, Section])
                self.index_digest = str(file.attrs["index_digest"])
                self.offsets_M = file["offsets"][()]
                self.checksums_N = file["crc32"][()]
                self._start = file["bytes"].id.get_offset() or 0
                self._total = int(file["bytes"].shape[0])
        except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise CorruptArtefactError(f"{path}: not a readable pack ({error}); pack the dataset again") from error
        self._require_whole()
        self._handle = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._handle)

    @cached_property
    def index(self) -> Index:
        """The index of the files inside; raises CorruptArtefactError."""
        try:
            with h5py.File(self.path, "r") as file:
                data = file["index"][()].tobytes()
            index = msgspec.json.decode(data, type=Index)
        except (OSError, KeyError, RuntimeError, ValueError) as error:
            raise CorruptArtefactError(f"{self.path}: its index is damaged ({error}); pack it again") from error
        if keys.digest(data) != self.index_digest:
            raise CorruptArtefactError(f"{self.path}: its index is damaged; pack it again")
        return index

    def entries(self, split: SplitIndex) -> range | list[int]:
        """Entry of each of a split's files. A split as it was packed needs no look at the pack's own index.

        Raises KeyError with the first path that is not in the pack.
        """
        digest = _paths_digest(split)
        for section in self.sections.values():
            if section.paths_digest == digest:
                return range(section.first, section.first + section.count)
        return [self._entry_of[path] for path in split.paths]

    @cached_property
    def _entry_of(self) -> dict[str, int]:
        return {
            path: section.first + row
            for name, section in self.sections.items()
            for row, path in enumerate(self.index.splits[name].paths)
        }

    def read(self, entry: int) -> bytes:
        """One file's bytes, verified. Raises CorruptArtefactError where they changed, OSError where reading fails."""
        first, end = int(self.offsets_M[entry]), int(self.offsets_M[entry + 1])
        data = os.pread(self._handle, end - first, self._start + first)
        if len(data) < end - first:  # a signal, or a kernel's limit per call
            data += self._rest(self._start + first + len(data), self._start + end)
        if zlib.crc32(data) != self.checksums_N[entry]:
            raise CorruptArtefactError("its bytes changed since it was packed")
        return data

    def _rest(self, place: int, end: int) -> bytes:
        found = b""
        while place + len(found) < end:
            more = os.pread(self._handle, end - place - len(found), place + len(found))
            if not more:
                break
            found += more
        return found

    def _require_whole(self) -> None:
        files = len(self.checksums_N)
        counts = (len(self.offsets_M), sum(section.count for section in self.sections.values()))
        rising = bool((np.diff(self.offsets_M) >= 0).all())
        if counts != (files + 1, files) or not rising or int(self.offsets_M[-1]) != self._total:
            raise CorruptArtefactError(f"{self.path}: its parts do not belong together; pack the dataset again")
        size, needed = self.path.stat().st_size, self._start + self._total
        if size < needed:
            raise CorruptArtefactError(f"{self.path}: {size} bytes, {needed} expected: cut short; pack it again")
