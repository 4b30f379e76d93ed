"""Lines of a table against a plain filter, sort and group of the same rows."""

from __future__ import annotations

import dataclasses
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from condhpc.tui import table as table_module
from condhpc.tui.matching import is_costly, matcher
from condhpc.tui.table import Column, Shape, Table


@dataclasses.dataclass(frozen=True)
class Item:
    """A row."""

    name: str
    shelf: str
    size: int


NAME = Column[Item]("name", lambda item: item.name, 8)
SIZE = Column[Item](
    "size",
    lambda item: str(item.size),
    4,
    order=lambda item: item.size,
    group_order=lambda items: sum(i.size for i in items),
)
SHELF = Column[Item]("shelf", lambda item: item.shelf, 4, group=lambda items: f"{items[0].shelf} {len(items)}")
SHAPE = Shape(
    columns=(NAME, SIZE, SHELF),
    key=lambda item: item.name,
    text=lambda item: f"{item.name} {item.shelf}",
    kind=lambda item: str(item.size),
)

items = st.lists(
    st.builds(Item, st.text("abAB", min_size=1, max_size=4), st.sampled_from("xyz"), st.integers(0, 3)),
    unique_by=lambda item: item.name,
    max_size=12,
)


def made(rows: list[Item]) -> Table[Item]:
    """A table of these rows."""
    table = Table(SHAPE)
    table.replace(rows)
    table.arrange_now()
    return table


def expected(rows: list[Item], needle: str, by: Column[Item] | None, *, descending: bool) -> list[str]:
    """Keys as plain Python finds them."""
    kept = [row for row in rows if needle.casefold() in f"{row.name} {row.shelf}".casefold()]
    if by is SIZE:
        kept.sort(key=lambda row: row.size, reverse=descending)
    elif by is not None:
        kept.sort(key=lambda row: by.text(row).casefold(), reverse=descending)
    return [row.name for row in kept]


@given(
    rows=items,
    changes=items,
    needle=st.sampled_from(["", "a", "B", "x"]),
    by=st.sampled_from([None, NAME, SIZE, SHELF]),
    descending=st.booleans(),
)
def test_lines_are_those_of_a_plain_filter_and_sort(
    *, rows: list[Item], changes: list[Item], needle: str, by: Column[Item] | None, descending: bool
) -> None:
    """Whatever changes come in between: lines that need no arranging are as right as those that were arranged."""
    table = made(rows)
    table.where(matcher(needle))
    table.sort(by, descending=descending)
    table.arrange_now()
    assert table.shown == expected(rows, needle, by, descending=descending)
    now = {row.name: row for row in rows}
    for change in changes:
        now[change.name] = change
        if table.change([change]):
            table.arrange_now()
        assert table.shown == expected(list(now.values()), needle, by, descending=descending)


@given(rows=items, changes=items, needle=st.sampled_from(["", "a"]), is_open=st.booleans())
def test_groups_hold_their_rows_and_count_them(
    *, rows: list[Item], changes: list[Item], needle: str, is_open: bool
) -> None:
    """Groups in the order of their first row; members, counts and open lines follow every change."""
    table = made(rows)
    table.group(lambda item: item.shelf)
    table.where(matcher(needle))
    table.arrange_now()
    now = {row.name: row for row in rows}
    for change in [None, *changes]:
        if change is not None:
            now[change.name] = change
            if table.change([change]):
                table.arrange_now()
        if is_open:
            table.open = {key for key in table.shown if table.is_group(key)}
        table.unfold()
        kept = [row for row in now.values() if needle.casefold() in f"{row.name} {row.shelf}".casefold()]
        shelves = list(dict.fromkeys(row.shelf for row in kept))
        lines = [key for key in table.shown if table.is_group(key)]
        assert [table.cells(line)[2] for line in lines] == [
            f"{shelf} {sum(row.shelf == shelf for row in kept)}" for shelf in shelves
        ]
        for line, shelf in zip(lines, shelves, strict=True):
            inside = [row for row in kept if row.shelf == shelf]
            assert table.members(line) == [row.name for row in inside]
            for size in range(4):
                assert table.rows_of(line).tally[str(size)] == sum(row.size == size for row in inside)
        assert len(table.shown) == len(lines) + (len(kept) if is_open else 0)


