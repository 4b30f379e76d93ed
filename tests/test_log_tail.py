"""Logs that grow, are cut, replaced, huge or not there; which logs a task has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_runs import MadeRun

from condhpc import log_tail
from condhpc.log_tail import LogSource, LogTail
from condhpc.tables import printable


def test_lines_come_as_they_are_written(tmp_path: Path) -> None:
    """A file may come late; an unfinished line is shown as far as it is; a poll without news says so."""
    log = tmp_path / "x.log"
    tail = LogTail(log)
    assert tail.poll()
    assert tail.note.startswith("not there")
    assert not tail.poll()
    log.write_bytes(b"")
    assert tail.poll()
    assert (tail.note, tail.lines) == ("is empty", [])
    log.write_bytes(b"a\nb")
    assert tail.poll()
    assert (tail.note, tail.lines) == ("", ["a", "b"])
    assert not tail.poll()
    with log.open("ab") as file:
        file.write(b"c\n\xc3")
    tail.poll()
    with log.open("ab") as file:
        file.write(b"\xa9\n")
    tail.poll()
    assert tail.lines == ["a", "bc", "é"]


def test_a_progress_bar_is_its_last_state(tmp_path: Path) -> None:
    """Also where its states come in several writes, and when its line ends like a file of Windows."""
    log = tmp_path / "x.log"
    tail = LogTail(log)
    for written, shown in ((b" 1%\r", " 1%"), (b" 50%\r 60", " 60"), (b"%\r100%\r\n", "100%")):
        with log.open("ab") as file:
            file.write(written)
        tail.poll()
        assert tail.lines == [shown]


def test_a_bar_of_any_length_stays_small(tmp_path: Path) -> None:
    """A line that never ends is held as its end only."""
    log = tmp_path / "x.log"
    tail = LogTail(log, tail_bytes=1 << 16)
    for _ in range(40):
        with log.open("ab") as file:
            file.write(b"." * 10_000)
        tail.poll()
    (line,) = tail.lines
    assert set(line) == {"."}
    assert len(line) == 1 << 13


def test_of_a_gigabyte_only_the_end_is_read(tmp_path: Path) -> None:
    """The first shown line is whole, and what was left out is known; lines that come later follow."""
    log = tmp_path / "x.log"
    with log.open("wb") as file:
        file.truncate(1 << 30)
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + b"".join(b"%09d\n" % i for i in range(1000)))
    tail = LogTail(log, tail_bytes=1005)
    assert tail.poll()
    assert tail.lines == [f"{i:09d}" for i in range(900, 1000)]
    assert tail.skipped_bytes == log.stat().st_size - 1000
    with log.open("ab") as file:
        file.write(b"new\n")
    tail.poll()
    assert tail.lines[-2:] == ["000000999", "new"]


def test_a_leap_leaves_a_gap_instead_of_reading_all(tmp_path: Path) -> None:
    """What grew by more than one reading begins anew at its end; the reader's place is told to have gone."""
    log = tmp_path / "x.log"
    log.write_bytes(b"old 1\nold 2\n")
    tail = LogTail(log, tail_bytes=100)
    tail.poll()
    log.write_bytes(b"old 1\nold 2\n" + b"0123456\n" * 50)
    tail.poll()
    assert tail.lines == ["0123456"] * 12
    assert tail.dropped == 2
    assert tail.skipped_bytes == 12 + 8 * 38


def test_a_file_that_is_cut_or_replaced_begins_anew(tmp_path: Path) -> None:
    """Shorter than before, or another file under the name: its old lines are gone."""
    log = tmp_path / "x.log"
    log.write_bytes(b"one\ntwo\n")
    tail = LogTail(log)
    tail.poll()
    log.write_bytes(b"1\n")
    assert tail.poll()
    assert tail.lines == ["1"]
    other = tmp_path / "y.log"
    other.write_bytes(b"other, and longer\n")
    other.replace(log)
    assert tail.poll()
    assert tail.lines == ["other, and longer"]
    log.write_bytes(b"")
    assert tail.poll()
    assert tail.lines == []


def test_old_lines_are_dropped_and_counted(tmp_path: Path) -> None:
    """At most so many are held."""
    log = tmp_path / "x.log"
    log.write_text("".join(f"{i}\n" for i in range(10)))
    tail = LogTail(log, kept_lines=4)
    tail.poll()
    assert (tail.lines, tail.dropped) == (["6", "7", "8", "9"], 6)


