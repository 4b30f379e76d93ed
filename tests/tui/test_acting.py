"""Actions: what they ask, what they call, and that nothing is called without a yes."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from made_shots import EVIL, NOW_S, Source, row, screen, shot, until, watching
from made_study import Study, study
from textual.pilot import Pilot

from condhpc.errors import InputError, SchedulerError
from condhpc.findings import Snapshot
from condhpc.stakes import Stakes
from condhpc.tui.app import Watch
from condhpc.tui.ask import Ask
from condhpc.tui.help import Menu
from condhpc.tui.tasks import Tasks


class Recorder:
    """Notes what is asked of it; an error in its place is raised."""

    def __init__(self, error: Exception | None = None, said: str = "done") -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.error = error
        self.said = said
        self.nothing = False

    def _note(self, *call: Any) -> list[str]:
        self.calls.append(call)
        if self.error is not None:
            raise self.error
        return [self.said]

    def stakes(self, keys: Iterable[str], shot: Snapshot) -> Stakes:
        """Two elements that hold another task, and two tasks that rest on them."""
        assert shot.rows
        found = [] if self.nothing else list(keys)
        return Stakes(
            keys=found, others=["x"], dependants=["y", "z"], elements=2, running=1, waiting=1, gpu_h=2.5, cpu_h=10.0
        )

    def cancel(self, keys: Collection[str]) -> list[str]:
        """Noted."""
        return self._note("cancel", list(keys))

    def retry(
        self,
        keys: Collection[str],
        *,
        time_min: int | None = None,
        mem_gb: float | None = None,
        accept_code: bool = False,
    ) -> list[str]:
        """Noted."""
        return self._note("retry", list(keys), time_min, mem_gb, accept_code)

    def hold(self, keys: Collection[str] | None = None) -> list[str]:
        """Noted."""
        return self._note("hold", keys)

    def release(self, keys: Collection[str] | None = None) -> list[str]:
        """Noted."""
        return self._note("release", keys)

    def throttle(self, running: int, stage: Any = None) -> list[str]:
        """Noted."""
        return self._note("throttle", running, stage)

    def by_hand(self, key: str) -> str:
        """Noted."""
        return self._note("by_hand", key)[0]


A, B, C = "a" * 32, "b" * 32, "c" * 32


@asynccontextmanager
async def acting(
    recorder: Recorder | None, size: tuple[int, int] = (80, 24), **setting: object
) -> AsyncIterator[tuple[Pilot[None], Watch, Source]]:
    """An app over three tasks, one of each kind, with these in front, a line each."""
    tasks = row(A, "running"), row(B, "failed", "boom"), row(C, "recorded")
    app, source = watching(shot(*tasks), doer=recorder, **setting)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: app.shot is not None)
        await pilot.press("2", "b", "b", "b")
        assert isinstance(app.front, Tasks)
        yield pilot, app, source


def told(app: Watch) -> str:
    """What was said of late."""
    return "\n".join(notice.message for notice in app._notifications)


async def asked(pilot: Pilot[None], app: Watch) -> Ask:
    """The question, once it is there."""
    await until(pilot, lambda: isinstance(app.screen, Ask) and app.screen.is_whole and bool(app.screen.query("Button")))
    assert isinstance(app.screen, Ask)
    return app.screen


async def test_cancel_asks_and_names_what_is_at_stake() -> None:
    """Count, hours, what goes with them, dependants; `y` does it, and the run is looked at anew."""
    recorder = Recorder()
    async with acting(recorder) as (pilot, app, source):
        await pilot.press("c")
        question = (await asked(pilot, app)).said
        assert "Cancel 1 task in 2 elements: 1 running, 1 waiting?" in question
        assert "2.50 GPU-hours" in question
        assert "1 other task" in question
        assert "2 tasks cannot be computed" in question
        painted = " ".join(" ".join(line.strip(" │▌▐▊▎") for line in screen(app)).split())
        assert "No (n) Yes (y)" in painted
        assert all(sentence in painted for sentence in (" ".join(line.split()) for line in question.split("\n")))
        assert recorder.calls == []
        looks = source.looks
        await pilot.press("y")
        await until(pilot, lambda: recorder.calls == [("cancel", [A])])
        await until(pilot, lambda: "done" in told(app) and source.looks > looks)


async def test_one_action_at_a_time() -> None:
    """A second key while the first one's question is not there yet asks nothing."""
    recorder = Recorder()
    async with acting(recorder) as (pilot, app, _):
        app.action_cancel_tasks()
        app.action_cancel_tasks()
        await asked(pilot, app)
        await pilot.press("n")
        await until(pilot, lambda: not isinstance(app.screen, Ask))
        assert "another action is not done yet" in told(app)
        assert recorder.calls == []


