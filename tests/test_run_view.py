"""A run's folder as it grows: places of tasks, and what changed since one asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_runs import MadeRun

from condhpc import runs
from condhpc.others import Others
from condhpc.run_view import RunView


@pytest.fixture
def made(tmp_path: Path) -> MadeRun:
    """A run without tasks."""
    return MadeRun(tmp_path)


def fresh(made: MadeRun) -> RunView:
    """A view that has read all at once."""
    view = RunView(made.run)
    view.refresh()
    return view


def same(view: RunView, other: RunView) -> bool:
    """Whether both know the same submissions, places and unfinished work."""
    names = [[held.intent.name for held in one.unfinished()] for one in (view, other)]
    return (view.submissions, view.places) == (other.submissions, other.places) and names[0] == names[1]


def test_reading_on_is_as_reading_all(made: MadeRun) -> None:
    """After each line of the diary; a refusal gives its tasks back to the submission before, a late reply does not."""
    view = RunView(made.run)
    steps = [
        lambda: made.submit(["a", "b"], ["c"], job="1"),
        lambda: made.submit(["b"], job="2", reply=False),
        lambda: runs.append(made.run, runs.Refusal(name="sub-2", reason="full", time=1.0)),
        lambda: made.submit(["c"], job="3", reply=False),
        lambda: runs.append(made.run, runs.Cancel(name="sub-1", elements=(1,), time=1.0)),
        lambda: runs.append(made.run, runs.Reply(name="sub-3", job="3", time=1.0)),
        lambda: made.hint("sub-1", 0, "a", "recorded"),
        lambda: made.hint("sub-3", 0, "c", "cached"),
    ]
    changed = [{"a", "b", "c"}, {"b"}, {"b"}, {"c"}, {"a", "b", "c"}, {"c"}, {"a"}, {"c"}]
    for step, expected in zip(steps, changed, strict=True):
        step()
        view.refresh()
        assert same(view, fresh(made))
        assert view.take_changed() == expected
        assert view.take_changed() == set()
    assert view.places["b"].name == "sub-1"
    assert view.places["c"].name == "sub-3"
    assert [held.intent.name for held in view.unfinished()] == ["sub-1"]


def test_a_torn_line_is_read_once_it_is_whole(made: MadeRun) -> None:
    """The writer is in the middle of it."""
    made.submit(["a"], job="1")
    view = fresh(made)
    with made.run.submissions.open("ab") as file:
        file.write(b'{"type":"cancel","name":"sub-1",')
    view.refresh()
    assert not view.places["a"].is_cancelled
    with made.run.submissions.open("ab") as file:
        file.write(b'"time":1.0}\n')
    view.refresh()
    assert view.places["a"].is_cancelled


def test_of_other_runs_only_what_is_missed_is_kept(made: MadeRun, tmp_path: Path) -> None:
    """Submissions without a wanted task are dropped, and where nothing is missed no other run is opened."""
    other = MadeRun(tmp_path, "other-20260101T000001Z")
    other.submit(["x"], job="8")
    other.submit(["a", "y"], job="9")
    others = Others(made.layout, made.run.name)
    others.wanted = {"a", "b"}
    made.submit(["b"], job="1")
    own = fresh(made)
    others.refresh(own)
    assert [[held.intent.name for held in view.submissions] for view in others.views] == [["sub-9"]]
    assert set(others.views[0].places) == {"a"}
    sent = Others(made.layout, made.run.name)
    sent.wanted = {"b"}
    sent.refresh(own)
    assert sent.views == []
