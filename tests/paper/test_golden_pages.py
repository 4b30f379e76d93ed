"""Pages letter by letter, from a made run. `CONDHPC_GOLDEN=add` writes missing golden pages and changes none.

To accept a change, delete the golden page, add it anew and read the difference.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from made_papers import Written

GOLDEN = Path(__file__).parent / "golden"
PAGES = (
    *(f"{table}.{kind}" for table in ("accuracy", "cost", "metrics") for kind in ("csv", "md", "tex")),
    "verdict.md",
)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_as_it_was(written: Written, name: str) -> None:
    """Whoever changes a number or a word of a page sees it here."""
    found, golden = (written.folder / name).read_text(encoding="utf-8"), GOLDEN / name
    if not golden.exists() and os.environ.get("CONDHPC_GOLDEN") == "add":
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(found, encoding="utf-8")
    assert golden.exists(), f"{golden.name} is missing; run with CONDHPC_GOLDEN=add"
    assert found == golden.read_text(encoding="utf-8")


def test_every_table_page_has_a_golden_one(written: Written) -> None:
    """A page that is added to the family is added here."""
    texts = {path.name for path in written.paths if path.suffix not in {".png", ".svg"}}
    assert texts == set(PAGES)
    assert written.study.problems == []
