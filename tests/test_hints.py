"""What elements say, read on: which files are looked at, and what is new."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from made_runs import MadeRun

from condhpc import hints
from condhpc.hints import Hints


@pytest.fixture
def made(tmp_path: Path) -> MadeRun:
    """A run without tasks."""
    return MadeRun(tmp_path)


def test_what_is_new_is_told_once_and_with_its_element(made: MadeRun) -> None:
    """A second word that changes nothing is no news; recorded stands for good and is told as such once."""
    found = Hints(made.run)
    made.hint("s.1", 3, "a", "stopped")
    found.refresh()
    assert found.take_new() == [("s.1", 3, "a", False)]
    made.hint("s.1", 3, "a", "recorded")
    made.hint("s.1", 3, "b", "failed")
    found.refresh()
    assert found.take_new() == [("s.1", 3, "a", True), ("s.1", 3, "b", False)]
    made.hint("s.1", 3, "a", "failed")
    found.refresh()
    assert found.take_new() == []
    hint = found.of("s.1", "a")
    assert hint is not None
    assert hint.result == "recorded"
    assert found.of("other", "a") is None


def test_the_folder_is_listed_only_after_it_changed(made: MadeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that grow are read without a listing; within seconds of a change the folder is listed once more."""
    clock = [1_000_000.0]
    found = Hints(made.run, clock=lambda: clock[0])
    made.hint("s", 0, "a", "stopped")
    os.utime(made.run.done, (clock[0], clock[0]))
    listed: list[object] = []
    real = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: listed.append(path) or real(path))
    found.refresh()
    found.refresh()
    assert len(listed) == 2
    clock[0] += 10.0
    found.refresh()
    made.hint("s", 0, "b", "recorded")
    found.refresh()
    assert len(listed) == 3
    assert found.of("s", "b") is not None
    made.hint("s", 1, "c", "recorded")
    found.refresh()
    assert len(listed) == 4
    assert found.of("s", "c") is not None


def test_of_many_silent_files_some_are_looked_at_each_time(made: MadeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """A word in a file that was silent for long is heard after some looks; in one that grew of late at once."""
    monkeypatch.setattr(hints, "_AT_ONCE", 4)
    clock = [1_000_000.0]
    found = Hints(made.run, clock=lambda: clock[0])
    for element in range(20):
        made.hint("s", element, f"k{element}", "failed")
    found.refresh()
    clock[0] += 1000.0
    made.hint("s", 7, "late", "failed")
    looks = 0
    while found.of("s", "late") is None:
        found.refresh()
        looks += 1
        assert looks <= 6
    made.hint("s", 7, "later", "failed")
    found.refresh()
    assert found.of("s", "later") is not None


def test_a_finished_element_is_not_looked_at_again(made: MadeRun) -> None:
    """Whatever is written to its file."""
    found = Hints(made.run)
    made.hint("s", 0, "a", "recorded")
    found.refresh()
    found.finish("s", 0)
    made.hint("s", 0, "b", "recorded")
    found.refresh()
    assert found.of("s", "b") is None
