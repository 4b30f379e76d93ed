"""Run folders: appended lines survive a killed writer, plans are complete or absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from condhpc import runs
from condhpc.errors import InputError, StoreError
from condhpc.layout import Layout, RunFolder
from condhpc.planned import Label
from condhpc.runs import Cancel, Intent, PlanLine, Refusal, Reply


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run without anything in it."""
    found = Layout(tmp_path).run("m-20260101T000000Z")
    found.path.mkdir(parents=True)
    return found


def _intent(name: str) -> Intent:
    return Intent(name=name, backend="slurm", stage="condense", elements=(("k1",), ("k2", "k3")), time=1.0)


def test_submissions_tell_what_became_of_each(run: RunFolder) -> None:
    """An intent is open until a reply or a refusal; cancelled elements add up."""
    for event in (_intent("a"), _intent("b"), _intent("c"), Reply(name="a", job="608", time=2.0)):
        runs.append(run, event)
    for event in (Refusal(name="b", reason="no", time=2.0), Cancel(name="a", elements=(1,), time=3.0)):
        runs.append(run, event)
    a, b, c = runs.submissions(run)
    assert [held.is_open for held in (a, b, c)] == [False, False, True]
    assert a.cancelled == {1}
    runs.append(run, Cancel(name="a", time=4.0))
    assert runs.submissions(run)[0].cancelled == {0, 1}


def test_a_line_after_a_torn_one_is_not_lost(run: RunFolder) -> None:
    """When a submitter was killed in a line, the next one starts its own."""
    runs.append(run, _intent("a"))
    with run.submissions.open("ab") as file:
        file.write(b'{"type":"reply","na')
    assert [held.intent.name for held in runs.submissions(run)] == ["a"]
    runs.append(run, _intent("b"))
    assert [held.intent.name for held in runs.submissions(run)] == ["a", "b"]


def test_line_of_another_version_is_reported(run: RunFolder) -> None:
    """Well-formed lines that mean nothing here are an error with file and line, not skipped."""
    runs.append(run, _intent("a"))
    with run.submissions.open("ab") as file:
        file.write(b'{"type":"merger","name":"a"}\n')
    with pytest.raises(StoreError, match=r"submissions\.jsonl:2: "):
        runs.submissions(run)


def test_plan_is_written_once(run: RunFolder) -> None:
    """A plan comes back as written and is never replaced."""
    lines = [PlanLine(key=str(i), stage="embed", label=Label(dataset="d")) for i in range(3)]
    runs.write_plan(run, lines)
    assert runs.plan(run) == lines
    with pytest.raises(StoreError, match="has a plan already"):
        runs.write_plan(run, lines[:1])
    assert [path.name for path in run.path.iterdir()] == ["plan.jsonl"]


def test_find_takes_unique_beginnings_and_the_newest(tmp_path: Path) -> None:
    """No name means the newest run; an ambiguous or unknown one is answered with those that there are."""
    layout = Layout(tmp_path)
    with pytest.raises(InputError, match="there are no runs"):
        runs.find(layout, None)
    for name in ("a-20260101T000000Z", "ab-20250101T000000Z"):
        layout.run(name).path.mkdir(parents=True)
    assert runs.find(layout, None).name == "a-20260101T000000Z"
    assert runs.find(layout, "ab").name == "ab-20250101T000000Z"
    with pytest.raises(InputError, match="several runs"):
        runs.find(layout, "a")
    with pytest.raises(InputError, match="matches no run; runs under"):
        runs.find(layout, "x")


def test_the_newest_run_is_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a shared root no name means my newest run, not a colleague's newer one."""
    layout = Layout(tmp_path)
    for name in ("mine-20260101T000000Z", "theirs-20260102T000000Z"):
        layout.run(name).path.mkdir(parents=True)
    assert runs.find(layout, None).name == "theirs-20260102T000000Z"
    real = Path.stat

    def stat(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        found = real(path, follow_symlinks=follow_symlinks)
        return os.stat_result((*found[:4], found.st_uid + 1, *found[5:])) if path.name.startswith("theirs") else found

    monkeypatch.setattr(Path, "stat", stat)
    assert runs.find(layout, None).name == "mine-20260101T000000Z"
    assert runs.find(layout, "theirs").name == "theirs-20260102T000000Z"
