"""The lines behind a grid: rows filtered, sorted and grouped. No widget; work over all rows comes in pieces."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import Generic, Literal, TypeVar

from condhpc.tui.matching import Matcher
from condhpc.tui.members import Members, R

T = TypeVar("T")
Pieces = Generator[None, None, T]
"""Work that pauses every few milliseconds and answers at its end."""
Order = float | str
Tone = Literal["", "good", "busy", "warn", "bad", "dim"]
"""What a line's colour says; its text says it too."""
PIECE = 2_000
"""Rows between two pauses: a few milliseconds."""
_PIECE_S = 0.01
"""Or so long, where a filter takes its time."""
_GROUP = "\0"
"""Begins the keys of group lines; no task's key does."""


@dataclass(frozen=True)
class Column(Generic[R]):
    """One column: what it shows of a row and of a group of rows, how wide it is, what it is sorted by."""

    title: str
    text: Callable[[R], str]
    width: int
    """In cells; what is longer is cut."""
    grow: int = 0
    """Share of what a wide screen has left over."""
    right: bool = False
    order: Callable[[R], Order] | None = None
    """By what rows are sorted; None: by the text. One type per column."""
    group: Callable[[Members[R]], str] | None = None
    group_order: Callable[[Members[R]], Order] | None = None
    from_width: int = 0
    """Shown on screens that are at least so wide."""


@dataclass(frozen=True)
class Shape(Generic[R]):
    """What a table's rows are and how they look."""

    columns: tuple[Column[R], ...]
    key: Callable[[R], str]
    text: Callable[[R], str]
    """What filters look through."""
    tone: Callable[[R], Tone] = field(default=lambda _: "")
    group_tone: Callable[[Members[R]], Tone] = field(default=lambda _: "")
    kind: Callable[[R], str] = field(default=lambda _: "")
    """What `Members.tally` counts by."""


