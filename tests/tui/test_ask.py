"""How questions are shown."""

from __future__ import annotations

import pytest
from made_shots import screen, until
from textual.app import App

from condhpc.tui.ask import Ask, Field, positive


@pytest.mark.parametrize("size", [(80, 24), (40, 12)])
async def test_question_fields_and_both_answers_are_in_sight(size: tuple[int, int]) -> None:
    """On a narrow screen, too: what is asked, what is to be typed, and how to say yes and no."""
    app = App[None]()
    async with app.run_test(size=size) as pilot:
        app.push_screen(Ask(["Cancel 3 tasks?"], [Field("memory in GB", positive, "as before")]))
        await until(pilot, lambda: "Yes (y)" in "\n".join(screen(app)))
        text = "\n".join(screen(app))
        for words in ("Cancel 3 tasks?", "memory in GB:", "as before", "No (n)"):
            assert words in text
