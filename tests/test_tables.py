"""Tables for terminals and files."""

from __future__ import annotations

from pathlib import Path

import pytest

from condhpc.tables import aligned, duration, printable, progress_text, write_csv


def test_columns_are_aligned_numbers_to_the_right() -> None:
    """A column of numbers ends at one edge, text begins at one edge, nothing trails."""
    lines = aligned(("name", "n", "top1 %"), [("random", 3, 71.234), ("k", 12, None)])
    assert lines == ["name     n  top1 %", "random   3   71.23", "k       12"]


def test_an_empty_table_is_its_header() -> None:
    """No rows, no crash."""
    assert aligned(("a", "b"), []) == ["a  b"]


def test_nothing_reaches_a_terminal_that_it_would_obey() -> None:
    """Escape sequences, line breaks, direction overrides and lone surrogates lose their power; umlauts stay."""
    assert printable("\x1b[31mred\n\u202eÄ\udc80") == "?[31mred??Ä?"
    assert printable("[/x]") == "[/x]"


def test_csv_has_line_feeds_shortest_floats_and_quotes(tmp_path: Path) -> None:
    """Byte by byte what is promised, in a folder that did not exist, with no temporary file left."""
    path = write_csv(tmp_path / "out" / "t.csv", ("a", "b"), [(0.1, None), ('x,"y"', 2)])
    assert path.read_bytes() == b'a,b\n0.1,\n"x,""y""",2\n'
    assert [p.name for p in path.parent.iterdir()] == ["t.csv"]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-1.0, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (60.0, "1 min"),
        (3599.0, "60 min"),
        (3600.0, "1.0 h"),
        (2e5, "2.3 d"),
    ],
)
def test_durations_have_one_unit(seconds: float, shown: str) -> None:
    """A clock that is behind gives no negative time."""
    assert duration(seconds) == shown


def test_progress_tells_what_is_left_first() -> None:
    """Steps, time left, pace, then whatever the stage reports; nothing before the first step."""
    values = {"loss": 1.25, "images_s": 0.25, "eta_s": 90.0, "bn": 12345.678}
    assert progress_text(3, 9, values) == "3/9, 2 min left, 0.25 images/s, loss 1.25, bn 1.235e+04"
    assert progress_text(3, 9, {"images_s": 12345.6}) == "3/9, 12,346 images/s"
    assert progress_text(0, 0, {}) == ""