class Table(Generic[R]):
    """Rows by key, and the keys of the lines that are shown, in order.

    `arrange` brings the lines up to date; it is a generator that pauses every few milliseconds, and swaps the new
    lines in at its end. What it found of a row is kept until the row or the question changes.
    """

    def __init__(self, shape: Shape[R]) -> None:
        self.shape = shape
        self.rows: dict[str, R] = {}
        self._coming: list[R] | None = None
        """Rows that no `arrange` has taken in yet."""
        self.shown: list[str] = []
        self.open: set[str] = set()
        """Groups that show their rows."""
        self.by: Column[R] | None = None
        self.descending = False
        self._members: dict[str, Members[R]] = {}
        self._matcher: Matcher | None = None
        self._keep: Callable[[R], bool] | None = None
        self._group_by: Callable[[R], str] | None = None
        self._passes: dict[str, bool] = {}
        self._orders: dict[str, Order] = {}
        self._group_orders: dict[str, Order] = {}
        self._groups: dict[str, str] = {}

    # -- what is asked -------------------------------------------------------------------------------------------

    def replace(self, rows: Iterable[R]) -> None:
        """Other rows altogether; where they are many, `arrange` takes them in."""
        self._coming = list(rows)
        if len(self._coming) <= PIECE:
            self._take_now()

    def _take_now(self) -> None:
        for _ in self._taken():
            pass

    def _taken(self) -> Pieces[None]:
        """Rows that are to replace all others, by key."""
        coming = self._coming
        if coming is None:
            return
        rows: dict[str, R] = {}
        for start in range(0, len(coming), PIECE):
            part = coming[start : start + PIECE]
            rows.update(zip(map(self.shape.key, part), part, strict=True))
            yield
        if coming is self._coming:
            self._coming, self.rows = None, rows
            for kept in (self._passes, self._orders, self._group_orders, self._groups):
                kept.clear()

    def change(self, rows: Iterable[R]) -> bool:
        """Take rows that changed; whether lines have to be arranged anew for them."""
        stale = self._coming is not None
        self._take_now()
        for row in rows:
            key = self.shape.key(row)
            old = self.rows.get(key)
            self.rows[key] = row
            if old is None or self._has_moved(key, old, row):
                stale = True
            if (passed := self._passes.pop(key, None)) is not None:
                self._passes[key] = self._passing(row)
                stale = stale or passed != self._passes[key]
            if (order := self._orders.pop(key, None)) is not None:
                self._orders[key] = self._order(row)
                stale = stale or order != self._orders[key]
        return stale

    def _has_moved(self, key: str, old: R, new: R) -> bool:
        """Whether a changed row belongs to another group now, or its group to another place."""
        group = self._groups.get(key)
        if group is None or self._group_by is None:
            return False
        if group in self._members and self._passes.get(key, True):
            self._members[group].changed(old, new)
        if _GROUP + self._group_by(new) != group:
            del self._groups[key]
            return True
        return self.by is not None and self._group_orders.pop(group, None) is not None

    def where(self, matcher: Matcher | None, keep: Callable[[R], bool] | None = None) -> None:
        """Show rows whose text matches and that are to be kept."""
        self._matcher, self._keep = matcher, keep
        self._passes.clear()

    def sort(self, by: Column[R] | None, *, descending: bool = False) -> None:
        """Sort by a column; None: the order in which rows came."""
        self.by, self.descending = by, descending
        self._orders.clear()
        self._group_orders.clear()

    def group(self, by: Callable[[R], str] | None) -> None:
        """Collapse rows for which `by` gives the same text into a group of that name; None: no groups."""
        self._group_by = by
        self.open.clear()
        self._groups.clear()
        self._group_orders.clear()

    @property
    def count(self) -> int:
        """Rows that there are, or will be once they are arranged."""
        return len(self.rows if self._coming is None else self._coming)

    # -- what is answered ----------------------------------------------------------------------------------------

    def is_group(self, key: str) -> bool:
        """Whether a line stands for several rows."""
        return key.startswith(_GROUP)

    def members(self, key: str) -> list[str]:
        """Keys of the rows behind a line: those of a group that pass the filters, or the row itself."""
        return self.rows_of(key).keys

    def rows_of(self, key: str) -> Members[R]:
        """The rows behind a line."""
        if (members := self._members.get(key)) is not None:
            return members
        return Members([key] if key in self.rows else [], self.rows, self.shape.kind)

    def group_of(self, key: str) -> str | None:
        """The group line that a row belongs to."""
        return self._groups.get(key)

    def passes(self, key: str) -> bool:
        """Whether a row is there and passes the filters, also while lines are being arranged for them."""
        if key not in self.rows:
            return False
        if self._matcher is None and self._keep is None:
            return True
        passed = self._passes.get(key)
        return self._passing(self.rows[key]) if passed is None else passed

    def cells(self, key: str) -> tuple[str, ...]:
        """A line's texts, column by column."""
        if not self.is_group(key):
            row = self.rows[key]
            return tuple(column.text(row) for column in self.shape.columns)
        rows = self.rows_of(key)
        return tuple("" if column.group is None else column.group(rows) for column in self.shape.columns)

    def tone(self, key: str) -> Tone:
        """What a line's colour says."""
        return self.shape.group_tone(self.rows_of(key)) if self.is_group(key) else self.shape.tone(self.rows[key])

    # -- arranging -----------------------------------------------------------------------------------------------

    def arrange(self) -> Iterator[None]:
        """Bring the lines up to date, in pieces."""
        yield from self._taken()
        keys = yield from self._filtered()
        if self.by is not None:
            yield from self._ordered(keys)
        if self._group_by is None:
            self._members, self.shown = {}, keys
            return
        members = yield from self._grouped(keys, self._group_by)
        if self.by is not None:
            members = yield from self._ordered_groups(members)
        self._members = members
        self.unfold()

    def arrange_now(self) -> None:
        """All of it at once: for few rows, and for tests."""
        for _ in self.arrange():
            pass

    def unfold(self) -> None:
        """Lines after groups were opened or closed; everything else is as it was arranged last."""
        if self._group_by is None:
            return
        lines: list[str] = []
        for group, members in self._members.items():
            lines.append(group)
            if group in self.open:
                lines += members.keys
        self.shown = lines

    def _filtered(self) -> Pieces[list[str]]:
        if self._matcher is None and self._keep is None:
            return list(self.rows)
        kept, begun_s = [], perf_counter()
        for count, key in enumerate(list(self.rows)):
            passes = self._passes.get(key)
            if passes is None:  # of the row as it is now: it may have changed during a pause
                passes = self._passes[key] = self._passing(self.rows[key])
            if passes:
                kept.append(key)
            if count % PIECE == PIECE - 1 or perf_counter() - begun_s > _PIECE_S:
                yield
                begun_s = perf_counter()
        return kept

    def _passing(self, row: R) -> bool:
        if self._keep is not None and not self._keep(row):
            return False
        return self._matcher is None or self._matcher(self.shape.text(row).casefold())

    def _order(self, row: R) -> Order:
        assert self.by is not None
        return self.by.text(row).casefold() if self.by.order is None else self.by.order(row)

    def _ordered(self, keys: list[str]) -> Pieces[None]:
        for count, key in enumerate(keys):
            if key not in self._orders:
                self._orders[key] = self._order(self.rows[key])
            if count % PIECE == PIECE - 1:
                yield
        keys.sort(key=self._orders.__getitem__, reverse=self.descending)

    def _grouped(self, keys: list[str], by: Callable[[R], str]) -> Pieces[dict[str, Members[R]]]:
        members: dict[str, list[str]] = {}
        names: dict[str, str] = {}
        """Each once in memory, however many rows are in a group."""
        for count, key in enumerate(keys):
            group = self._groups.get(key)
            if group is None:
                name = _GROUP + by(self.rows[key])
                group = self._groups[key] = names.setdefault(name, name)
            members.setdefault(group, []).append(key)
            if count % PIECE == PIECE - 1:
                yield
        return {group: Members(of_group, self.rows, self.shape.kind) for group, of_group in members.items()}

    def _ordered_groups(self, members: dict[str, Members[R]]) -> Pieces[dict[str, Members[R]]]:
        assert self.by is not None
        for count, (group, rows) in enumerate(members.items()):
            if group not in self._group_orders:
                self._group_orders[group] = self._group_order(rows)
            if count % 200 == 199:
                yield
        ordered = sorted(members, key=self._group_orders.__getitem__, reverse=self.descending)
        return {group: members[group] for group in ordered}

    def _group_order(self, rows: Members[R]) -> Order:
        assert self.by is not None
        if self.by.group_order is not None:
            return self.by.group_order(rows)
        return self._order(rows[0]) if self.by.group is None else self.by.group(rows).casefold()