async def test_a_question_fits_small_screens() -> None:
    """What does not fit scrolls; No is in sight, for it has the focus."""
    recorder = Recorder()
    async with acting(recorder, size=(40, 10)) as (pilot, app, _):
        await pilot.press("c")
        await asked(pilot, app)
        await pilot.pause()
        assert "Cancel 1 task in 2" in "\n".join(screen(app))
        assert "No (n)" in "\n".join(screen(app))
        await pilot.press(*["down"] * 9)
        await pilot.pause()
        assert "cannot be" in "\n".join(screen(app))
        await pilot.press("tab", "enter")
        await until(pilot, lambda: recorder.calls == [("cancel", [A])])


async def test_anything_but_yes_is_no() -> None:
    """Enter too: the focus is on No."""
    recorder = Recorder()
    async with acting(recorder) as (pilot, app, _):
        for key in ("n", "escape", "q", "enter"):
            await pilot.press("c")
            await asked(pilot, app)
            await pilot.press(key)
            await until(pilot, lambda: not isinstance(app.screen, Ask))
        await pilot.pause()
        assert recorder.calls == []
        assert app.is_running


async def test_a_click_on_yes_counts() -> None:
    """The mouse can do what keys do."""
    recorder = Recorder()
    async with acting(recorder) as (pilot, app, _):
        await pilot.press("c")
        await asked(pilot, app)
        await pilot.click("#yes")
        await until(pilot, lambda: recorder.calls == [("cancel", [A])])


async def test_marked_tasks_are_what_an_action_is_about() -> None:
    """All marks, in the order of the run; not the cursor."""
    recorder = Recorder()
    async with acting(recorder) as (pilot, app, _):
        await pilot.press("space", "space", "c")
        await asked(pilot, app)
        await pilot.press("y")
        await until(pilot, lambda: recorder.calls == [("cancel", [A, B])])


async def test_what_a_filter_hides_is_left_alone_and_said() -> None:
    """Marks out of sight are not cancelled; the question says that there are some."""
    recorder = Recorder()
    async with acting(recorder) as (pilot, app, _):
        await pilot.press("space", "space", "slash", *"bbb", "enter", "c")
        assert "2 marked, 1 hidden by the filter: left as it is" in (await asked(pilot, app)).said
        await pilot.press("y")
        await until(pilot, lambda: recorder.calls == [("cancel", [B])])


