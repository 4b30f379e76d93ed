"""Files that are complete or absent: unique temporary name in the same folder, fsync, then link or rename."""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_counter = itertools.count()


def temporary(path: Path) -> Path:
    """A name for a file under construction: same folder, never the same twice."""
    host = socket.gethostname().split(".")[0]
    return path.with_name(f".{path.name}.{host}.{os.getpid()}.{next(_counter)}.tmp")


def sync(path: Path) -> None:
    """Fsync a file or folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def link_new(temp: Path, path: Path) -> bool:
    """Give a finished temporary file its final name, unless that exists; True when this call did it.

    A link whose reply was lost on NFS is recognised by the temporary file's link count.
    """
    try:
        os.link(temp, path)
    except FileExistsError:
        return temp.stat().st_nlink == 2
    sync(path.parent)
    return True


def publish(path: Path, data: bytes) -> bool:
    """Write a new file atomically; False (and nothing changed) where it exists."""
    temp = _write_temporary(path, data)
    try:
        return link_new(temp, path)
    finally:
        temp.unlink(missing_ok=True)


def replace(path: Path, data: bytes) -> None:
    """Write a file atomically over an older version that this process alone writes."""
    _write_temporary(path, data).replace(path)
    sync(path.parent)


def _write_temporary(path: Path, data: bytes) -> Path:
    temp = temporary(path)
    with temp.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
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
