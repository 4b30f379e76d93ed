"""CSV texts against the standard library's writer."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from condhpc import csv_text
from condhpc.csv_text import Columns

NUMBERS = st.one_of(
    st.none(),
    st.floats(),
    st.integers(),
    st.sampled_from([0.0, -0.0, 1e-4, 9.999999e-5, 1e15, 9999999999999998.0, 1e16, 1e22, 1.0, 5e-324, 100 / 3, 2**63]),
)
TEXTS = st.one_of(st.text(), st.sampled_from(["", " ", ",", '"', "a\rb", "\n", "null", "None", "\0", "\ud800", "\x1f"]))
COLUMN_KINDS = st.sampled_from([NUMBERS, TEXTS, st.one_of(NUMBERS, TEXTS), st.booleans(), st.none(), st.floats()])


def plain(header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    """By csv.writer."""
    held = io.StringIO()
    writer = csv.writer(held, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return held.getvalue()


@st.composite
def tables(draw: st.DrawFn) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """Columns of any kinds, with headers of any text."""
    kinds = draw(st.lists(COLUMN_KINDS, min_size=1, max_size=5))
    rows = draw(st.lists(st.tuples(*kinds), max_size=12))
    return tuple(draw(TEXTS) for _ in kinds), rows


@settings(max_examples=150)
@given(tables())
def test_bytes_are_those_of_the_standard_library(table: tuple[tuple[str, ...], list[tuple[Any, ...]]]) -> None:
    """Whatever the cells: by rows and by columns."""
    header, rows = table
    expected = plain(header, rows)
    assert csv_text.text(header, rows) == expected
    assert csv_text.text(header, Columns(list(zip(*rows, strict=True)))) == expected


def test_long_tables_are_written_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one block ends and the next begins nothing is lost or doubled."""
    rows = [(i, i / 3, f"k{i}") for i in range(10)]
    monkeypatch.setattr(csv_text, "_ROWS", 4)
    for given_rows in (rows, Columns(list(zip(*rows, strict=True)))):
        assert csv_text.text(("a", "b", "c"), given_rows) == plain(("a", "b", "c"), rows)


def test_columns_are_rows_to_whoever_iterates() -> None:
    """Twice, if need be."""
    held = Columns([[1, 2], ["a", "b"]])
    assert list(held) == list(held) == [(1, "a"), (2, "b")]
