"""Ends of logs, followed logs, diaries."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_runs import MadeRun

from condhpc import log_view
from condhpc.errors import InputError
from condhpc.planned import Label


class EndedError(Exception):
    """Ends a test's follow."""


def test_tail_cleans_what_a_terminal_would_obey(tmp_path: Path) -> None:
    """Escape sequences lose their power, a progress bar its history; bytes that are no text do not hurt."""
    log = tmp_path / "x.log"
    log.write_bytes(b"\x1b[31mred\x1b[0m\n 1%\r 50%\r100%\r\nnot utf-8: \xff\nno end")
    assert log_view.tail(log, 10) == ["?[31mred?[0m", "100%", "not utf-8: \ufffd", "no end"]
    assert log_view.tail(log, 1) == ["no end"]


def test_tail_of_a_large_log_reads_its_end_only(tmp_path: Path) -> None:
    """The last lines of a file larger than what is read at once."""
    log = tmp_path / "x.log"
    log.write_text("".join(f"{i:09d}\n" for i in range(200_000)))
    assert log_view.tail(log, 2) == ["000199998", "000199999"]


def test_follow_emits_complete_lines_as_they_come(tmp_path: Path) -> None:
    """What was there is not repeated, a half line waits for its rest, a file may come late or be cut."""
    log, late = tmp_path / "x.log", tmp_path / "late.log"
    log.write_text("old\n")
    seen: list[str] = []
    steps = iter([
        (log, "old\na\nb"),
        (log, "old\na\nbc\n"),
        (late, "first\n"),
        (log, ""),
        (log, "anew\n"),
    ])  # fmt: skip

    def sleep(_: float) -> None:
        step = next(steps, None)
        if step is None:
            raise EndedError
        step[0].write_text(step[1])

    with pytest.raises(EndedError):
        log_view.follow([log, late], seen.append, sleep=sleep)
    assert seen == ["a", "bc", "first", "anew"]


def test_diary_tells_every_attempt(tmp_path: Path) -> None:
    """Attempts before the record with their reasons, then the record; or the one that goes on."""
    made = MadeRun(tmp_path)
    key = made.condense()
    made.write()
    made.ended(key, "failed", "first\nreason")
    held = made.lease(key, "608_3")
    held.pulse(step=3, total=9, values={}, cost={})
    lines = list(log_view.diary_lines(made.layout, made.lines[0]))
    assert [line[:10] for line in lines] == ["attempt 1:", "    first", "    reason", "attempt 2:"]
    assert "job 608_3, step 3 of 9" in lines[-1]
    held.end("recorded")
    attempts = log_view.lease.attempts(made.folder(key), up_to=1)
    made.record(key, attempt=2, attempts=tuple(attempts))
    lines = list(log_view.diary_lines(made.layout, made.lines[0]))
    assert lines[-1].startswith("attempt 2: recorded")
    assert "    reason" in lines


def test_several_tasks_with_one_beginning_are_refused(tmp_path: Path) -> None:
    """The first of them are named."""
    made = MadeRun(tmp_path)
    keys = [made.condense(seed=i) for i in range(40)]
    made.write()
    assert log_view.find_task(made.run, keys[3]).key == keys[3]
    with pytest.raises(InputError, match="give more digits"):
        log_view.find_task(made.run, "")


def test_label_in_words() -> None:
    """Fields in the order of the vocabulary; seeds of 0 are said."""
    label = Label("digits", "random", 10, "erm", "resnet18", 0, 1)
    assert log_view.label_text(label) == "digits random ipc 10 erm resnet18 set 0 student 1"
    assert log_view.label_text(Label(dataset="digits", role="single")) == "digits single"
