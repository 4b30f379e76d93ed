"""The line of keys."""

from __future__ import annotations

from made_shots import row, screen, shot, until, watching
from textual.widgets._footer import FooterKey

from condhpc.tui.foot import Foot


async def test_the_same_keys_stay_as_they_are() -> None:
    """Nothing is made anew while the same keys work; another view's keys take their place."""
    app, _ = watching(shot(row("a" * 32), row("b" * 32)))
    async with app.run_test(size=(120, 24)) as pilot:
        await pilot.press("2")
        line = app.query_one(Foot)
        await until(pilot, lambda: "Group by" in screen(app)[-1])
        held = list(line.query(FooterKey))
        line.bindings_changed(app.screen)
        await pilot.press("x", "j", "k")
        await pilot.pause()
        assert list(line.query(FooterKey)) == held
        await pilot.press("1")
        await until(pilot, lambda: "Group by" not in screen(app)[-1])


async def test_a_click_does_what_the_key_does() -> None:
    """Each action stands there once, with its first key."""
    app, _ = watching(shot(row("a" * 32, "failed")))
    async with app.run_test(size=(120, 24)) as pilot:
        await pilot.press("2")
        await until(pilot, lambda: "Failures only" in screen(app)[-1])
        keys = list(app.query_one(Foot).query(FooterKey))
        assert len({key.action for key in keys}) == len(keys)
        assert "failures only" not in "\n".join(screen(app))
        await pilot.click(next(key for key in keys if key.action == "failures"))
        await until(pilot, lambda: "failures only" in "\n".join(screen(app)))
