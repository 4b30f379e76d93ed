"""`condhpc status --follow`: a line for each change, until the run's end."""

from __future__ import annotations

import msgspec
import pytest

from condhpc import findings
from condhpc.findings import Row, Snapshot
from condhpc.following import follow
from condhpc.planned import Label
from condhpc.task_state import State


def shot(*states: State, problems: tuple[str, ...] = (), taken_s: float = 1_800_000_000.0) -> Snapshot:
    """A run whose tasks are in these states."""
    rows = [
        Row(key=f"{at:032x}", stage="condense", label=Label("digits"), state=state) for at, state in enumerate(states)
    ]
    return Snapshot(
        run="r", state=findings.summary(rows), taken_s=taken_s, queue_s=None, queue_error="",
        counts=findings.counted(rows), rows=rows, problems=list(problems),
    )  # fmt: skip


class Film:
    """Snapshots one after the other."""

    def __init__(self, *shots: Snapshot) -> None:
        self.shots = list(shots)
        self.waits = 0

    def snapshot(self) -> Snapshot:
        """The next one."""
        return self.shots.pop(0)

    def wait(self) -> None:
        """Count."""
        self.waits += 1


def test_a_line_for_each_change_and_none_without() -> None:
    """Counts of what is recorded by stage, then the other states; the last snapshot comes back."""
    film = Film(
        shot("queued", "queued"), shot("queued", "queued", taken_s=1_800_000_005.0), shot("recorded", "running"),
        shot("recorded", "recorded"), shot("recorded", "recorded"),
    )  # fmt: skip
    said: list[str] = []
    last = follow(film, said.append, film.wait, as_json=False)
    assert said == [
        "2027-01-15 08:00:00Z  running: condense 0/2, 2 queued",
        "2027-01-15 08:00:00Z  running: condense 1/2, 1 running",
        "2027-01-15 08:00:00Z  done: condense 2/2",
    ]
    assert (last.state, film.waits, len(film.shots)) == ("done", 3, 1)


def test_a_problem_is_said_once_and_harmless() -> None:
    """It is not repeated with each line, and no bytes of a job's words reach the terminal as they are."""
    bad = "1 condense failed: \x1b[2Jboom"
    film = Film(shot("failed", "running", problems=(bad,)), shot("failed", "recorded", problems=(bad,)))
    said: list[str] = []
    assert follow(film, said.append, film.wait, as_json=False).state == "failed"
    assert len(said) == 3
    assert "boom" in said[1]
    assert "\x1b" not in "".join(said)


@pytest.mark.parametrize("end", ["new", "recorded", "lost"])
def test_json_is_a_document_for_each_change(end: State) -> None:
    """One line each, that decodes to the snapshot; the end is whatever does not go on by itself."""
    shots = [shot("running"), shot("running"), shot(end)]
    film = Film(*shots)
    said: list[str] = []
    follow(film, said.append, film.wait, as_json=True)
    assert [msgspec.json.decode(line, type=Snapshot) for line in said] == [shots[0], shots[2]]
