"""What views share: the newest row of a task."""

from __future__ import annotations

import random

from made_shots import row

from condhpc.findings import Row
from condhpc.tui.view import Known


def test_the_newest_row_of_any_task() -> None:
    """As a look-up in the newest rows says, whatever was asked before and however tasks came, went and moved."""
    order = random.Random(7)
    known, rows = Known(), list[Row]()
    for look in range(300):
        if order.random() < 0.5:
            kept = [held for held in rows if order.random() < 0.9]
            rows = [*kept, row(f"new {look}")] if order.random() < 0.5 else order.sample(kept, len(kept))
            rows = [row(held.key, "running", str(look)) if order.random() < 0.3 else held for held in rows]
            known.take(rows)
        else:
            wanted = f"new {order.randrange(look + 1)}"
            assert known.get(wanted) is next((held for held in rows if held.key == wanted), None)


def test_a_task_that_comes_later_is_found() -> None:
    """Asked for in vain before, as the log of a task is that the first look did not hold."""
    known = Known()
    assert known.get("a") is None
    known.take([row("b"), row("a")])
    assert known.get("a") == row("a")


def test_the_same_task_is_searched_for_once() -> None:
    """Again and again in look after look, as long as it stays where it is."""

    class Counted(list[Row]):
        """Rows that count who goes through them."""

        def __iter__(self) -> object:  # type: ignore[override]
            """Count."""
            searches.append(1)
            return super().__iter__()

    searches: list[int] = []
    known = Known()
    for look in range(5):
        known.take(Counted([row("a"), row("b", detail=str(look))]))
        assert known.get("b") == row("b", detail=str(look))
    assert searches == [1]