class Slow(Recorder):
    """Finds out what hangs on tasks when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.may = threading.Event()

    def stakes(self, keys: Iterable[str], shot: Snapshot) -> Stakes:
        """Late."""
        assert self.may.wait(10.0)
        return super().stakes(keys, shot)


async def test_what_is_typed_before_a_question_is_whole_answers_nothing() -> None:
    """Its letters go nowhere, a `y` among them; a `y` right behind others is theirs; no is an answer at once."""
    recorder = Slow()
    async with acting(recorder) as (pilot, app, _):
        await pilot.press("c")
        await until(pilot, lambda: isinstance(app.screen, Ask))
        await until(pilot, lambda: any("looking what hangs on it" in line for line in screen(app)))
        assert not any("Yes" in line for line in screen(app))
        await pilot.press("slash", *"cherry")
        recorder.may.set()
        dialog = await asked(pilot, app)
        dialog.action_agree()  # right behind what was typed
        await pilot.press(*"ay")
        assert app.screen is dialog
        assert recorder.calls == []
        dialog._typed = 0.0  # as if it were long ago
        await pilot.press("y")
        await until(pilot, lambda: recorder.calls == [("cancel", [A])])


async def test_no_to_a_question_that_is_not_whole_yet() -> None:
    """Nothing is asked any more when it could be."""
    recorder = Slow()
    async with acting(recorder) as (pilot, app, _):
        await pilot.press("c")
        await until(pilot, lambda: isinstance(app.screen, Ask) and bool(app.screen.query("Button")))
        await pilot.press("n")
        recorder.may.set()
        await until(pilot, lambda: all(worker.is_finished for worker in app.workers if worker.group == "acting"))
        assert len(app.screen_stack) == 1
        assert recorder.calls == []


async def test_one_task_is_that_under_the_cursor() -> None:
    """Its log and its shell line, whatever is marked."""
    recorder = Recorder()
    async with acting(recorder) as (pilot, app, _):
        await pilot.press("space", "Y")
        await until(pilot, lambda: recorder.calls == [("by_hand", B)])
        await pilot.press("l")
        await until(pilot, lambda: app.front.id == "log")
        assert app.front.selected == [B]


async def test_nothing_to_cancel_is_said_and_not_asked() -> None:
    """What waits or runs elsewhere, or not at all."""
    recorder = Recorder()
    recorder.nothing = True
    async with acting(recorder) as (pilot, app, _):
        await pilot.press("c")
        await until(pilot, lambda: "nothing of it waits or runs" in told(app))
        assert len(app.screen_stack) == 1
        assert recorder.calls == []


async def test_retry_takes_minutes_and_memory() -> None:
    """What is typed goes along; what is no number is refused where it stands; recorded tasks stay out."""
    recorder = Recorder()
    async with acting(recorder) as (pilot, app, _):
        await pilot.press("A", "r")
        dialog = await asked(pilot, app)
        assert "Try 1 task again: 1 failed?" in dialog.said
        await pilot.press(*"x1", "enter", *"0", "enter")
        assert recorder.calls == []
        assert any("minutes: found 'x1', expected a whole number of at least 1" in line for line in screen(app))
        await pilot.press("backspace", "backspace", *"90", "enter")
        assert recorder.calls == []
        await pilot.press("backspace", *"12.5", "enter")
        await until(pilot, lambda: recorder.calls == [("retry", [B], 90, 12.5, False)])


async def test_retry_as_before() -> None:
    """Empty fields leave it to the rules."""
    recorder = Recorder()
    async with acting(recorder) as (pilot, app, _):
        await pilot.press("j", "r")
        await asked(pilot, app)
        await pilot.press("enter", "enter")
        await until(pilot, lambda: recorder.calls == [("retry", [B], None, None, False)])


async def test_a_whole_cause_is_tried_again(tmp_path: Path) -> None:
    """From the failures: all tasks of the group, with the hours they lost."""
    made: Study = study(tmp_path)
    recorder = Recorder()
    app, _ = watching(made.shot, doer=recorder, clock=lambda: NOW_S)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.shot is not None)
        await pilot.press("3", "r")
        dialog = await asked(pilot, app)
        assert "Failed attempts took 1.90 GPU-hours so far." in dialog.said
        assert "Cause: failed code: StageError: loss is N, expected a number" in dialog.said
        await pilot.press("enter", "enter")
        await until(pilot, lambda: len(recorder.calls) == 1)
        assert recorder.calls[0][:2] == ("retry", [r.key for r in made.shot.rows if r.state == "failed"])


async def test_nothing_to_retry_is_said() -> None:
    """What is recorded or runs."""
    recorder = Recorder()
    async with acting(recorder) as (pilot, app, _):
        await pilot.press("r")
        await until(pilot, lambda: "nothing to try again" in told(app))
        assert recorder.calls == []


async def test_hold_and_release() -> None:
    """Of what is selected, or of the whole run; escape does nothing."""
    recorder = Recorder()
    async with acting(recorder) as (pilot, app, _):
        await pilot.press("h")
        await until(pilot, lambda: isinstance(app.screen, Menu))
        await pilot.press("escape")
        calls: list[tuple[Any, ...]] = [("hold", [A]), ("release", [A]), ("hold", None), ("release", None)]
        for moves in range(4):
            await pilot.press("h")
            await until(pilot, lambda: isinstance(app.screen, Menu))
            await pilot.press(*["j"] * moves, "enter")
            await until(pilot, lambda: not isinstance(app.screen, Menu))
        await until(pilot, lambda: recorder.calls == calls)


async def test_throttle_takes_a_number_and_a_stage() -> None:
    """A stage that is none is refused; without one it is for all."""
    recorder = Recorder()
    async with acting(recorder) as (pilot, app, _):
        await pilot.press("t")
        await asked(pilot, app)
        await pilot.press(*"8", "enter", *"evaluat", "enter")
        assert recorder.calls == []
        await pilot.press(*"e", "enter")
        await until(pilot, lambda: recorder.calls == [("throttle", 8, "evaluate")])
        await pilot.press("t")
        await asked(pilot, app)
        await pilot.press(*"0", "enter", "enter")
        await until(pilot, lambda: recorder.calls[-1] == ("throttle", 0, None))


async def test_key_and_shell_line_are_copied() -> None:
    """Into the terminal's clipboard; the shell line is shown too, for terminals that have none."""
    recorder = Recorder(said="python -m condhpc_jobs.condense /scratch/store")
    async with acting(recorder, size=(100, 24)) as (pilot, app, _):
        await pilot.press("y")
        assert app.clipboard == A
        assert "copied the key of task aaaaaaaaaaaa" in told(app)
        await pilot.press("Y")
        await until(pilot, lambda: app.clipboard == "python -m condhpc_jobs.condense /scratch/store")
        assert recorder.calls == [("by_hand", A)]
        assert "python -m condhpc_jobs.condense" in told(app)


