"""The README's pictures are what the views look like."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import screenshots
from made_study import study


@pytest.mark.parametrize("name", screenshots.SHOTS)
async def test_pictures_are_up_to_date(name: str, tmp_path: Path) -> None:
    """`python tests/screenshots.py` writes them anew; look at them before you commit them."""
    with contextlib.chdir(tmp_path):
        now = await screenshots.taken(study(Path("scratch")), name)
    held = (screenshots.FOLDER / f"{name}.svg").read_text(encoding="utf-8")
    if now != held:
        (tmp_path / f"{name}.svg").write_text(now, encoding="utf-8")
    assert now == held, f"look at {tmp_path / name}.svg beside {screenshots.FOLDER / name}.svg"


def test_every_picture_is_in_the_readme() -> None:
    """None is kept that nobody sees."""
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    held = {path.name for path in screenshots.FOLDER.glob("*.svg")}
    assert held == {f"{name}.svg" for name in screenshots.SHOTS}
    assert all(f"tests/screenshots/{name}" in readme for name in held)
