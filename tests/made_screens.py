"""Pictures of the watch app against those that were looked at before."""

from __future__ import annotations

import os
import re
from pathlib import Path

from textual.app import App

FOLDER = Path(__file__).parent / "tui" / "screens"
_FONTS = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)


def picture(app: App[None]) -> str:
    """The screen as SVG, in the viewer's own fonts: without a place on the network."""
    return _FONTS.sub("", app.export_screenshot(title="condhpc watch", simplify=True))


def assert_screen(app: App[None], name: str, tmp_path: Path) -> None:
    """The screen is what `tests/tui/screens/<name>.svg` shows.

    With CONDHPC_GOLDEN=add a missing picture is added. One that is there is never changed: delete it first, and
    look at the new one before you commit it.
    """
    golden, now = FOLDER / f"{name}.svg", picture(app)
    if not golden.exists() and os.environ.get("CONDHPC_GOLDEN") == "add":
        FOLDER.mkdir(exist_ok=True)
        golden.write_text(now, encoding="utf-8")
    assert golden.exists(), f"{golden} is missing; CONDHPC_GOLDEN=add adds it"
    if golden.read_text(encoding="utf-8") != now:
        seen = tmp_path / golden.name
        seen.write_text(now, encoding="utf-8")
        raise AssertionError(f"the screen is not {golden}; look at {seen}")