async def test_the_view_is_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of tasks what passes the filter, of results numbers with their counts; where nothing is a table, words."""
    monkeypatch.chdir(tmp_path)
    made = study(tmp_path / "root")
    app, _ = watching(made.shot, clock=lambda: NOW_S)
    folder = tmp_path / "results" / made.shot.run
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.shot is not None)
        await pilot.press("6", "e")
        await until(pilot, lambda: "no table here" in told(app))
        await pilot.press("1", "e")
        await until(pilot, (folder / "watch-overview.csv").is_file)
        header, *lines = (folder / "watch-overview.csv").read_text().splitlines()
        assert header.startswith("stage,progress,per_h,left_s,recorded,running")
        counts = made.shot.counts
        assert [line.split(",")[0] for line in lines] == list(counts)
        assert [list(map(int, line.split(",")[4:])) for line in lines] == [[*of.values()] for of in counts.values()]
        await pilot.press("2", "slash", *"minimax", "enter", "e")
        await until(pilot, (folder / "watch-tasks.csv").is_file)
        header, *lines = (folder / "watch-tasks.csv").read_text().splitlines()
        assert header.startswith("key,state,stage,task")
        keys = [r.key for r in made.shot.rows if r.label.condenser == "minimax"]
        assert sorted(line.partition(",")[0] for line in lines) == sorted(keys)
        await pilot.press("4", "e")
        await until(pilot, (folder / "watch-results.csv").is_file)
        header, first, *_ = (folder / "watch-results.csv").read_text().splitlines()
        assert header == "dataset,protocol,student,condenser,ipc 1,ipc 1 n,ipc 10,ipc 10 n,ipc 50,ipc 50 n"
        assert first.startswith("digits,erm,convnet3,random,40.0,3,44.5,3,48.8")
        for place, name in (("3", "failures"), ("5", "cost"), ("7", "set")):
            await pilot.press(place, "e")
            await until(pilot, (folder / f"watch-{name}.csv").is_file)


async def test_read_only_offers_nothing_that_changes_the_run() -> None:
    """Their keys do nothing; the shell line is still shown."""
    recorder = Recorder()
    async with acting(recorder, read_only=True) as (pilot, app, _):
        await pilot.press("c", "r", "h", "t")
        await pilot.pause()
        assert len(app.screen_stack) == 1
        offered = {binding.binding.id for binding in app.screen.active_bindings.values() if binding.enabled}
        assert not offered & {"act.cancel", "act.retry", "act.hold", "act.throttle"}
        await pilot.press("Y")
        await until(pilot, lambda: recorder.calls == [("by_hand", A)])


async def test_without_anybody_to_act_nothing_is_offered() -> None:
    """A run that is only looked at."""
    async with acting(None) as (pilot, app, _):
        await pilot.press("c", "r", "h", "t", "Y")
        await pilot.pause()
        assert len(app.screen_stack) == 1


async def test_what_cannot_be_done_is_told() -> None:
    """Errors that a user can mend are words; the app goes on."""
    recorder = Recorder()
    async with acting(recorder) as (pilot, app, _):
        for error in (InputError("only [its] owner can"), SchedulerError("scancel: hung"), OSError("disk")):
            recorder.error = error
            await pilot.press("c")
            await asked(pilot, app)
            await pilot.press("y")
            await until(pilot, lambda: str(recorder.error) in told(app))
        assert app.is_running


async def test_a_bug_in_an_action_ends_the_app_with_its_error() -> None:
    """What is no error of a user's is never hidden."""
    with pytest.raises(Exception, match="a bug"):  # noqa: PT012 - leaving the app raises it
        async with acting(Recorder(ZeroDivisionError("a bug"))) as (pilot, app, _):
            await pilot.press("c")
            await asked(pilot, app)
            await pilot.press("y")
            await until(pilot, lambda: not app.is_running)


async def test_evil_words_are_shown_and_never_obeyed() -> None:
    """What Slurm or a path says comes out harmless."""
    recorder = Recorder()
    async with acting(recorder) as (pilot, app, _):
        for count, evil in enumerate(EVIL, 1):
            recorder.said = evil
            await pilot.press("Y")
            await until(pilot, lambda count=count: told(app).count("copied") == count)  # type: ignore[misc]
            await pilot.pause()
            assert not {"\x1b", "\r", "\t", "\u202e"} & set("".join(screen(app)))
        assert app.is_running


async def test_actions_without_a_task_say_so() -> None:
    """An empty run has nothing to act on."""
    recorder = Recorder()
    app, _ = watching(shot(), doer=recorder)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.shot is not None)
        await pilot.press("2", "c")
        await until(pilot, lambda: "no task is selected here" in told(app))
        await pilot.press("l", "y")
        assert told(app).count("no task is selected here") == 3
        assert recorder.calls == []
