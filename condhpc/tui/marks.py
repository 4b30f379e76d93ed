"""Rows that a person marked, and how many of them stand behind each line of a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable


class Marks:
    """Keys of marked rows; `group_of` tells the group line of a row, where it has one."""

    def __init__(self, group_of: Callable[[str], str | None]) -> None:
        self.keys: set[str] = set()
        self._group_of = group_of
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
        self._behind = Counter(self.keys)
        self._behind.update(group for key in self.keys if (group := self._group_of(key)) is not None)

    def sign(self, line: str, members: int) -> str:
        """`*` where all rows behind a line are marked, `+` where some are."""
        marked = self._behind[line]
        return " " if not marked else "*" if marked == members else "+"
