"""A run's folder as it grows: where each task was sent, and what its elements said since."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import msgspec

from condhpc import runs
from condhpc.hints import RECORDED, Hints
from condhpc.layout import RunFolder
from condhpc.runs import Submission


class Place(msgspec.Struct, frozen=True):
    """The element that a task was last handed over in."""

    submission: Submission
    index: int

    @property
    def name(self) -> str:
        """Unique name of the submission."""
        return self.submission.intent.name

    @property
    def is_local(self) -> bool:
        """Whether local workers share it."""
        return self.submission.intent.backend == "local"

    @property
    def is_cancelled(self) -> bool:
        """Whether a user cancelled it."""
        return self.index in self.submission.cancelled

    @property
    def element(self) -> str:
        """Its id, `608_3`; empty for local work and before a reply."""
        reply = self.submission.reply
        return f"{reply.job}_{self.index}" if reply is not None and reply.job else ""

    @property
    def sent(self) -> float:
        """When it was handed over, epoch seconds."""
        reply = self.submission.reply
        return reply.time if reply is not None else self.submission.intent.time


class RunView:
    """Submissions and hints of one run; `refresh` reads only what is new."""

    def __init__(self, run: RunFolder, only: Collection[str] | None = None) -> None:
        """`only` keeps submissions that hold one of these keys (None: all)."""
        self.run = run
        self._only = None if only is None else frozenset(only)
        self.hints = Hints(run)
        self.submissions: list[Submission] = []
        self.places: dict[str, Place] = {}
        """Key to its newest element; refused submissions do not count."""
        self._bytes = -1

    def refresh(self) -> None:
        """Look at the folder again."""
        try:
            size = self.run.submissions.stat().st_size
        except FileNotFoundError:
            size = 0
        if size != self._bytes:
            self._bytes = size
            self._read()
        if self.submissions:
            self.hints.refresh()

    def _read(self) -> None:
        self.submissions = [s for s in runs.submissions(self.run) if s.refusal is None and self._matters(s)]
        self.places = {
            key: Place(held, index)
            for held in self.submissions
            for index, pack in enumerate(held.intent.elements)
            for key in pack
            if self._only is None or key in self._only
        }

    def _matters(self, held: Submission) -> bool:
        return self._only is None or any(not self._only.isdisjoint(pack) for pack in held.intent.elements)

    def unfinished(self) -> Iterator[Submission]:
        """Submissions with a task that nobody said was recorded; finished elements are not looked at again."""
        for held in self.submissions:
            todo = [i for i, pack in enumerate(held.intent.elements) if not self._all_said(held.intent.name, i, pack)]
            if todo:
                yield held

    def _all_said(self, name: str, index: int, pack: tuple[str, ...]) -> bool:
        if self.hints.is_finished(name, index):
            return True
        said = (self.hints.of(name, key) for key in pack)
        if all(hint is not None and hint.result in RECORDED for hint in said):
            self.hints.finish(name, index)
            return True
        return False
