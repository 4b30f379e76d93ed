"""Lanes: forks of a worker that share the list of an element."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

import fake_stages
import msgspec
import pytest
from children import PATIENCE_S, until
from made_tasks import Start, condense, folder_of, write_payload

from condhpc import keys, lanes, lease, store
from condhpc.layout import Layout
from condhpc.spec import Task


def _steps(root: Path, task: Task) -> list[str]:
    return fake_stages.trace(root, keys.key(task))


def _outcomes(root: Path, tasks: list[Task]) -> list[str]:
    found = [lease.read_attempt(folder_of(root, task), 1) for task in tasks]
    return [held.end.outcome if held is not None and held.end is not None else "" for held in found]


def _told(root: Path) -> Counter[str]:
    """How often each key was told as recorded, over all hints; one writer per file."""
    lines = [line for path in Layout(root).run("r").done.iterdir() for line in path.read_bytes().splitlines()]
    return Counter(line["key"] for line in map(msgspec.json.decode, lines) if line["result"] == "recorded")


def test_two_lanes_compute_every_task_once(root: Path, start: Start) -> None:
    """Two tasks run at the same time, each task once; the record tells the share of the GPUs."""
    waiting = [condense(number, do="wait", gate="open") for number in range(2)]
    rest = [condense(number, steps=2) for number in range(2, 6)]
    tasks = [waiting[0], *rest[:2], waiting[1], *rest[2:]]  # lanes start at tasks 0 and 3
    process = start(write_payload(root, [tasks], concurrent=2, site_gpus=4))
    until(lambda: all(len(_steps(root, task)) == 2 for task in waiting), "two tasks at a time")
    (root / "open").touch()
    assert process.wait(PATIENCE_S) == 0
    assert [sum(" start " in line for line in _steps(root, task)) for task in tasks] == [1] * 6
    assert _told(root) == Counter({keys.key(task): 1 for task in tasks})
    record = store.read_record(folder_of(root, rest[0]))
    assert record is not None
    assert record.environment["lanes"] == 2
    assert record.cost["gpu_s"] == pytest.approx(2 * record.cost["wall_s"], abs=0.01)


def test_usr2_stops_all_lanes_and_the_next_element_goes_on(root: Path, start: Start) -> None:
    """The signal reaches the parent alone; both tasks checkpoint, the exit status says that there is more to do."""
    tasks = [condense(number, steps=4, at=2, do="wait", gate="open") for number in range(3)]
    path = write_payload(root, [tasks], concurrent=2)
    process = start(path)
    until(lambda: sum("1 " in line and line.endswith("step 2") for t in tasks for line in _steps(root, t)) == 2, "two")
    process.send_signal(signal.SIGUSR2)
    assert process.wait(PATIENCE_S) == 75
    assert sorted(_outcomes(root, tasks)) == ["", "stopped", "stopped"]
    (root / "open").touch()
    assert start(path).wait(PATIENCE_S) == 0
    assert all(store.is_recorded(folder_of(root, task)) for task in tasks)
    assert all(Counter(line.split()[3] for line in _steps(root, t) if " step " in line)["0"] == 1 for t in tasks)


def test_a_failure_in_one_lane_is_the_elements_status(root: Path, start: Start) -> None:
    """The other tasks are recorded, whichever lane took them."""
    tasks = [condense(0, do="fail"), condense(1), condense(2), condense(3)]
    assert start(write_payload(root, [tasks], concurrent=2)).wait(PATIENCE_S) == 1
    assert [store.is_recorded(folder_of(root, task)) for task in tasks] == [False, True, True, True]


def test_the_clock_ends_lanes_before_anything_starts(root: Path, start: Start) -> None:
    """With less than the margin left no lane starts a task, and the element is to be continued."""
    tasks = [condense(0), condense(1)]
    path = write_payload(root, [tasks], concurrent=2, time_min=1, margin_s=61.0)
    assert start(path).wait(PATIENCE_S) == 75
    assert not any(_steps(root, task) for task in tasks)


def test_a_lane_that_is_killed_is_a_failure(own_signals: None) -> None:
    """Its siblings' success does not hide it."""
    from condhpc.supervise import Flags

    def lane(number: int) -> int:
        if number == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return 0

    assert lanes.run(2, lane, Flags()) == 1


@pytest.mark.parametrize(
    ("codes", "worst"),
    [({0}, 0), ({0, 3}, 3), ({3, 1, 0}, 1), ({1, 75}, 75), ({0, 9}, 1), ({9, 3}, 1), ({75, 9}, 75), (set(), 0)],
)
def test_the_worst_status_counts(codes: set[int], worst: int) -> None:
    """What is left to do comes before a failure, a failure before a missing input; a strange status is a failure."""
    assert lanes.worst(codes) == worst
