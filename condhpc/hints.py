"""What elements say of their tasks while a run goes on: `done/*.jsonl`, read on from where one stopped.

A hint saves looking at every task. It is never the meaning of "done", and may be missing.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import msgspec

from condhpc.errors import first_few
from condhpc.layout import RunFolder
from condhpc.turns import give_way

Result = Literal["recorded", "cached", "failed", "stopped", "blocked", "superseded", "over_budget"]
RECORDED: frozenset[Result] = frozenset({"recorded", "cached"})
LEFT: frozenset[Result] = frozenset({"stopped", "over_budget"})
"""What an element did not finish, or not begin, through no fault of the task or its own."""
_SETTLED_S = 5.0
"""A folder that changed less than this ago may have changed once more since."""
_AT_ONCE = 1000
"""Silent files that one refresh looks at."""
_SILENT_S = 600.0


class _Line(msgspec.Struct, gc=False):
    key: str
    result: Result
    time: float


class Hint(msgspec.Struct, frozen=True, gc=False):
    """The newest word of an element on one of its tasks."""

    result: Result
    time: float


_decoder = msgspec.json.Decoder(_Line)


class Word(NamedTuple):
    """That an element said something new of a task."""

    submission: str
    element: int
    key: str
    now_recorded: bool
    """Recorded by this word, and not by an earlier one."""


class Hints:
    """All hints of a run; `refresh` reads what was appended since."""

    def __init__(self, run: RunFolder, clock: Callable[[], float] = time.time) -> None:
        self._folder = run.done
        self._clock = clock
        self._known: set[str] = set()
        """Names in the folder, as of its last listing."""
        self._listed_ns = -1
        """Modification time of the folder when it was listed; -1 where a listing may have missed a file."""
        self._open: dict[str, tuple[int, float]] = {}
        """Unfinished files: bytes that were read, and when it grew last."""
        self._turn = 0
        self._finished: set[str] = set()
        self._said: dict[str, dict[str, Hint | float]] = {}
        """Submission, key; of `recorded`, which most are in the end, only the time."""
        self._new: list[Word] = []
        self._unreadable: set[str] = set()
        """Files with lines that are no hints."""
        self._closed: dict[str, str] = {}
        """Paths that may not be read, and why."""

    def problems(self) -> Iterator[str]:
        """What could not be read; without hints the folders of tasks tell, so nothing is lost."""
        for name in sorted(self._unreadable):
            yield f"{name}: holds lines that are no hints; `condhpc status --rescan` does without"
        if self._closed:
            named = first_few([f"{path} ({why})" for path, why in sorted(self._closed.items())], 3)
            yield f"{named}: cannot be read, ask the owner; what elements said there is looked up task by task"

    def refresh(self) -> None:
        """Read what is new."""
        self._list()
        now = self._clock()
        for name in self._due(now):
            give_way()
            start, _ = self._open[name]
            path = f"{self._folder}/{name}"
            try:
                size = os.stat(path).st_size  # noqa: PTH116 - a Path for each of thousands costs more than the call
                if size > start:
                    self._read(path, name, start, now)
            except FileNotFoundError:
                continue
            except PermissionError as error:
                self._closed[path] = str(error.strerror)
            else:
                self._closed.pop(path, None)

    def take_new(self) -> list[Word]:
        """What was said since the last call."""
        new, self._new = self._new, []
        return new

    def finish(self, submission: str, element: int) -> None:
        """Nothing more is expected of this element: its file need not be looked at again."""
        name = f"{submission}.{element}.jsonl"
        self._finished.add(name)
        self._open.pop(name, None)

    def of(self, submission: str, key: str) -> Hint | None:
        """The newest word on a task within one submission; "recorded" stands for good."""
        of_submission = self._said.get(submission)
        held = None if of_submission is None else of_submission.get(key)
        return Hint("recorded", held) if isinstance(held, float) else held

    def _list(self) -> None:
        """Names of new files: the folder is listed only where it changed."""
        try:
            changed_ns = self._folder.stat().st_mtime_ns
        except FileNotFoundError:
            return
        if changed_ns == self._listed_ns:
            return
        listed_s = self._clock()
        try:
            names = set(os.listdir(self._folder))  # noqa: PTH208 - names only
        except PermissionError as error:  # as of another user's run
            self._closed[str(self._folder)] = str(error.strerror)
            return
        self._closed.pop(str(self._folder), None)
        # What comes within a tick of the folder's clock leaves no other time: list it once more.
        self._listed_ns = changed_ns if listed_s - changed_ns / 1e9 > _SETTLED_S else -1
        for name in names - self._known:
            if name.endswith(".jsonl") and name not in self._finished:
                self._open[name] = (0, self._clock())
        self._known = names

    def _due(self, now: float) -> list[str]:
        """Unfinished files to look at: those that grew of late, and in turn some of those that are silent."""
        if len(self._open) <= _AT_ONCE:
            return list(self._open)
        silent = [name for name, (size, grew) in self._open.items() if size and now - grew > _SILENT_S]
        turn = self._turn = (self._turn + _AT_ONCE) % max(1, len(silent))
        spared = set(silent) - set((silent + silent)[turn : turn + _AT_ONCE])
        return [name for name in self._open if name not in spared]

    def _read(self, path: str, name: str, start: int, now: float) -> None:
        """Complete lines only: the writer may be in the middle of one."""
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - as above
            file.seek(start)
            data = file.read()
        data = data[: data.rfind(b"\n") + 1]
        self._open[name] = (start + len(data), now)
        submission, _, element = name.removesuffix(".jsonl").rpartition(".")
        said = self._said.setdefault(submission, {})
        for text in data.splitlines():
            try:
                line = _decoder.decode(text)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                self._unreadable.add(name)
                continue
            held = said.get(line.key)
            if held is None or (isinstance(held, Hint) and held.result not in RECORDED):
                key = sys.intern(line.key)
                said[key] = line.time if line.result == "recorded" else Hint(line.result, line.time)
                recorded = line.result in RECORDED
                self._new.append(Word(submission, int(element) if element.isdigit() else -1, key, recorded))
