"""Widths and folds of many lines at once, against Rich's own, line by line."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len, chop_cells

from condhpc.tui import folds

_ALPHABET = "ab c1\u00e9\u2588\u6f22\u5b57\U0001f600\u0301"


def made(seed: int) -> list[str]:
    """Lines of narrow, wide and combining characters; some empty, some ASCII."""
    draw = random.Random(seed)
    texts = ["".join(draw.choices(_ALPHABET, k=draw.randrange(60))) for _ in range(60)]
    return ["", "x" * 24, "\u6f22" * 12, *texts, "x" * 25]


@pytest.mark.parametrize("seed", range(4))
def test_widths_are_those_of_rich(seed: int) -> None:
    """Wide, combining and narrow characters."""
    lines = made(seed)
    assert folds.cells(lines) == [cell_len(line) for line in lines]


@pytest.mark.parametrize("width", [2, 3, 12, 80])
def test_folds_are_those_of_rich(width: int) -> None:
    """As many, and the same, whether asked for one line or for all."""
    lines = made(width)
    expected = [chop_cells(line, width) or [""] for line in lines]
    assert folds.rows(lines, width) == [len(parts) for parts in expected]
    assert [folds.parts(line, width) for line in lines] == expected


def test_a_character_wider_than_the_screen_has_a_line_of_its_own() -> None:
    """It is cut by the screen; nothing goes round for ever."""
    assert folds.rows(["\u6f22\u5b57"], 1) == [2]
    assert folds.parts("\u6f22\u5b57", 1) == ["\u6f22", "\u5b57"]


def test_what_widens_the_character_before_it_never_makes_a_part_too_long() -> None:
    """A heart with a selector takes two cells."""
    line = "\u2764\ufe0f" * 9
    assert folds.cells([line]) == [cell_len(line)]
    assert max(map(cell_len, folds.parts(line, 6))) == 6


@given(st.text(alphabet=_ALPHABET, max_size=80), st.integers(2, 30))
def test_words_fit_and_nothing_but_spaces_is_lost(text: str, width: int) -> None:
    """No line is too long, and all characters are there in their order."""
    lines = folds.words(text, width)
    assert max(map(cell_len, lines)) <= width
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_words_stay_whole_where_they_can() -> None:
    """A line breaks at its last space, a word that is too long at the edge."""
    assert folds.words("the set is gone", 8) == ["the set", "is gone"]
    assert folds.words("a longest/path", 6) == ["a", "longes", "t/path"]
    assert folds.words("", 5) == [""]
