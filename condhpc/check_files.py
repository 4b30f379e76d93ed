"""Whether a file system keeps the promises that the store rests on, tried out in a folder of its own."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from condhpc import files
from condhpc.check import Check, fail, ok, warn

_REFUSED = 42
_LITTLE_BYTES, _TOO_LITTLE_BYTES = 20 << 30, 1 << 30
_FEW_INODES, _TOO_FEW_INODES = 100_000, 1_000
_OF_ONE_NODE = frozenset({"tmpfs", "ext2", "ext3", "ext4", "xfs", "btrfs", "overlay", "ramfs", "zfs"})
_MOVE = "put `root` on another file system (the cluster's home, work or scratch space)"


def root_checks(root: Path, *, shared: bool) -> Iterator[Check]:
    """All checks of the root; `shared`: nodes must see it too."""
    home = _nearest(root)
    if not os.access(home, os.W_OK | os.X_OK):
        yield fail("root", f"{home} is not writable for you", "set `root` in the profile, $CONDHPC_ROOT or --root")
        return
    yield ok("root", f"{root}" if home == root else f"{root} (will be made in {home})")
    kind = file_system(home, _mounts())
    if shared and kind in _OF_ONE_NODE:
        yield warn("shared", f"{home} is on {kind}", "make sure that every node sees this folder under this path")
    try:
        with tempfile.TemporaryDirectory(prefix=".condhpc-doctor-", dir=home) as name:
            yield from _promises(Path(name))
    except OSError as error:
        yield fail("file system", f"{home}: {error.strerror or error}", _MOVE)
    yield from _space(home)


def _nearest(root: Path) -> Path:
    """The folder itself, or the nearest one above it that exists."""
    return next((p for p in (root, *root.parents) if p.is_dir()), Path("/"))


def _mounts() -> str:
    try:
        return Path("/proc/mounts").read_text(errors="replace")
    except OSError:
        return ""


def file_system(path: Path, mounts: str) -> str:
    """Type of the file system that a path is on, from the text of /proc/mounts; empty where unknown."""
    best, kind = -1, ""
    for fields in (line.split() for line in mounts.splitlines()):
        if len(fields) >= 3:
            point = Path(fields[1].replace("\\040", " "))
            if path.is_relative_to(point) and len(point.parts) >= best:
                best, kind = len(point.parts), fields[2]
    return kind


def _promises(folder: Path) -> Iterator[Check]:
    trials: tuple[tuple[str, Callable[[Path], str]], ...] = (
        ("exclusive create", _exclusive),
        ("hard link", _link),
        ("atomic rename", _rename),
        ("lock", _lock),
        ("fsync", _fsync),
    )
    for name, trial in trials:
        try:
            problem = trial(folder)
        except OSError as error:
            problem = error.strerror or str(error)
        yield fail(name, problem, _MOVE) if problem else ok(name, "works")


def _exclusive(folder: Path) -> str:
    path = folder / "exclusive"
    path.open("xb").close()
    try:
        path.open("xb").close()
    except FileExistsError:
        return ""
    return "a second exclusive creation succeeded"


def _link(folder: Path) -> str:
    first, second, name = folder / "a", folder / "b", folder / "linked"
    first.write_bytes(b"first")
    second.write_bytes(b"second")
    if not files.link_new(first, name) or files.link_new(second, name):
        return "a link to an existing name succeeded"
    return "" if name.read_bytes() == b"first" else "a linked file has other content"


def _rename(folder: Path) -> str:
    path = folder / "renamed"
    files.replace(path, b"old")
    with path.open("rb") as reader:
        files.replace(path, b"new")
        old = reader.read()
    if path.read_bytes() != b"new":
        return "the new content is not there"
    return "" if old == b"old" else "an open reader lost the old content"


def _lock(folder: Path) -> str:
    """Between two processes, as two submits would: on NFS one process never excludes itself."""
    path = folder / "lock"
    with path.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        child = os.fork()
        if child == 0:
            os._exit(_try_lock(path))
        _, status = os.waitpid(child, 0)
    if os.waitstatus_to_exitcode(status) == _REFUSED:
        return ""
    return "two holders got the same lock: two submits at a time could send work twice"


def _try_lock(path: Path) -> int:
    try:
        with path.open("w") as other:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return _REFUSED
    except OSError:
        return 1
    return 0


def _fsync(folder: Path) -> str:
    path = folder / "synced"
    path.write_bytes(b"x")
    files.sync(path)
    files.sync(folder)
    return ""


def _space(home: Path) -> Iterator[Check]:
    free = shutil.disk_usage(home).free
    found = f"{free / 2**30:.1f} GiB free"
    yield _graded("space", found, free, _LITTLE_BYTES, _TOO_LITTLE_BYTES)
    inodes = os.statvfs(home)
    if inodes.f_files:
        yield _graded("inodes", f"{inodes.f_favail:,} free", inodes.f_favail, _FEW_INODES, _TOO_FEW_INODES)


def _graded(name: str, found: str, value: int, low: int, too_low: int) -> Check:
    if value < too_low:
        return fail(name, found, f"free some, ask for a larger quota, or {_MOVE}")
    if value < low:
        return warn(name, found, "enough for a start; look at your quota before a large manifest")
    return ok(name, found)
