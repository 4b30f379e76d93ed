"""Logs on screen: following, folding, searching, attempts, and whatever bytes a task prints."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from made_shots import EVIL, NOW_S, screen, type_fast, until, watching
from made_study import LOG, Study, study
from textual.pilot import Pilot
from textual.widgets import Input

from condhpc import log_tail
from condhpc.tui import folds, text_pane
from condhpc.tui import log as log_module
from condhpc.tui.app import Watch
from condhpc.tui.log import Log
from condhpc.tui.text_pane import TextPane
from condhpc.tui.view import Update


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """A study whose logs are looked at all the time."""
    monkeypatch.setattr(log_module, "POLL_S", 0.15)
    monkeypatch.setattr(log_module, "NEWEST_EVERY_S", 0.0)
    monkeypatch.setattr(log_module, "_NEWEST_SHARE", 0)
    return study(tmp_path)


def watch(made: Study) -> Watch:
    """An app on it."""
    app, _ = watching(made.shot, clock=lambda: NOW_S, folder=made.made.run, layout=made.made.layout)
    return app


def pane(app: Watch) -> TextPane:
    """The text."""
    return app.query_one(TextPane)


def title(app: Watch) -> str:
    """What is said above it."""
    return app.query_one(Log)._title.said


def failed_key(made: Study) -> str:
    """The task that failed."""
    return next(row.key for row in made.shot.rows if row.state == "failed")


async def opened(pilot: Pilot[None], app: Watch, key: str) -> None:
    """The log of a task."""
    await until(pilot, lambda: app.shot is not None)
    app.front.post_message(Log.Opened("log", key))
    await until(pilot, lambda: app.front.id == "log" and "1 of" in title(app) and bool(pane(app).lines))


async def test_without_a_task_the_newest_log_is_shown(made: Study) -> None:
    """It is read to its end, a bar that drew over itself as its last state."""
    app = watch(made)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("6")
        await until(pilot, lambda: len(pane(app).lines) > 0)
        assert list(pane(app).lines) == ["100%|==========", *LOG]
        assert "written last" in title(app)
        assert any("StageError: loss is nan" in line for line in screen(app))


async def test_all_attempts_and_the_diary_turn_round(made: Study) -> None:
    """The newest first, then the older one, then what the leases said, and the newest again."""
    made.made.ended(failed_key(made), "failed", "loss is nan")
    app = watch(made)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, app, failed_key(made))
        assert "1 of 3" in title(app)
        assert "608_0" in title(app)
        await pilot.press("right_square_bracket")
        await until(pilot, lambda: any("PREEMPTION" in line for line in pane(app).lines))
        assert "2 of 3" in title(app)
        assert "607_0" in title(app)
        await pilot.press("o")
        await until(pilot, lambda: any("attempt 1: failed" in line for line in pane(app).lines))
        assert "diary" in title(app)
        await pilot.press("right_square_bracket")
        await until(pilot, lambda: len(pane(app).lines) == 1 + len(LOG))
        await pilot.press("left_square_bracket")
        await until(pilot, lambda: any("attempt 1: failed" in line for line in pane(app).lines))


async def test_a_growing_log_is_followed_until_one_wants_to_read(made: Study) -> None:
    """The last line stays on screen; `f` stops that, and what is read stays where it is."""
    app = watch(made)
    path = made.made.run.logs / "sub-608" / "0.log"
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, app, failed_key(made))
        with path.open("a") as file:
            file.writelines(f"line {i}\n" for i in range(100))
        await until(pilot, lambda: any("line 99" in line for line in screen(app)))
        await pilot.press("f", "g")
        top = pane(app).scroll_offset.y
        with path.open("a") as file:
            file.write("the end\n")
        await until(pilot, lambda: pane(app).lines[-1] == "the end")
        assert pane(app).scroll_offset.y == top == 0
        await pilot.press("f")
        await until(pilot, lambda: any("the end" in line for line in screen(app)))


async def test_a_log_may_come_late(made: Study) -> None:
    """What was sent and has not begun says so; its log is shown as soon as it is there."""
    running = next(row.key for row in made.shot.rows if row.state == "running")
    made.made.submit([running], job="700")
    app = watch(made)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.shot is not None)
        app.front.post_message(Log.Opened("log", running))
        await until(pilot, lambda: "not there" in title(app))
        folder = made.made.run.logs / "sub-700"
        folder.mkdir()
        (folder / "0.log").write_text("first words\n")
        await until(pilot, lambda: list(pane(app).lines) == ["first words"])
        assert "not there" not in title(app)


async def test_the_newest_log_is_looked_for_again(made: Study) -> None:
    """Another that was written since takes its place, but not while one reads."""
    app = watch(made)
    folder = made.made.run.logs / "sub-608"
    newest_s = max(path.stat().st_mtime for path in made.made.run.logs.glob("*/*"))

    def written(name: str, later_s: float) -> None:
        (folder / name).write_text(f"words of {name}\n")
        os.utime(folder / name, (newest_s + later_s, newest_s + later_s))

    def look() -> None:
        app.post_message(Update(made.shot, {}))

    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("6")
        await until(pilot, lambda: len(pane(app).lines) > 0)
        written("7.log", 10.0)
        look()
        await until(pilot, lambda: list(pane(app).lines) == ["words of 7.log"])
        await pilot.press("f")
        written("8.log", 20.0)
        look()
        await pilot.pause()
        assert not [worker for worker in app.workers if worker.group == "log" and not worker.is_finished]
        assert list(pane(app).lines) == ["words of 7.log"]
        await pilot.press("f")
        look()
        await until(pilot, lambda: list(pane(app).lines) == ["words of 8.log"])


@pytest.mark.parametrize(
    ("keys", "shown", "place"),
    [([], "third words", "1 of 4"), (["f"], LOG[-1], "2 of 4"), (["o"], "PREEMPTION", "3 of 4")],
)
async def test_a_task_that_is_sent_again_has_another_log(made: Study, keys: list[str], shown: str, place: str) -> None:
    """It is turned to; who reads an older one, or does not follow, stays there and sees that there is one more."""
    app = watch(made)
    key = failed_key(made)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, app, key)
        await pilot.press(*keys)
        await until(pilot, lambda: "o" not in keys or "PREEMPTION" in str(pane(app).lines))
        made.made.submit([key], job="700")
        folder = made.made.run.logs / "sub-700"
        folder.mkdir()
        (folder / "0.log").write_text("third words\n")
        sent = msgspec.structs.replace(next(row for row in made.shot.rows if row.key == key), element="700_0")
        rows = [sent if row.key == key else row for row in made.shot.rows]
        app.post_message(Update(msgspec.structs.replace(made.shot, rows=rows), {key: sent}))
        await until(pilot, lambda: place in title(app) and shown in str(pane(app).lines))


async def test_search_marks_and_goes_round(made: Study) -> None:
    """As one types; `n` and `N` go on; escape forgets it; following ends, for one reads."""
    path = made.made.run.logs / "sub-608" / "0.log"
    path.write_text("".join(f"{i} {'LOSS' if i % 50 == 0 else ''}\n" for i in range(200)))
    app = watch(made)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, app, failed_key(made))
        await pilot.press("g", "slash", *"loss", "enter")
        assert pane(app).found == [0, 50, 100, 150]
        assert "'loss': 1 of 4" in title(app)
        assert "following" not in title(app)
        await pilot.press("n")
        assert "'loss': 2 of 4" in title(app)
        await until(pilot, lambda: any(line.startswith("50 LOSS") for line in screen(app)))
        await pilot.press("N", "N")
        assert "'loss': 4 of 4" in title(app)
        await pilot.press("escape")
        assert pane(app).found == []
        assert "'" not in title(app)


async def test_what_is_typed_fast_after_slash_is_searched(made: Study) -> None:
    """Many keys at once, a second slash among them, are all text."""
    app = watch(made)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, app, failed_key(made))
        type_fast(app, "/w/1")
        await until(pilot, lambda: pane(app).needle == "w/1")
        assert app.front.id == "log"
        assert not pane(app).wraps


@pytest.mark.parametrize(("end", "left"), [("\r", "los"), ("\x1b", "")])
async def test_what_is_typed_fast_after_a_search_acts(made: Study, end: str, left: str) -> None:
    """Enter keeps what was searched, escape forgets it; the key after either folds lines."""
    app = watch(made)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, app, failed_key(made))
        type_fast(app, f"/los{end}w")
        await until(pilot, lambda: pane(app).wraps and pane(app).needle == left)
        await pilot.pause()
        needle = app.query_one("#log-needle", Input)
        assert (needle.value, needle.display) == (left, bool(left))


async def test_scrolling_up_to_read_ends_following(made: Study) -> None:
    """New lines do not pull a reader away; a log that is too short to scroll is followed all the same."""
    app = watch(made)
    path = made.made.run.logs / "sub-608" / "0.log"
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, app, failed_key(made))
        await pilot.press("k")
        with path.open("a") as file:
            file.writelines(f"line {i}\n" for i in range(100))
        await until(pilot, lambda: any("line 99" in line for line in screen(app)))
        await pilot.resize_terminal(80, 20)
        await until(pilot, lambda: any("line 99" in line for line in screen(app)))
        assert "following" in title(app)
        await pilot.press("pageup")
        top = pane(app).scroll_offset.y
        with path.open("a") as file:
            file.write("the end\n")
        await until(pilot, lambda: pane(app).lines[-1] == "the end")
        assert pane(app).scroll_offset.y == top
        assert "following" not in title(app)


async def test_long_lines_fold(made: Study) -> None:
    """`w` folds at the edge, and again lets them run out; the text is the same."""
    path = made.made.run.logs / "sub-608" / "0.log"
    path.write_text("x" * 200 + "\nend\n")
    app = watch(made)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, app, failed_key(made))
        assert pane(app).virtual_size.height == 2
        await pilot.press("w")
        await pilot.pause()
        assert pane(app).virtual_size.height == 4
        assert "wrapped" in title(app)
        shown = [line.rstrip() for line in screen(app)]
        assert shown[shown.index("x" * 80) + 1] == "x" * 80
        await pilot.press("w")
        assert pane(app).virtual_size.height == 2


async def test_any_bytes_and_any_size(made: Study) -> None:
    """Control bytes, markup, wide and broken characters, folded or not: nothing is obeyed, nothing crashes."""
    path = made.made.run.logs / "sub-608" / "0.log"
    evil = "\n".join(EVIL).encode(errors="surrogateescape")
    path.write_bytes(evil + b"\n\xff\xfe\x00 \xe6\xbc\xa2\xe5\xad\x97" * 40 + b"\x1b]0;title\x07\x1b[2J\n")
    app = watch(made)
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(pilot, app, failed_key(made))
        await pilot.press("slash", *"[b", "enter")
        for size in ((40, 10), (12, 4), (33, 9)):
            await pilot.press("w", "g", "G", "w", "right", "left")
            await pilot.resize_terminal(*size)
            await pilot.pause()
            assert not {"\x1b", "\r", "\t", "\u202e", "\x00"} & set("".join(screen(app)))
        assert app.is_running


async def test_a_task_of_another_world_has_no_log(made: Study) -> None:
    """A key that no plan knows: words."""
    app = watch(made)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.shot is not None)
        app.front.post_message(Log.Opened("log", "f" * 32))
        await until(pilot, lambda: list(pane(app).lines) == ["nothing is known of this task"])


async def test_a_damaged_run_is_told(made: Study) -> None:
    """Submissions that cannot be read leave the diary and say why."""
    made.made.run.submissions.write_text('{"type": "of another version"}\n')
    app = watch(made)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.shot is not None)
        app.front.post_message(Log.Opened("log", failed_key(made)))
        await until(pilot, lambda: "not a line that this condhpc knows" in title(app))


async def test_a_log_that_grows_is_not_measured_anew(made: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only lines that are new are measured and searched; what came of the others is as if all had been."""
    app = watch(made)
    asked: list[int] = []
    rows, find = folds.rows, log_tail.matching

    def counted_rows(lines: Sequence[str], width: int) -> list[int]:
        asked.append(len(lines))
        return rows(lines, width)

    def counted_find(lines: Sequence[str], needle: str) -> list[int]:
        asked.append(len(lines))
        return find(lines, needle)

    lines = [f"{i} {'nan' if i % 7 == 0 else ''} \u6f22\u5b57" + "x" * (i % 200) for i in range(900)]
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("6")
        text = pane(app)
        await until(pilot, lambda: text.size.width > 0 and len(text.lines) > 0)
        app.query_one(Log)._sources = []  # nobody looks any more
        text.set_lines(lines[:500])
        text.set_wrap(wraps=True)
        text.search("nan")
        text.go(30 - text.here)
        place = text.found[text.here]
        monkeypatch.setattr(folds, "rows", counted_rows)
        monkeypatch.setattr(text_pane, "matching", counted_find)
        for first in (0, 5, 10):
            asked.clear()
            text.set_lines(lines[first : first + 510], dropped=5 if first else 0)
            assert max(asked) <= 10
        assert text.found == find(text.lines, "nan")
        assert text.virtual_size.height == sum(rows(text.lines, text.size.width))
        assert text.lines[text.found[text.here]] == lines[place]
        text.search("nanx")
        assert asked[-1] < 100
        assert text.found == find(text.lines, "nanx")


@pytest.mark.parametrize("size", [(80, 24), (40, 10)])
async def test_how_it_stands_is_on_screen_before_names(made: Study, size: tuple[int, int]) -> None:
    """What is not shown, what was searched and whether it follows are seen on narrow screens, too."""
    path = made.made.run.logs / "sub-608" / "0.log"
    with path.open("wb") as file:
        file.truncate(3 << 30)
        file.seek(3 << 30)
        file.write(b"\nline" * 100)
    app = watch(made)
    async with app.run_test(size=size) as pilot:
        await opened(pilot, app, failed_key(made))
        await until(pilot, lambda: any("its end; 3.0 GiB before" in line for line in screen(app)))
        assert size[0] < 80 or any("following" in line for line in screen(app))
        path.write_text("".join(f"line {i}\n" for i in range(100)))
        await until(pilot, lambda: any(line.startswith("following  1 of") for line in screen(app)))
        await pilot.press("slash", *"ne 4", "enter")
        await until(pilot, lambda: any(line.startswith("'ne 4': 1 of 11") for line in screen(app)))
        assert size[0] < 80 or any("digits minimax" in line for line in screen(app))
