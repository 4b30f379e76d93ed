"""The end of a log that grows, by polling: network file systems tell nobody of changes."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from condhpc import log_view, runs
from condhpc.layout import Layout, RunFolder
from condhpc.runs import PlanLine, Submission
from condhpc.tables import printable

TAIL_BYTES = 1 << 18
"""Read of a log at most at a time: what came before it is left out and said."""
KEPT_LINES = 20_000
KEPT_CHARS = 1 << 21
"""Beyond it old lines go: to search this many takes less than a tenth of a second, whatever the script."""
_LINE_BYTES = 1 << 13
_SCAN_BYTES = 1 << 16
_SCANNED_AT_MOST = 1 << 26
_CONTROL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
"""Colours, cursor moves and titles: what a terminal would obey and nobody wants to read."""


class LogTail:
    """The last lines of one file; `poll` reads what is new, and begins anew where the file was cut or replaced."""

    def __init__(self, path: Path, tail_bytes: int = TAIL_BYTES, kept_lines: int = KEPT_LINES) -> None:
        self.path = path
        self.note = ""
        """Why there is nothing to read; empty while there is."""
        self.skipped_bytes = 0
        """Of the file before the first line that is held."""
        self.dropped = 0
        """Lines that were held and are not any more: a reader's place moves up by so many."""
        self._tail_bytes = tail_bytes
        self._kept_lines = kept_lines
        self._lines: list[str] = []
        self._rest = b""
        self._offset = 0
        self._file = (-1, -1)

    @property
    def lines(self) -> list[str]:
        """What is held, the unfinished last line with it; a progress bar is its last state."""
        return [*self._lines, clean(self._rest)] if self._rest else self._lines

    def poll(self) -> bool:
        """Read what is new; whether anything changed."""
        try:
            # Opened each time: NFS looks at the size anew only then. Never waits for the writer of a pipe.
            handle = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        except FileNotFoundError:
            return self._tell("not there: its element has not started, or the log was removed")
        except OSError as error:
            return self._tell(f"cannot be opened ({error.strerror or error})")
        try:
            return self._read(handle)
        except OSError as error:
            return self._tell(f"cannot be read ({error.strerror or error})")
        finally:
            os.close(handle)

    def _tell(self, note: str) -> bool:
        changed = note != self.note
        self.note = note
        return changed

    def _read(self, handle: int) -> bool:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            return self._tell("is no file")
        changed = self._tell("" if found.st_size else "is empty")
        if (found.st_dev, found.st_ino) != self._file or found.st_size < self._offset:
            self._file = (found.st_dev, found.st_ino)
            changed |= bool(self._offset)
            self._begin(0)
        if found.st_size - self._offset > self._tail_bytes:
            self._begin(found.st_size - self._tail_bytes)
        data = os.pread(handle, found.st_size - self._offset, self._offset)
        if not data:
            return changed
        if self.skipped_bytes == self._offset > 0:  # begins in the middle of a line
            whole = data[data.find(b"\n") + 1 :]
            self.skipped_bytes += len(data) - len(whole)
            self._offset += len(data) - len(whole)
            data = whole
        self._offset += len(data)
        self._take(data)
        return True

    def _begin(self, offset: int) -> None:
        self.dropped += len(self._lines)
        self._lines, self._rest = [], b""
        self._offset = self.skipped_bytes = offset

    def _take(self, data: bytes) -> None:
        *whole, rest = (self._rest + data).split(b"\n")
        self._rest = rest[rest.rstrip(b"\r").rfind(b"\r") + 1 :][-_LINE_BYTES:]
        lines = self._lines + [clean(line) for line in whole]
        over, held = max(len(lines) - self._kept_lines, 0), sum(map(len, lines))
        while held > KEPT_CHARS and over < len(lines):
            held -= len(lines[over])
            over += 1
        self.dropped += over
        self._lines = lines[over:]


def clean(line: bytes) -> str:
    """A line without what a terminal would obey; of a bar that draws over itself only the last state."""
    last = line.rstrip(b"\r").rpartition(b"\r")[2]
    text = last[-_LINE_BYTES:].decode("utf-8", errors="replace")
    return printable(_CONTROL.sub("", text).expandtabs(4))


def matching(lines: Sequence[str], needle: str) -> list[int]:
    """Places of the lines that contain a text, without regard to case; none for an empty text."""
    wanted = needle.casefold()
    return [place for place, line in enumerate(lines) if wanted in line.casefold()] if wanted else []


class LogSource(msgspec.Struct, frozen=True, kw_only=True):
    """Something to read of a task: a log file, or its diary."""

    title: str
    path: Path | None = None
    """None for the diary."""


DIARY = LogSource(title="diary of all attempts")


def sources(run: RunFolder, key: str) -> list[LogSource]:
    """All logs that a run may hold of a task, the newest first, then its diary. Slurm joins both streams."""
    found = [
        source
        for held in reversed(runs.submissions(run))
        if held.refusal is None
        for index, pack in enumerate(held.intent.elements)
        if key in pack
        for source in _of_element(run, held, index, key)
    ]
    return [*found, DIARY]


def _of_element(run: RunFolder, held: Submission, index: int, key: str) -> Iterator[LogSource]:
    name = held.intent.name
    if held.intent.backend == "slurm":
        job = held.reply.job if held.reply is not None else ""
        title = f"{job}_{index}" if job else f"{name} element {index}"
        yield LogSource(title=title, path=run.logs / name / f"{index}.log")
        return
    files = runs.log_files(run, name, index)
    for path in [path for path in files if mentions(path, key)] or files:
        yield LogSource(title=f"{name} {path.name}", path=path)


def mentions(path: Path, text: str) -> bool:
    """Whether a file holds a text, as far as so many bytes of it tell."""
    wanted, held, seen = text.encode(), b"", 0
    try:
        with path.open("rb") as file:
            while seen < _SCANNED_AT_MOST and (data := file.read(_SCAN_BYTES)):
                seen += len(data)
                if wanted in held + data:
                    return True
                held = data[-len(wanted) :]
    except OSError:
        return False
    return False


def diary(layout: Layout, line: PlanLine) -> list[str]:
    """What each attempt at a task said, for the same view."""
    try:
        found: Iterable[str] = list(log_view.diary_lines(layout, line))
    except OSError as error:
        found = [f"{layout.task(line.stage, line.key).path}: cannot be read ({error.strerror or error})"]
    return [printable(text) for text in found] or ["no attempt yet"]
