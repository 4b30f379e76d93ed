"""A run's folder as it grows: where each task was sent, and what its elements said since."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import msgspec

from condhpc import runs
from condhpc.hints import Hints
from condhpc.layout import RunFolder
from condhpc.runs import Submission


class Place(msgspec.Struct, frozen=True, gc=False):
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
        self._diary = runs.Diary(run)
        self.hints = Hints(run)
        self.submissions: list[Submission] = []
        self.places: dict[str, Place] = {}
        """Key to its newest element; refused submissions do not count."""
        self._unsaid: dict[str, dict[int, int]] = {}
        """Submission, element: how many of its tasks nobody said were recorded."""
        self._changed: set[str] = set()
        self.version = 0
        """Grows when places change."""

    def refresh(self) -> None:
        """Look at the folder again."""
        if names := self._diary.refresh():
            self.version += 1
            self._place(names)
        if self.submissions:
            self.hints.refresh()
            self._hear()

    def take_changed(self) -> set[str]:
        """Keys whose place or newest word changed since the last call."""
        changed, self._changed = self._changed, set()
        return changed

    def _place(self, names: set[str]) -> None:
        """Places of new submissions; all of them again where one that had places was refused."""
        held = self._diary.held
        refused = any(held[name].refusal is not None and name in self._unsaid for name in names)
        self.submissions = [s for s in held.values() if s.refusal is None and self._matters(s)]
        if refused:
            self.places = {}
        for found in self.submissions:
            name = found.intent.name
            is_new = name not in self._unsaid
            if is_new:
                self._unsaid[name] = {index: len(pack) for index, pack in enumerate(found.intent.elements)}
            if name in names or refused:
                self._place_one(found, is_newest=is_new or refused)
        for name in names:
            if self._matters(held[name]):
                self._changed.update(key for pack in held[name].intent.elements for key in pack)
            else:
                del held[name]  # others' submissions are large, and nothing is asked of this one

    def _place_one(self, found: Submission, *, is_newest: bool) -> None:
        """A late word on an older submission does not bring its tasks back to it."""
        name = found.intent.name
        for index, pack in enumerate(found.intent.elements):
            place = Place(found, index)
            for key in pack if self._only is None else self._only.intersection(pack):
                before = self.places.get(key)
                if is_newest or before is None or before.name == name:
                    self.places[key] = place

    def _hear(self) -> None:
        for word in self.hints.take_new():
            self._changed.add(word.key)
            elements = self._unsaid.get(word.submission)
            if not word.now_recorded or elements is None or word.element not in elements:
                continue
            elements[word.element] -= 1
            if elements[word.element] <= 0:
                del elements[word.element]
                self.hints.finish(word.submission, word.element)

    def _matters(self, held: Submission) -> bool:
        return self._only is None or any(not self._only.isdisjoint(pack) for pack in held.intent.elements)

    def unfinished(self) -> Iterator[Submission]:
        """Submissions with a task that nobody said was recorded; finished elements are not looked at again."""
        for held in self.submissions:
            if self._unsaid[held.intent.name]:
                yield held
