"""Exchanged lines, against a list of them."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from condhpc import kept_lines
from condhpc.kept_lines import KeptLines

_lines = st.binary(max_size=6)


@given(st.lists(_lines, max_size=12), st.data())
def test_exchanged_lines_are_those_of_a_list(lines: list[bytes], data: st.DataObject) -> None:
    """Twice, with the file between: longer, shorter and empty ones, in any places."""
    kept = kept_lines.keep(lines)
    for _ in range(2):
        places = st.sets(st.integers(0, len(lines) - 1)) if lines else st.just(set[int]())
        new = {place: data.draw(_lines) for place in data.draw(places)}
        lines = [new.get(i, line) for i, line in enumerate(lines)]
        kept = msgspec.msgpack.decode(msgspec.msgpack.encode(kept.exchanged(new)), type=KeptLines)
        assert kept.data == b"".join(lines)
        assert kept == kept_lines.keep(lines)
