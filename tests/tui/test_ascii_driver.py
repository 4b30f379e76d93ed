"""What terminals without UTF-8 are shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from condhpc.tui.ascii_driver import is_ascii_only, stand_in


@given(st.characters())
def test_a_stand_in_is_ascii_and_as_wide(char: str) -> None:
    """Lines keep their length whatever is in them."""
    assert stand_in(char).isascii()
    assert char.isascii() or len(stand_in(char)) == cell_len(char)


def test_what_we_draw_stays_readable() -> None:
    """Folds, arrows, bars, rules and accents."""
    assert "".join(map(stand_in, "▸ ▾ ▲ █░ ─ é … ±")) == "> v ^ #. - e ~ +"


@pytest.mark.parametrize(
    ("environ", "ascii_only"),
    [
        ({"LANG": "C"}, True), ({}, True), ({"LANG": "en_US.UTF-8"}, False), ({"LANG": "C.utf8"}, False),
        ({"LANG": "de_DE.UTF-8", "LC_ALL": "C"}, True), ({"LANG": "C", "LC_CTYPE": "en_US.UTF-8"}, False),
        ({"LANG": "C", "LC_CTYPE": "C.UTF-8"}, True), ({"LANG": "de_DE.ISO-8859-1"}, True),
        ({"LANG": "en_US.UTF-8", "LC_CTYPE": "C.UTF-8"}, False), ({"LC_ALL": "C.UTF-8"}, False),
    ],
)  # fmt: skip
def test_locales(environ: dict[str, str], *, ascii_only: bool) -> None:
    """LC_ALL before LC_CTYPE before LANG; what Python itself put into LC_CTYPE is not the user's."""
    assert is_ascii_only(environ) is ascii_only
