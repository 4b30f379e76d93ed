"""How questions are shown."""

from __future__ import annotations

import pytest
from made_shots import screen, type_fast, until
from textual.app import App

from condhpc.tui.ask import Answers, Ask, Field, positive, whole_number


@pytest.mark.parametrize("size", [(80, 24), (40, 12)])
async def test_question_fields_and_both_answers_are_in_sight(size: tuple[int, int]) -> None:
    """On a narrow screen, too: what is asked, what is to be typed, and how to say yes and no."""
    app = App[None]()
    async with app.run_test(size=size) as pilot:
        app.push_screen(Ask(["Cancel 3 tasks?"], [Field("memory in GB", positive, "as before")]))
        await until(pilot, lambda: "Yes (enter)" in "\n".join(screen(app)))
        text = "\n".join(screen(app))
        for words in ("Cancel 3 tasks?", "memory in GB:", "as before", "No (esc)"):
            assert words in text


async def test_keys_on_the_buttons_are_those_that_work() -> None:
    """Letters where nothing is to be typed; in a field these are text."""
    app = App[None]()
    async with app.run_test() as pilot:
        app.push_screen(Ask(["Cancel 3 tasks?"]))
        await until(pilot, lambda: any("No (n)" in line and "Yes (y)" in line for line in screen(app)))


def asking(app: App[None]) -> list[Answers | None]:
    """A question with two fields on screen; what is answered comes here."""
    answers: list[Answers | None] = []
    fields = [Field("minutes", whole_number(1)), Field("memory in GB", positive)]
    app.push_screen(Ask(["Try again?"], fields), answers.append)
    return answers


@pytest.mark.parametrize("typed", ["120\r3.5\r", "120\t3.5\r", "120\t3.5\ty"])
async def test_what_is_typed_fast_lands_in_its_own_field(typed: str) -> None:
    """However many keys come at once, and with either key between the fields."""
    app = App[None]()
    async with app.run_test() as pilot:
        answers = asking(app)
        await until(pilot, lambda: app.focused is not None)
        type_fast(app, typed)
        await until(pilot, lambda: answers == [[120, 3.5]])


async def test_what_is_amiss_has_the_focus() -> None:
    """The next key is typed into that field; the answer takes both."""
    app = App[None]()
    async with app.run_test() as pilot:
        answers = asking(app)
        await until(pilot, lambda: app.focused is not None)
        type_fast(app, "0\r3.5\r")
        await until(pilot, lambda: any("expected a whole number" in line for line in screen(app)))
        assert answers == []
        await pilot.press("backspace", "7", "enter", "enter")
        assert answers == [[7, 3.5]]
