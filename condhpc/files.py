"""Files that are complete or absent: unique temporary name in the same folder, fsync, then link or rename."""

from __future__ import annotations

import mmap
import os
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import BinaryIO

_BLOCK_BYTES = 1 << 16


def temporary(path: Path) -> Path:
    """A name for a file under construction: same folder, never the same twice.

    The pid is for people; it comes back (in a container at once), and a killed writer leaves its file behind.
    """
    host = socket.gethostname().split(".")[0]
    return path.with_name(f".{path.name}.{host}.{os.getpid()}.{secrets.token_hex(6)}.tmp")


def sync(path: Path) -> None:
    """Fsync a file or folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def link_new(temp: Path, path: Path) -> bool:
    """Give a finished temporary file its final name, unless that exists; True when this call did it.

    A link whose reply was lost on NFS is recognised by the temporary file's link count. False, too, where the
    temporary file is gone: whoever finished the task first has tidied up.
    """
    try:
        os.link(temp, path)
    except FileExistsError:
        return temp.exists() and temp.stat().st_nlink == 2
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise
        return False
    sync(path.parent)
    return True


def publish(path: Path, data: bytes) -> bool:
    """Write a new file atomically; False (and nothing changed) where it exists."""
    temp = _write_temporary(path, data)
    try:
        return link_new(temp, path)
    finally:
        temp.unlink(missing_ok=True)


def put(path: Path, data: bytes) -> threading.Thread:
    """Write a new file of a name that nobody else uses; whole for every reader at once, on disk when joined.

    For what is sent right after it was written: the disk's share of the wait goes on beside the sending.
    """
    temp = temporary(path)
    temp.write_bytes(data)
    temp.rename(path)
    return start_sync(path)


def start_sync(path: Path) -> threading.Thread:
    """Fsync in the background; on disk when joined."""
    thread = threading.Thread(target=sync, args=(path,))
    thread.start()
    return thread


def replace(path: Path, data: bytes) -> None:
    """Write a file atomically over an older version that this process alone writes."""
    with under_construction(path) as temp:
        temp.write_bytes(data)


def ends_line(file: BinaryIO | FileIO) -> bool:
    """Whether what is added to a file begins a line; not so where its last writer was killed in one."""
    if not file.seek(0, os.SEEK_END):
        return True
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def _write_temporary(path: Path, data: bytes) -> Path:
    temp = temporary(path)
    try:
        with temp.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        temp.unlink(missing_ok=True)  # the disk is full: leave it no fuller
        raise
    return temp


@contextmanager
def under_construction(path: Path) -> Iterator[Path]:
    """A temporary path to write to; synced and renamed to `path` on success, removed on failure."""
    temp = temporary(path)
    try:
        yield temp
        sync(temp)
        temp.replace(path)
        sync(path.parent)
    finally:
        temp.unlink(missing_ok=True)


def small(path: str) -> bytes:
    """A small file's bytes, in half the time that a file object takes: for who reads a hundred thousand."""
    handle = os.open(path, os.O_RDONLY)
    try:
        data = os.read(handle, _BLOCK_BYTES)
        while more := os.read(handle, _BLOCK_BYTES):
            data += more
        return data
    finally:
        os.close(handle)


def raise_if_closed(path: Path) -> None:
    """Raises PermissionError for a file that is not ours to read; another trouble is for its reader to find."""
    try:
        path.open("rb").close()
    except PermissionError:
        raise
    except OSError:
        pass


def mapped(path: Path) -> memoryview:
    """A file's bytes, read as they are looked at; for large files that are replaced and never changed in place."""
    with path.open("rb") as file:
        try:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except ValueError:  # an empty file
            return memoryview(b"")
