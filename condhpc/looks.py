"""Task folders as they change: records, and the newest diary; of a diary that grew only what is new is read."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import msgspec

from condhpc import lease, store
from condhpc.errors import CorruptArtefactError
from condhpc.hints import Hint
from condhpc.layout import Layout, TaskFolder
from condhpc.lease import Attempt
from condhpc.runs import PlanLine

_SETTLED_S = 2.0
"""A folder that changed less than this before it was listed could change again within a tick of its clock."""
_WHOLE_BYTES = 256 * 1024
_TAIL_BYTES = 64 * 1024
_TOLD = 20
"""Problems that are told one by one."""


class Look(msgspec.Struct, frozen=True, gc=False):
    """What a task's folder said, and what was known when it was asked."""

    submission: str
    hint: Hint | None
    recorded: bool
    attempt: Attempt | None


class _Diary(msgspec.Struct, gc=False):
    """How far the newest diary of a folder was read."""

    number: int = 0
    changed_ns: int = -1
    """Modification time of the folder when it was listed."""
    seen_s: float = 0.0
    """When that time was seen first, on our own clock."""
    settled: bool = False
    bytes: int = 0
    attempt: Attempt | None = None


class Folders:
    """Reads the folders of tasks again and again."""

    def __init__(self, layout: Layout, clock: Callable[[], float] = time.monotonic) -> None:
        self._layout = layout
        self._clock = clock
        self._diaries: dict[str, _Diary] = {}
        self._paths: dict[str, str] = {}
        """Key to its folder: a Path for each of thousands costs more than the look."""
        self._corrupt: dict[str, str] = {}
        """Key to what is wrong with its record."""
        self._closed: dict[str, str] = {}
        """Key to why its folder or diary cannot be read."""

    def forget(self) -> None:
        """Read everything anew."""
        self._diaries.clear()

    def problems(self) -> Iterator[str]:
        """What could not be read, one line a task; of very many the first."""
        found = self._closed | self._corrupt
        yield from islice(found.values(), _TOLD)
        if len(found) > _TOLD:
            yield f"… and {len(found) - _TOLD} more tasks whose records or diaries cannot be read"

    def trouble(self, key: str) -> str:
        """In few words what is wrong with a task's files, if anything."""
        if key in self._corrupt:
            return "its record cannot be read"
        return "its folder cannot be read" if key in self._closed else ""

    def is_recorded(self, line: PlanLine) -> bool:
        """Whether a usable record exists; one that is there and closed to us counts: it was whole when it was named."""
        found = self._is_good(line, store.is_recorded)
        if found:
            self._diaries.pop(line.key, None)
        return found

    def is_readable(self, line: PlanLine) -> bool:
        """Whether what a hint calls recorded has a record, as far as we may look. Artefacts may have been purged."""
        return self._is_good(line, lambda folder: store.read_record(folder) is not None, unless_closed=True)

    def _is_good(self, line: PlanLine, judge: Callable[[TaskFolder], bool], *, unless_closed: bool = False) -> bool:
        self._corrupt.pop(line.key, None)
        folder = self._layout.task(line.stage, line.key)
        try:
            return judge(folder)
        except CorruptArtefactError as error:
            self._corrupt[line.key] = str(error)
            return False
        except OSError as error:
            self._corrupt[line.key] = _unread(folder.record, error)
            # Path's `exists` raises where a folder is closed.
            return isinstance(error, PermissionError) and (unless_closed or os.path.exists(folder.record))  # noqa: PTH110

    def attempt(self, line: PlanLine) -> Attempt | None:
        """The newest attempt; None where nobody began, or its diary is gone or cannot be read."""
        try:
            found = self._attempt(line)
        except OSError as error:
            self._closed[line.key] = _unread(self._layout.task(line.stage, line.key).path, error)
            return None
        self._closed.pop(line.key, None)
        return found

    def _attempt(self, line: PlanLine) -> Attempt | None:
        path = self._paths.get(line.key)
        if path is None:
            path = self._paths[line.key] = str(self._layout.task(line.stage, line.key).path)
        try:
            changed_ns = os.stat(path).st_mtime_ns  # noqa: PTH116
        except FileNotFoundError:
            self._diaries.pop(line.key, None)
            return None
        folder = TaskFolder(Path(path))
        diary = self._diaries.setdefault(line.key, _Diary())
        self._number(diary, folder, changed_ns)
        self._read_on(diary, folder)
        return diary.attempt

    def _number(self, diary: _Diary, folder: TaskFolder, changed_ns: int) -> None:
        """Find the newest attempt; the folder is not listed where it cannot have changed."""
        if changed_ns == diary.changed_ns and diary.settled:
            return
        now = self._clock()
        if changed_ns != diary.changed_ns:
            diary.changed_ns, diary.seen_s, diary.settled = changed_ns, now, False
        else:
            diary.settled = now - diary.seen_s > _SETTLED_S
        number = lease.latest_number(folder)
        if number != diary.number:
            diary.number, diary.bytes, diary.attempt = number, 0, None

    def _read_on(self, diary: _Diary, folder: TaskFolder) -> None:
        path = folder.lease(diary.number)
        try:
            size = os.stat(path).st_size  # noqa: PTH116
            if size == diary.bytes:
                return
            with path.open("rb") as file:
                if diary.attempt is None and size > _WHOLE_BYTES:
                    data = file.readline()
                    file.seek(size - _TAIL_BYTES)
                    file.readline()
                    data += file.read()
                    diary.bytes = file.tell()
                else:
                    file.seek(diary.bytes if diary.attempt is not None else 0)
                    data = file.read()
                    diary.bytes = file.tell()
        except FileNotFoundError:
            diary.bytes, diary.attempt = 0, None
            return
        torn = len(data) - data.rfind(b"\n") - 1
        diary.bytes -= torn
        diary.attempt = lease.with_lines(diary.attempt, diary.number, data)


def _unread(path: Path, error: OSError) -> str:
    return f"{error.filename or path}: cannot be read ({error.strerror}); ask its owner"