def test_long_lines_do_not_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many lines may be held, so many characters are the most."""
    monkeypatch.setattr(log_tail, "KEPT_CHARS", 1000)
    log = tmp_path / "x.log"
    tail = LogTail(log)
    for i in range(30):
        with log.open("a") as file:
            file.write(f"{i:03d}" * 100 + "\n")
        tail.poll()
    assert (tail.lines, tail.dropped) == ([f"{i:03d}" * 100 for i in (27, 28, 29)], 27)


def test_what_is_no_log_is_said(tmp_path: Path) -> None:
    """A folder, a pipe that nobody writes to, a path below a file: words, no hanging, no crash."""
    pipe, plain = tmp_path / "pipe", tmp_path / "plain"
    os.mkfifo(pipe)
    plain.write_text("x")
    for path, words in ((tmp_path, "is no file"), (pipe, "is no file"), (plain / "x.log", "cannot be opened")):
        tail = LogTail(path)
        assert tail.poll()
        assert tail.note.startswith(words)


def test_colours_and_moves_are_taken_out() -> None:
    """Sequences of a terminal vanish, other control bytes become visible, tabs become spaces."""
    line = b"\x1b[31;1mred\x1b[0m\x1b[2K\x1b[A\x1b]0;title\x07 a\tb\x00\xff"
    assert log_tail.clean(line) == "red a   b?\ufffd"


@given(st.binary(max_size=300))
def test_any_bytes_can_be_shown(data: bytes) -> None:
    """Whatever a task prints, nothing of it is obeyed."""
    shown = log_tail.clean(data)
    assert printable(shown) == shown


@given(pieces=st.lists(st.binary(max_size=40), max_size=6))
def test_pieces_give_the_lines_of_the_whole(tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes]) -> None:
    """However a log arrives, the same lines are shown."""
    path = tmp_path_factory.mktemp("log") / "x.log"
    tail = LogTail(path)
    for piece in pieces:
        with path.open("ab") as file:
            file.write(piece)
        tail.poll()
    *whole, rest = b"".join(pieces).split(b"\n")
    assert tail.lines == [log_tail.clean(line) for line in [*whole, *([rest] if rest else [])]]


def test_search_ignores_case() -> None:
    """All places; none for an empty text."""
    lines = ["Traceback", "x", "traceback again"]
    assert log_tail.matching(lines, "TRACE") == [0, 2]
    assert log_tail.matching(lines, "") == []


def test_all_logs_of_a_task_newest_first(tmp_path: Path) -> None:
    """Each element that held it, started or not, refused ones aside, then its diary."""
    made = MadeRun(tmp_path)
    key, other = made.condense(), made.condense("herding")
    made.write()
    made.submit([other], [key], job="608")
    made.submit([other], job="609")
    made.submit([key], job="610")
    made.submit([key], name="sub-x", reply=False)
    folder = made.run.logs
    assert log_tail.sources(made.run, key) == [
        LogSource(title="sub-x element 0", path=folder / "sub-x" / "0.log"),
        LogSource(title="610_0", path=folder / "sub-610" / "0.log"),
        LogSource(title="608_1", path=folder / "sub-608" / "1.log"),
        log_tail.DIARY,
    ]


def test_local_workers_that_mention_a_task_are_found(tmp_path: Path) -> None:
    """Of a pool the logs of those that tried it, of several readings' size; all where none says so."""
    made = MadeRun(tmp_path)
    key, other = made.condense(), made.condense("herding")
    made.write()
    made.pool(key, other, pids={})
    folder = made.run.logs / "pool"
    folder.mkdir(parents=True)
    (folder / "1_0_log.out").write_text("x" * ((1 << 16) - 5) + key)
    (folder / "2_0_log.out").write_text("nothing")
    assert [source.path for source in log_tail.sources(made.run, key)] == [folder / "1_0_log.out", None]
    assert len(log_tail.sources(made.run, other)) == 3


def test_a_diary_is_never_empty_and_never_raises(tmp_path: Path) -> None:
    """A task without an attempt says so; reasons with control bytes are made harmless."""
    made = MadeRun(tmp_path)
    key = made.condense()
    made.write()
    assert log_tail.diary(made.layout, made.lines[0]) == ["no attempt yet"]
    made.ended(key, "failed", "\x1b[31mboom")
    assert log_tail.diary(made.layout, made.lines[0])[-1] == "    ?[31mboom"
