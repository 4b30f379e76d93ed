"""The rows behind a line of a table, and how many of them are of each kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar, overload

R = TypeVar("R")
Kind = Callable[[R], str]


class Members(Sequence[R], Generic[R]):
    """Rows of a group, without a copy: keys, and the table's own rows by key.

    `tally` counts them once and is kept up as rows change, so that a group of 100,000 costs what one of ten does.
    """

    __slots__ = ("_kind", "_rows", "_tally", "keys")

    def __init__(self, keys: list[str], rows: Mapping[str, R], kind: Kind[R]) -> None:
        self.keys = keys
        self._rows = rows
        self._kind = kind
        self._tally: Counter[str] | None = None

    def __len__(self) -> int:
        return len(self.keys)

    @overload
    def __getitem__(self, index: int) -> R: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[R]: ...
    def __getitem__(self, index: int | slice) -> R | Sequence[R]:
        if isinstance(index, slice):
            return [self._rows[key] for key in self.keys[index]]
        return self._rows[self.keys[index]]

    def __iter__(self) -> Iterator[R]:
        return map(self._rows.__getitem__, self.keys)

    @property
    def tally(self) -> Mapping[str, int]:
        """Rows by what the table's shape calls their kind; kinds that are not there count 0."""
        if self._tally is None:
            self._tally = Counter(map(self._kind, self))
        return self._tally

    def changed(self, old: R, new: R) -> None:
        """A member is another row now."""
        if self._tally is not None:
            self._tally[self._kind(old)] -= 1
            self._tally[self._kind(new)] += 1
