"""Rows that a person marked, and how many of them stand behind each line of a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable


class Marks:
    """Keys of marked rows; `group_of` tells the group line of a row, where it has one, `passes` what filters say.

    Rows that a filter hides keep their marks until it goes, but nothing counts them and nothing is done to them.
    """

    def __init__(self, group_of: Callable[[str], str | None], passes: Callable[[str], bool]) -> None:
        self.keys: set[str] = set()
        self._group_of = group_of
        self._passes = passes
        self._behind: Counter[str] = Counter()

    def turn(self, members: Collection[str], *, on: bool | None) -> None:
        """Mark rows or take their marks away; None: whichever changes something, marks first."""
        if on or (on is None and not self.keys.issuperset(members)):
            self.keys.update(members)
        else:
            self.keys.difference_update(members)
        self.count()

    def keep(self, keys: Iterable[str]) -> None:
        """No marks on other rows."""
        if self.keys:  # of 100,000 rows few are marked, mostly none
            self.keys.intersection_update(keys)

    def clear(self) -> None:
        """None at all."""
        self.keys.clear()
        self.count()

    def count(self) -> None:
        """Count anew: marks or groups are others."""
        shown = self.shown
        self._behind = Counter(shown)
        self._behind.update(group for key in shown if (group := self._group_of(key)) is not None)

    @property
    def shown(self) -> set[str]:
        """Keys of marked rows that pass the filters."""
        return set(filter(self._passes, self.keys))

    def hidden_text(self) -> str:
        """`3 marked, 1 hidden by the filter: left as it is`; empty where none is hidden."""
        hidden = len(self.keys) - len(self.shown)
        left = "left as it is" if hidden == 1 else "left as they are"
        return f"{len(self.keys)} marked, {hidden} hidden by the filter: {left}" if hidden else ""

    def sign(self, line: str, members: int) -> str:
        """`*` where all rows behind a line are marked, `+` where some are."""
        marked = self._behind[line]
        return " " if not marked else "*" if marked == members else "+"
