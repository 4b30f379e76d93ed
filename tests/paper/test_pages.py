"""Rendering: marks, footnotes, and text that would be markup."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from condhpc.paper import pages
from condhpc.paper.pages import Grid, Page, Value


def page(*cells: Value) -> Page:
    """One table with one row."""
    header = ("name", *(f"c{i}" for i in range(1, len(cells))))
    return Page("Title", ("How to read it.",), [Grid("A grid", header, [list(cells)])])


def test_marks_of_markdown() -> None:
    """Best bold, ties italic, footnotes as letters below the table, each text once."""
    text = pages.markdown(
        page(
            Value("a_b"),
            Value("1.0", best=True),
            Value("0.9", tied=True, notes=("why", "how")),
            Value("0.1", notes=("how",)),
        )
    )
    assert "| a\\_b | **1.0** | *0.9* (a, b) | 0.1 (b) |" in text
    assert text.endswith("- (a) why\n- (b) how\n")
    assert "| --- | ---: | ---: | ---: |" in text


def test_marks_of_latex() -> None:
    """The same for booktabs: bold, underlined, superscripts, one alignment letter per column."""
    text = pages.latex(page(Value("a_b & c"), Value("50 ± 1 %", best=True), Value("−3", tied=True, notes=("why",))))
    assert "a\\_b \\& c & \\textbf{50 $\\pm$ 1 \\%} & \\underline{$-$3}$^{a}$ \\\\" in text
    assert "\\begin{tabular}{lrr}" in text
    assert "$^{a}$ why." in text
    assert text.count("\\begin{table}") == text.count("\\end{table}") == 1


@given(st.text(max_size=30))
def test_any_text_stays_in_its_cell(text: str) -> None:
    """No name ends a cell or a line, opens a group or a comment: separators are those of the table alone."""
    row = next(line for line in pages.markdown(page(Value(text), Value("x"))).splitlines() if line.endswith("x |"))
    assert len(re.findall(r"(?<!\\)\|", re.sub(r"\\\\", "", row))) == 3
    bare = re.sub(r"\\[&%$#_{}]|\\text[a-z]+\{\}|\$\\[a-z]+\$|\$-\$", "", pages.tex(text))
    assert not set(bare) & set("\\&%$#_{}~^\n")


@pytest.mark.parametrize(("number", "letters"), [(0, "a"), (25, "z"), (26, "aa"), (51, "az"), (52, "ba")])
def test_letters_go_on_after_z(number: int, letters: str) -> None:
    """As columns of a spreadsheet."""
    assert pages.mark(number) == letters


@pytest.mark.parametrize(
    ("value", "text"), [(3.25, "+3.2"), (-0.44, "−0.4"), (0.04, "0.0"), (-0.04, "0.0"), (0.0, "0.0")]
)
def test_signs(value: float, text: str) -> None:
    """A minus, not a hyphen; what rounds to 0 has no sign."""
    assert pages.signed(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (0.0123456, "0.0123"), (1234.6, "1235"), (2.5e-7, "2.50e-07"), (12.0, "12")]
)
def test_significant_digits(value: float, text: str) -> None:
    """Three of them."""
    assert pages.significant(value) == text


def test_words() -> None:
    """As sentences have lists."""
    assert [pages.words(names) for names in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]
