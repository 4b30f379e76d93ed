"""What elements say of their tasks while a run goes on: `done/*.jsonl`, read on from where one stopped.

A hint saves looking at every task. It is never the meaning of "done", and may be missing.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import msgspec

from condhpc.layout import RunFolder

Result = Literal["recorded", "cached", "failed", "stopped", "blocked", "superseded", "over_budget"]
RECORDED: frozenset[Result] = frozenset({"recorded", "cached"})
LEFT: frozenset[Result] = frozenset({"stopped", "over_budget"})
"""What an element did not finish, or not begin, through no fault of the task or its own."""


class _Line(msgspec.Struct, gc=False):
    key: str
    result: Result
    time: float


class Hint(msgspec.Struct, frozen=True, gc=False):
    """The newest word of an element on one of its tasks."""

    result: Result
    time: float


_decoder = msgspec.json.Decoder(_Line)


class Hints:
    """All hints of a run; `refresh` reads what was appended since."""

    def __init__(self, run: RunFolder) -> None:
        self._folder = run.done
        self._offsets: dict[str, int] = {}
        self._finished: set[str] = set()
        self._said: dict[tuple[str, str], Hint] = {}
        self.unreadable: set[str] = set()
        """Files with lines that are no hints."""

    def refresh(self) -> None:
        """Read what is new."""
        try:
            entries = list(os.scandir(self._folder))
        except FileNotFoundError:
            return
        for entry in entries:
            if not entry.name.endswith(".jsonl") or entry.name in self._finished:
                continue
            start = self._offsets.get(entry.name, 0)
            if entry.stat().st_size > start:
                self._read(Path(entry.path), start)

    def finish(self, submission: str, element: int) -> None:
        """Nothing more is expected of this element: its file need not be looked at again."""
        self._finished.add(f"{submission}.{element}.jsonl")

    def is_finished(self, submission: str, element: int) -> bool:
        """Whether `finish` was called for it."""
        return f"{submission}.{element}.jsonl" in self._finished

    def of(self, submission: str, key: str) -> Hint | None:
        """The newest word on a task within one submission; "recorded" stands for good."""
        return self._said.get((submission, key))

    def _read(self, path: Path, start: int) -> None:
        """Complete lines only: the writer may be in the middle of one."""
        with path.open("rb") as file:
            file.seek(start)
            data = file.read()
        data = data[: data.rfind(b"\n") + 1]
        self._offsets[path.name] = start + len(data)
        submission = path.stem.rpartition(".")[0]
        for text in data.splitlines():
            try:
                line = _decoder.decode(text)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                self.unreadable.add(path.name)
                continue
            held = self._said.get((submission, line.key))
            if held is None or held.result not in RECORDED:
                self._said[submission, line.key] = Hint(line.result, line.time)
