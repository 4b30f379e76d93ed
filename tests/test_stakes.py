"""What an action concerns, from rows, places and a plan."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_runs import MadeRun

from condhpc import runs
from condhpc.findings import Row
from condhpc.run_view import RunView
from condhpc.stakes import Stakes, stakes_of, waiting_for
from condhpc.task_state import State

NOW_S = 10_000.0


@pytest.fixture
def made(root: Path) -> MadeRun:
    """Three sets, two of them in one element with 2 GPUs, the third in another; a student each, in one element."""
    found = MadeRun(root)
    sets = [found.condense(seed=seed) for seed in range(3)]
    students = [found.evaluate(key) for key in sets]
    found.write()
    for name, packs, gpus in (("sets", (tuple(sets[:2]), (sets[2],)), 2), ("students", (tuple(students),), 1)):
        intent = runs.Intent(name=name, backend="slurm", stage="condense", elements=packs, gpus=gpus, time=1.0)
        runs.append(found.run, intent)
        runs.append(found.run, runs.Reply(name=name, job="608", time=1.5))
    return found


def _stakes(made: MadeRun, keys: list[str], *states: State, since_s: float = NOW_S - 1800) -> Stakes:
    rows = [
        Row(key=line.key, stage=line.stage, label=line.label, state=state, since_s=since_s)
        for line, state in zip(made.lines, states, strict=True)
    ]
    view = RunView(made.run)
    view.refresh()
    return stakes_of(keys, rows, NOW_S, view.places, made.lines, lambda _: 3)


def test_a_pack_goes_whole(made: MadeRun) -> None:
    """Its other task goes along, half an hour on two GPUs is at stake once, and students of the first set wait."""
    keys = [line.key for line in made.lines]
    found = _stakes(made, keys[:1], "running", "running", "queued", "queued", "queued", "queued")
    assert (found.keys, found.others, found.dependants) == (keys[:1], keys[1:2], keys[3:4])
    assert (found.elements, found.running, found.waiting, found.total) == (1, 2, 0, 2)
    assert (found.gpu_h, found.cpu_h) == (1.0, 1.5)


def test_hours_are_of_what_runs_now(made: MadeRun) -> None:
    """A recorded neighbour is neither at stake nor among the others; a waiting element has no hours."""
    keys = [line.key for line in made.lines]
    found = _stakes(made, [keys[1], keys[2]], "recorded", "queued", "queued", "queued", "queued", "queued")
    assert (found.keys, found.others, found.elements) == ([keys[1], keys[2]], [], 2)
    assert (found.running, found.waiting, found.gpu_h, found.cpu_h) == (0, 2, 0.0, 0.0)


def test_what_is_over_is_not_at_stake(made: MadeRun) -> None:
    """Recorded and failed tasks are nothing that could be cancelled; a clock behind gives no negative hours."""
    keys = [line.key for line in made.lines]
    over = _stakes(made, keys[:2], "recorded", "failed", "queued", "recorded", "queued", "queued")
    assert (over.keys, over.elements, over.dependants) == ([], 0, [])
    later = _stakes(made, keys[2:3], *["running"] * 6, since_s=NOW_S + 5)
    assert later.gpu_h == 0.0


def test_dependants_are_followed_to_the_end(root: Path) -> None:
    """A teacher stops its embedding, the set chosen by that, and its student; not the random set."""
    made = MadeRun(root)
    teacher = made.teacher()
    embed = made.embed(teacher)
    chosen = made.condense("kcenter", inputs={"embedding": embed})
    other = made.condense()
    student, _ = made.evaluate(chosen), made.evaluate(other)
    assert waiting_for([teacher], made.lines) == [embed, chosen, student]
    assert waiting_for([], made.lines) == []