def test_groups_are_sorted_by_what_their_column_says_of_them() -> None:
    """Groups by the sum of their sizes, rows inside by their own."""
    table = made([Item("a", "x", 2), Item("b", "y", 1), Item("c", "x", 1), Item("d", "y", 3)])
    table.group(lambda item: item.shelf)
    table.sort(SIZE, descending=True)
    table.arrange_now()
    table.open = set(table.shown)
    table.unfold()
    assert [key.lstrip("\0") for key in table.shown] == ["y", "d", "b", "x", "a", "c"]


def test_a_row_that_changes_during_a_pause_is_judged_as_it_is_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in pieces looks at rows as they are when their turn comes."""
    monkeypatch.setattr(table_module, "PIECE", 2)
    table = made([Item(name, "x", 0) for name in "abcdef"])
    table.where(matcher("x"))
    work = table.arrange()
    next(work)
    assert table.change([Item("a", "z", 0)])  # judged already: lines must be arranged anew
    assert not table.change([Item("f", "z", 0)])  # its turn is to come
    for _ in work:
        pass
    table.arrange_now()
    assert table.shown == ["b", "c", "d", "e"]


@pytest.mark.parametrize(
    ("needle", "found"),
    [
        ("", "abcd"), ("  ", "abcd"), ("!", "abcd"), ("BOOM", "a"), ("!boom", "bcd"),
        ("b..m", "a"), ("[/x", "b"),
        ("1.5", "cd"), (r"\D 1\.", "c"), ("!O[A-Z]", "bd"), ("^two", "d"), ("!(one|two)", "ab"),
        ("(", ""), ("*", ""), ("[/x]", "b"), ("a{99999999999}", ""),
    ],
)  # fmt: skip
def test_needles(needle: str, found: str) -> None:
    """A text, a regular expression, an inverse; what is no regular expression is a text."""
    texts = {"a": "Boom", "b": "x[/x] 0", "c": "one 1.5", "d": "Two 125"}
    test = matcher(needle)
    kept = "".join(key for key, text in texts.items() if test is None or test(text.casefold()))
    assert kept == found


@pytest.mark.parametrize(
    ("needle", "costly"),
    [
        ("(a+)+$", True), ("!(a|a)*b", True), ("(?:a|ab){9,}c", True), (".*.*.*b", True), ("a?a?a?a?aaaa", True),
        ("(a|b)(a|b)(a|b)", True), ("(?#[)(a+)+(?#])", True), ("\\d+ .+ x{2}", True),
        ("loss.*nan", False), ("(one|two)?", False), ("[(*+?]{2}.*", False), (r"\(\)*\*\+\?", False),
        ("a[]*+)]b+?", False),
        ("plain text", False),
    ],
)  # fmt: skip
def test_needles_that_could_take_for_ever_are_texts(needle: str, costly: bool) -> None:  # noqa: FBT001
    """Repeats of groups and many repeats; sets of characters and escaped ones count as what they are."""
    assert is_costly(needle) == costly
    test = matcher(needle)
    assert test is not None
    wanted = needle.removeprefix("!")
    assert test(f"before {wanted} after") != needle.startswith("!")
    assert not costly or test("a" * 64) == needle.startswith("!")


def test_the_worst_needle_that_is_taken_is_bounded() -> None:
    """Megabytes of what it can share out in most ways: no more is looked at than the first characters."""
    test = matcher(".*a.*b")
    assert test is not None
    begun = time.process_time()
    assert not test("a" * 4_000_000)
    assert time.process_time() - begun < 2.0
    assert not test("c" * 256 + "ab")
    assert test("c" * 254 + "ab")


def test_what_leads_a_needle_is_left_out_where_it_says_nothing() -> None:
    """`.*x` is found where `x` is; a repeat that keeps what it took is another thing."""
    assert [bool((test := matcher(needle)) and test("aba")) for needle in (".*b", ".*.*?b", ".*", ".*+b", "^.*b")] == [
        True, True, True, False, True,
    ]  # fmt: skip


def test_a_slow_filter_is_applied_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a row takes: keys are answered every few rows."""
    monkeypatch.setattr(table_module, "_PIECE_S", -1.0)
    table = made([Item(name, "x", 0) for name in "abcde"])
    table.where(matcher("[a-c]"))
    assert len(list(table.arrange())) == 5
    assert table.shown == ["a", "b", "c"]


@given(st.text())
def test_any_text_can_be_a_needle(text: str) -> None:
    """No text that one may type raises; and what is typed is found where it stands."""
    test = matcher(text)
    stripped = text.strip()
    if test is not None and not stripped.startswith("!"):
        assert test(f"before {stripped.casefold()} after")
