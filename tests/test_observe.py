"""Snapshots of runs: hints, leases, one squeue call; and what is live over all runs."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import msgspec
import pytest
from made_runs import FakeQueue, MadeRun, dead_owner, squeue_row, strange_owner

from condhpc import findings, lease, observe, runs, store
from condhpc.errors import SchedulerError
from condhpc.observe import Observer, Snapshot

LONG_AGO = time.time() - 10_000


def states(shot: Snapshot) -> dict[str, str]:
    """State by key."""
    return {row.key: row.state for row in shot.rows}


def look(made: MadeRun, queue: FakeQueue | None = None, *, rescan: bool = False) -> Snapshot:
    """One snapshot of a run."""
    return observe.snapshot(made.run, made.layout, queue, rescan=rescan)


@pytest.fixture
def made(tmp_path: Path) -> MadeRun:
    """A run without tasks yet."""
    return MadeRun(tmp_path)


def own_pid() -> dict[str, int]:
    """A pool of one living worker: the test's own process."""
    return {str(os.getpid()): lease.process_start(os.getpid()) or 0}


# -- on Slurm ----------------------------------------------------------------------------------------------------


def test_each_state_of_a_slurm_run(made: MadeRun) -> None:
    """One run with a task in every state: each row says so, and says why."""
    a = [made.condense(seed=i) for i in range(8)]
    made.write()
    name = made.submit(*[[key] for key in a[:7]], sent=LONG_AGO)
    made.hint(name, 0, a[0], "recorded")
    made.lease(a[1], "608_1").pulse(step=3, total=9, values={"loss": 0.5}, cost={})
    made.ended(a[3], "failed", "Traceback\nValueError: no luck\n", "608_3")
    made.hint(name, 3, a[3], "failed")
    made.ended(a[4], "blocked", "input teacher x has no usable record", "608_4")
    queue = FakeQueue(
        squeue_row("608_1", "RUNNING"),
        squeue_row("608_[2]", "PENDING", "Priority"),
        squeue_row("608_6", "PENDING", "JobHeldUser"),
    )
    shot = look(made, queue)
    rows = {row.key: row for row in shot.rows}
    assert [rows[key].state for key in a] == [
        "recorded", "running", "queued", "failed", "blocked", "lost", "blocked", "new",
    ]  # fmt: skip
    assert (rows[a[1]].step, rows[a[1]].total, rows[a[1]].values) == (3, 9, {"loss": 0.5})
    assert rows[a[1]].element == "608_1"
    assert rows[a[2]].detail == "Priority"
    assert rows[a[3]].detail == "ValueError: no luck"
    assert rows[a[3]].attempts == 1
    assert "no usable record" in rows[a[4]].detail
    assert rows[a[5]].detail == "left the queue without a record"
    assert "JobHeldUser" in rows[a[6]].detail
    assert shot.state == "running"
    assert shot.counts["condense"]["lost"] == 1
    assert queue.calls == 1


def test_one_squeue_call_for_many_arrays_and_none_when_all_is_recorded(made: MadeRun) -> None:
    """Arrays share one call; a run whose hints say that everything is recorded asks nothing."""
    a, b = made.condense(seed=0), made.condense(seed=1)
    made.write()
    made.submit([a], job="1")
    made.submit([b], job="2")
    queue = FakeQueue(squeue_row("1_0", "RUNNING"), squeue_row("2_0", "PENDING"))
    look(made, queue)
    assert queue.calls == 1
    made.hint("sub-1", 0, a, "recorded")
    made.hint("sub-2", 0, b, "cached")
    queue = FakeQueue()
    shot = look(made, queue)
    assert (shot.state, queue.calls) == ("done", 0)


def test_unleased_task_of_an_active_pack_is_queued_and_a_failed_one_failed(made: MadeRun) -> None:
    """Within a pack the element's state is not each task's: one failed for good, one waits for its turn."""
    a, b, c = (made.condense(seed=i) for i in range(3))
    made.write()
    name = made.submit([a, b, c], sent=LONG_AGO)
    made.ended(a, "failed", "boom", "608_0")
    made.hint(name, 0, a, "failed")
    made.lease(b, "608_0")
    assert states(look(made, FakeQueue(squeue_row("608_0", "RUNNING")))) == {a: "failed", b: "running", c: "queued"}


def test_stopped_task_is_queued_while_its_element_waits_and_new_afterwards(made: MadeRun) -> None:
    """A requeued element goes on by itself; once it has left the queue the next submit goes on."""
    a = made.condense()
    made.write()
    name = made.submit([a], sent=LONG_AGO)
    made.ended(a, "stopped", "stopped at step 3 of 9", "608_0")
    made.hint(name, 0, a, "stopped")
    assert states(look(made, FakeQueue(squeue_row("608_0", "PENDING", "BeginTime")))) == {a: "queued"}
    shot = look(made, FakeQueue())
    assert (states(shot), shot.state) == ({a: "new"}, "stopped")
    assert "stopped at step 3" in shot.rows[0].detail
    assert "--continue" in shot.problems[-1]


def test_dependants_of_a_failed_task_are_blocked_all_the_way_down(made: MadeRun) -> None:
    """Elements that Slurm killed for a dependency leave no diary: their bad input tells."""
    teacher = made.teacher()
    embed = made.embed(teacher)
    chosen = made.condense("herding", seed=None, inputs={"embedding": embed})
    student = made.evaluate(chosen)
    made.write()
    for job, key in enumerate((teacher, embed, chosen, student), start=1):
        made.submit([key], job=str(job), sent=LONG_AGO)
    made.ended(teacher, "failed", "OutOfMemoryError: CUDA", "1_0")
    shot = look(made, FakeQueue())
    assert states(shot) == {teacher: "failed", embed: "blocked", chosen: "blocked", student: "blocked"}
    assert shot.state == "failed"
    assert shot.problems[0].startswith("1 teacher failed: OutOfMemoryError: CUDA")


def test_a_vanished_element_is_queued_during_the_grace_time_then_lost(made: MadeRun) -> None:
    """Squeue may be late: an element just submitted or just seen is not called lost at once."""
    a = made.condense()
    made.write()
    now = time.time()
    made.submit([a], sent=now)
    clock = [now + 1]
    queue = FakeQueue()
    observer = Observer(made.run, made.layout, queue, clock=lambda: clock[0])
    assert states(observer.snapshot()) == {a: "queued"}
    queue.text = squeue_row("608_0", "PENDING")
    clock[0] += 100
    assert states(observer.snapshot()) == {a: "queued"}
    queue.text = ""
    clock[0] += 50
    assert states(observer.snapshot()) == {a: "queued"}
    clock[0] += 20
    assert states(observer.snapshot()) == {a: "lost"}


def test_the_state_in_which_an_element_left_the_queue_is_told(made: MadeRun) -> None:
    """Squeue still shows it for some minutes: a lost task's row names it."""
    a = made.condense()
    made.write()
    made.submit([a], sent=LONG_AGO)
    shot = look(made, FakeQueue(squeue_row("608_0", "NODE_FAIL", end_s=int(LONG_AGO))))
    assert states(shot) == {a: "lost"}
    assert shot.rows[0].detail == "element 608_0 ended as NODE_FAIL"


def test_cancelled_elements_that_are_gone_are_new(made: MadeRun) -> None:
    """What a user cancelled is no failure; a cancel of one element leaves its siblings alone."""
    a, b = made.condense(seed=0), made.condense(seed=1)
    made.write()
    name = made.submit([a], [b], sent=LONG_AGO)
    runs.append(made.run, runs.Cancel(name=name, elements=(0,), time=runs.now()))
    assert states(look(made, FakeQueue(squeue_row("608_1", "RUNNING")))) == {a: "new", b: "queued"}


def test_failed_squeue_leaves_old_data_and_says_so(made: MadeRun) -> None:
    """Without an answer nothing becomes lost: the old queue stands, with its age and the error."""
    a, b = made.condense(seed=0), made.condense(seed=1)
    made.write()
    made.submit([a], [b], sent=LONG_AGO)
    made.lease(a, "608_0", strange_owner(job="608_0"))
    down = FakeQueue(error=SchedulerError("squeue: no answer within 60 s"))
    shot = look(made, down)
    assert (states(shot), shot.queue_s) == ({a: "running", b: "queued"}, None)
    assert "no answer" in shot.problems[0]
    queue = FakeQueue(squeue_row("608_[0-1]", "PENDING"))
    observer = Observer(made.run, made.layout, queue)
    first = observer.snapshot()
    queue.error = SchedulerError("squeue: no answer within 60 s")
    second = observer.snapshot()
    assert states(second)[b] == "queued"
    assert second.queue_s == first.queue_s
    assert second.queue_error


def test_error_of_squeue_ends_with_the_last_task(made: MadeRun) -> None:
    """Where all is recorded nobody asks squeue again, and that it failed before is not told for ever."""
    a = made.condense()
    made.write()
    name = made.submit([a], sent=LONG_AGO)
    queue = FakeQueue(squeue_row("608_0", "RUNNING"))
    observer = Observer(made.run, made.layout, queue)
    observer.snapshot()
    queue.error = SchedulerError("squeue: no answer within 60 s")
    assert observer.snapshot().queue_error
    made.record(a)
    made.hint(name, 0, a, "recorded")
    shots = [observer.snapshot(), observer.snapshot()]
    assert states(shots[-1]) == {a: "recorded"}
    assert (shots[-1].queue_error, shots[-1].problems) == ("", [])


def test_lost_reply_is_found_by_the_name_of_the_submission(made: MadeRun) -> None:
    """An intent without a reply has its elements matched through the job name."""
    a = made.condense()
    made.write()
    made.submit([a], name="condhpc-x", reply=False, sent=LONG_AGO)
    shot = look(made, FakeQueue(squeue_row("77_[0]", "PENDING", name="condhpc-x")))
    assert (shot.rows[0].state, shot.rows[0].element) == ("queued", "77_0")


def test_retried_task_forgets_its_old_hint(made: MadeRun) -> None:
    """A hint counts for the submission that gave it: a failure that was sent again waits again."""
    a = made.condense()
    made.write()
    first = made.submit([a], job="1", sent=LONG_AGO)
    made.ended(a, "failed", "boom", "1_0")
    made.hint(first, 0, a, "failed")
    queue = FakeQueue()
    observer = Observer(made.run, made.layout, queue)
    assert states(observer.snapshot()) == {a: "failed"}
    made.submit([a], job="2")
    queue.text = squeue_row("2_[0]", "PENDING")
    assert states(observer.snapshot()) == {a: "queued"}


def test_record_without_a_hint_is_found_when_the_element_left_the_queue(made: MadeRun) -> None:
    """A worker killed between its record and its hint has done its work."""
    a = made.condense()
    made.write()
    made.submit([a], sent=LONG_AGO)
    made.record(a)
    assert states(look(made, FakeQueue())) == {a: "recorded"}


def test_rescan_believes_records_and_not_hints(made: MadeRun) -> None:
    """A hint about a record that is gone is overruled, and a record without any hint is found."""
    a, b, c = made.condense(seed=0), made.condense(seed=1), made.condense(seed=2)
    made.lines[2] = msgspec.structs.replace(made.lines[2], cached=True)
    made.write()
    name = made.submit([a], [b], sent=LONG_AGO)
    made.hint(name, 0, a, "recorded")
    made.record(b)
    assert states(look(made, FakeQueue())) == {a: "recorded", b: "recorded", c: "recorded"}
    assert states(look(made, FakeQueue(), rescan=True)) == {a: "lost", b: "recorded", c: "new"}


def test_unreadable_record_is_a_problem_and_not_done(made: MadeRun) -> None:
    """A truncated record is named with its path."""
    a = made.condense()
    made.write()
    made.submit([a], sent=LONG_AGO)
    made.folder(a).record.write_bytes(b'{"key": "')
    shot = look(made, FakeQueue())
    assert states(shot) == {a: "lost"}
    assert str(made.folder(a).record) in shot.problems[0]


@pytest.fixture
def over(made: MadeRun) -> MadeRun:
    """A local run of five tasks whose workers said that all are recorded, as they are."""
    keys = [made.condense(seed=seed) for seed in range(5)]
    made.write()
    name = made.pool(*keys, pids={})
    for key in keys:
        made.record(key)
        made.hint(name, 0, key, "recorded")
    return made


def test_done_is_not_said_of_records_that_cannot_be_read(over: MadeRun) -> None:
    """Torn or deleted since a worker said that it was there: who asks for the state of a run that is over is told."""
    torn, deleted, *others = [line.key for line in over.lines]
    over.folder(torn).record.write_bytes(b'{"key":')
    over.folder(deleted).record.unlink()
    assert look(over).state == "done"
    observer = Observer(over.run, over.layout, None)
    observer.distrust()
    shot = observer.snapshot()
    assert shot.state == "failed"
    assert states(shot) == {torn: "lost", deleted: "new"} | dict.fromkeys(others, "recorded")
    assert {row.key: row.detail for row in shot.rows}[torn] == "its record cannot be read"
    assert any(str(over.folder(torn).record) in problem for problem in shot.problems)
    over.folder(torn).record.unlink()
    for key in (torn, deleted):
        over.record(key)
    observer.forget()
    shot = observer.snapshot()
    assert (shot.state, shot.problems) == ("done", [])


def test_of_many_records_some_are_opened_at_each_look(over: MadeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad one is found after as many looks as it takes to open all; while a run goes on none is opened."""
    monkeypatch.setattr(observe, "_OPENED_AT_ONCE", 2)
    over.folder(over.lines[0].key).record.write_bytes(b"{")
    observer = Observer(over.run, over.layout, None)
    observer.distrust()
    opened: list[str] = []
    real = observer._folders.is_readable
    monkeypatch.setattr(observer._folders, "is_readable", lambda line: opened.append(line.key) or real(line))
    found = [observer.snapshot().state for _ in range(3)]
    assert sorted(opened) == sorted(line.key for line in over.lines)
    assert found[-1] == "failed"
    pool = over.pool(over.lines[0].key, pids=own_pid(), name="again")
    opened.clear()
    assert observer.snapshot().state == "running"
    assert (pool, opened) == ("again", [])


def test_torn_hint_line_is_read_once_complete_and_garbage_is_reported(made: MadeRun) -> None:
    """Reading goes on at the byte where the last complete line ended."""
    a, b = made.condense(seed=0), made.condense(seed=1)
    made.write()
    name = made.submit([a, b], sent=LONG_AGO)
    queue = FakeQueue(squeue_row("608_0", "RUNNING"))
    observer = Observer(made.run, made.layout, queue)
    made.hint(name, 0, a, "recorded")
    path = made.run.done / f"{name}.0.jsonl"
    line = path.read_bytes().replace(a.encode(), b.encode())
    with path.open("ab") as file:
        file.write(line[:20])
    assert states(observer.snapshot()) == {a: "recorded", b: "queued"}
    with path.open("ab") as file:
        file.write(line[20:] + b"not a hint\n")
    shot = observer.snapshot()
    assert states(shot) == {a: "recorded", b: "recorded"}
    assert path.name in shot.problems[0]


def test_work_of_another_run_is_seen(made: MadeRun, tmp_path: Path) -> None:
    """What was live elsewhere at the submit was not sent again: the other run's element and hints tell."""
    a, b = made.condense(seed=0), made.condense(seed=1)
    made.write()
    other = MadeRun(tmp_path, "other-20260101T000001Z")
    other.tasks, other.lines = made.tasks, made.lines
    other.write()
    name = other.submit([a], [b], job="9", sent=LONG_AGO)
    queue = FakeQueue(squeue_row("9_0", "RUNNING"), squeue_row("9_1", "PENDING"))
    observer = Observer(made.run, made.layout, queue)
    made.lease(a, "9_0")
    assert states(observer.snapshot()) == {a: "running", b: "queued"}
    other.hint(name, 0, a, "recorded")
    assert states(observer.snapshot()) == {a: "recorded", b: "queued"}


def test_what_has_settled_is_not_read_again(made: MadeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second snapshot of a run that has failed opens no task's folder; `forget` makes it look again."""
    wanted = [made.condense(seed=i) for i in range(5)]
    made.write()
    made.submit(*[[key] for key in wanted], sent=LONG_AGO)
    for key in wanted:
        made.ended(key, "failed", "boom")
    observer = Observer(made.run, made.layout, FakeQueue())
    observer.snapshot()
    opened: list[object] = []
    real = store.is_recorded
    monkeypatch.setattr(store, "is_recorded", lambda folder: opened.append(folder) or real(folder))
    observer.snapshot()
    assert opened == []
    observer.forget()
    observer.snapshot()
    assert len(opened) == 5


@pytest.mark.parametrize(("queue", "end"), [(FakeQueue(), "failed"), (FakeQueue(), "recorded"), (None, "failed")])
def test_an_attempt_that_goes_on_is_read_at_each_look(made: MadeRun, queue: FakeQueue | None, end: str) -> None:
    """Where the queue does not show its element, by hand or on another cluster, and where there is none to ask."""
    key = made.condense()
    made.write()
    made.submit([key], sent=LONG_AGO)
    held = made.lease(key, owner=strange_owner())
    observer = Observer(made.run, made.layout, queue)
    for step in range(1, 4):
        held.pulse(step=step, total=9, values={"loss": 1.0 / step}, cost={})
        (row,) = observer.snapshot().rows
        assert (row.state, row.step, row.values) == ("running", step, {"loss": 1.0 / step})
    if end == "recorded":
        made.record(key)
    else:
        held.end("failed", "ValueError: no luck")
    (row,) = observer.snapshot().rows
    assert (row.state, row.detail) == (end, "" if end == "recorded" else "ValueError: no luck")


def test_a_run_whose_folder_is_gone_says_so_and_grows_old(made: MadeRun) -> None:
    """Its store was moved away: a finished run keeps its rows and the age of its last look; back again, it is new."""
    key = made.condense()
    made.write()
    made.hint(made.submit([key], sent=LONG_AGO), 0, key, "recorded")
    now = [1000.0]
    observer = Observer(made.run, made.layout, None, clock=lambda: now[0])
    assert observer.snapshot().problems == []
    root, away = made.layout.root, made.layout.root.with_name("away")
    root.rename(away)
    now[0] = 1600.0
    gone = observer.snapshot()
    assert states(gone) == {key: "recorded"}
    assert gone.taken_s == 1000.0
    assert gone.problems[0].startswith("the run's folder is gone")
    assert str(made.run.path) in gone.problems[0]
    away.rename(root)
    back = observer.snapshot()
    assert (back.taken_s, back.problems) == (1600.0, [])


def test_snapshot_is_json_and_comes_back(made: MadeRun) -> None:
    """`status --json` prints exactly the snapshot: it decodes to an equal value."""
    made.condense()
    made.write()
    shot = look(made, FakeQueue())
    assert msgspec.json.decode(msgspec.json.encode(shot), type=Snapshot) == shot


# -- again and again ---------------------------------------------------------------------------------------------


def test_rows_that_did_not_change_are_the_same_objects(made: MadeRun) -> None:
    """A second snapshot makes new rows only for what changed, and the first one's list stays as it was."""
    a = [made.condense(seed=i) for i in range(6)]
    made.write()
    name = made.submit(*[[key] for key in a], sent=LONG_AGO)
    held = made.lease(a[0], "608_0")
    queue = FakeQueue(squeue_row("608_[0-1]", "RUNNING"), squeue_row("608_[2-5]", "PENDING", "Priority"))
    observer = Observer(made.run, made.layout, queue)
    first = observer.snapshot()
    kept = list(first.rows)
    assert findings.changed(first, observer.snapshot()) == []
    held.pulse(step=4, total=9, values={}, cost={})
    made.hint(name, 1, a[1], "recorded")
    queue.text = queue.text.replace("608_[2-5]", "608_[3-5]") + squeue_row("608_2", "RUNNING")
    second = observer.snapshot()
    assert findings.changed(first, second) == [0, 1, 2]
    assert [row.state for row in second.rows] == ["running", "recorded", "queued", "queued", "queued", "queued"]
    assert first.rows == kept


def test_what_waits_or_is_settled_is_not_judged_again(made: MadeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 300 tasks a refresh judges the one that runs."""
    a = [made.condense(seed=i) for i in range(300)]
    made.write()
    name = made.submit(*[[key] for key in a], sent=LONG_AGO)
    for index in range(100):
        made.hint(name, index, a[index], "recorded")
    made.lease(a[100], "608_100")
    queue = FakeQueue(squeue_row("608_100", "RUNNING"), squeue_row("608_[101-299]", "PENDING", "Priority"))
    observer = Observer(made.run, made.layout, queue)
    observer.snapshot()
    judged: list[int] = []
    real = Observer._judge_one
    monkeypatch.setattr(Observer, "_judge_one", lambda self, at, *rest: judged.append(at) or real(self, at, *rest))
    observer.snapshot()
    assert judged == [100]


def test_a_rescan_between_two_looks_is_believed_for_itself_alone(made: MadeRun) -> None:
    """It overrules hints; the next look trusts them again, and knows what the rescan found beside them."""
    a, b = made.condense(seed=0), made.condense(seed=1)
    made.write()
    name = made.submit([a], [b], sent=LONG_AGO)
    made.hint(name, 0, a, "recorded")
    queue = FakeQueue(squeue_row("608_1", "RUNNING"))
    observer = Observer(made.run, made.layout, queue)
    assert states(observer.snapshot()) == {a: "recorded", b: "queued"}
    made.record(b)
    assert states(observer.snapshot(rescan=True)) == {a: "lost", b: "recorded"}
    assert states(observer.snapshot()) == {a: "recorded", b: "recorded"}
    assert observer.snapshot().counts["condense"]["lost"] == 0


class Turmoil:
    """A run to which things happen by chance: to each array element its tasks, to the queue its rows."""

    def __init__(self, made: MadeRun, chance: random.Random) -> None:
        self.made = made
        self.chance = chance
        self.queue = FakeQueue()
        sets = [made.condense(seed=seed) for seed in range(12)]
        students = [made.evaluate(key, seed=seed) for key in sets for seed in range(2)]
        self.keys = sets + students
        made.write()
        self.leases: dict[str, lease.Lease] = {}
        self.failed: set[tuple[str, str]] = set()
        self.rows: dict[str, tuple[str, str]] = {}
        self.packs: dict[tuple[str, int], list[str]] = {}
        self.arrays = 0
        self.send(self.keys[: len(self.keys) // 2])

    def send(self, keys: list[str]) -> None:
        """An array of elements of two tasks."""
        self.arrays += 1
        packs = [keys[at : at + 2] for at in range(0, len(keys), 2)]
        self.made.submit(*packs, job=str(self.arrays), sent=LONG_AGO)
        for index, pack in enumerate(packs):
            self.packs[str(self.arrays), index] = pack
            self.rows[f"{self.arrays}_{index}"] = ("PENDING", "Priority")

    def replace_or_cancel(self, name: str, index: int) -> None:
        """Send again what is in no element of the queue, or cancel an element."""
        queued = {key for (job, at), pack in self.packs.items() if f"{job}_{at}" in self.rows for key in pack}
        free = [key for key in self.keys if key not in queued]
        if self.chance.random() < 0.5 and len(free) >= 4:
            self.send(self.chance.sample(free, 4))
        else:
            runs.append(self.made.run, runs.Cancel(name=name, elements=(index,), time=runs.now()))

    def compute(self, element: str, key: str) -> None:
        """A running element begins a task, goes on with it or ends it."""
        job, index = element.split("_")
        held = self.leases.get(key)
        if held is None or held.owner.job != element:
            if not self.made.folder(key).record.exists() and (element, key) not in self.failed:
                self.leases[key] = self.made.lease(key, element)
            return
        outcome = self.chance.choice(["", "failed", "stopped", "recorded"])
        if not outcome:
            held.pulse(step=self.chance.randrange(9), total=9, values={}, cost={})
            return
        self.leases.pop(key).end(outcome, "boom")
        if outcome == "recorded":
            self.made.record(key)
        elif outcome == "failed":  # an element does not try it again
            self.failed.add((element, key))
        if self.chance.random() < 0.8:
            self.made.hint(f"sub-{job}", int(index), key, outcome)

    def happen(self) -> None:
        """One thing."""
        job, index = self.chance.choice(list(self.packs))
        element, key = f"{job}_{index}", self.chance.choice(self.packs[job, index])
        kind = self.chance.randrange(9)
        state = self.rows.get(element, ("", ""))[0]
        if kind == 0 and state:
            self.rows[element] = self.chance.choice([("PENDING", "Priority"), ("PENDING", "JobHeldUser")])
        elif kind in {1, 2} and state:
            self.rows[element] = ("RUNNING", "None")
        elif kind == 3:
            self.rows.pop(element, None)
        elif kind == 4:
            self.replace_or_cancel(f"sub-{job}", index)
        elif state == "RUNNING":
            self.compute(element, key)
        self.queue.text = "".join(squeue_row(element, *state) for element, state in self.rows.items())


@pytest.mark.parametrize("seed", range(8))
def test_looking_again_and_again_is_as_looking_for_the_first_time(made: MadeRun, seed: int) -> None:
    """Whatever happens: rows, counts and problems are those of an observer that knows nothing.

    One thing between two looks: an element that runs and is held again between them leaves no trace in the queue.
    """
    turmoil = Turmoil(made, random.Random(seed))
    observer = Observer(made.run, made.layout, turmoil.queue, grace_s=0.0)
    for _ in range(120):
        turmoil.happen()
        seen = observer.snapshot()
        fresh = Observer(made.run, made.layout, turmoil.queue, grace_s=0.0).snapshot()
        assert seen.rows == fresh.rows
        assert (seen.counts, seen.state, seen.problems) == (fresh.counts, fresh.state, fresh.problems)


def test_many_that_may_run_are_looked_at_in_turn(made: MadeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more active tasks than one look takes on each is seen after some looks, and what runs at each."""
    monkeypatch.setattr(observe, "_LOOKS_AT_ONCE", 8)
    a = [made.condense(seed=i) for i in range(40)]
    made.write()
    made.submit(a, sent=LONG_AGO)
    observer = Observer(made.run, made.layout, FakeQueue(squeue_row("608_0", "RUNNING")))
    observer.snapshot()
    held = made.lease(a[30], "608_0")
    looks = 0
    while observer.snapshot().rows[30].state != "running":
        looks += 1
        assert looks <= 12
    held.pulse(step=5, total=9, values={}, cost={})
    assert observer.snapshot().rows[30].step == 5


# -- on the local back-end ---------------------------------------------------------------------------------------


def test_living_pool_holds_its_tasks_and_a_dead_one_lets_go(made: MadeRun) -> None:
    """Workers are alive when their pid has the recorded start; then an unfinished task waits, else it is new."""
    a, b, c = (made.condense(seed=i) for i in range(3))
    made.write()
    name = made.pool(a, b, c, pids=own_pid())
    made.hint(name, 0, a, "recorded")
    made.lease(b)
    assert states(look(made)) == {a: "recorded", b: "running", c: "queued"}
    made.pool(b, c, pids={str(os.getpid()): 1}, name="pool2")
    assert states(look(made)) == {a: "recorded", b: "running", c: "new"}


def test_task_whose_local_process_died_is_lost(made: MadeRun) -> None:
    """A lease without an end whose owner is provably gone, in a pool that is gone."""
    a = made.condense()
    made.write()
    made.pool(a, pids={"1": 1})
    made.lease(a, owner=dead_owner())
    shot = look(made)
    assert (states(shot), shot.rows[0].detail) == ({a: "lost"}, "the worker died")


def test_pool_on_another_host_lives_as_long_as_its_heartbeats(made: MadeRun) -> None:
    """Only the other host can see its processes; here a fresh heartbeat tells."""
    a, b = made.condense(seed=0), made.condense(seed=1)
    made.write()
    made.pool(a, b, pids={"1": 1}, host="elsewhere")
    made.lease(a, owner=strange_owner())
    assert states(look(made)) == {a: "running", b: "queued"}
    made.lease(a, owner=strange_owner(beat_age_s=5000))
    assert states(look(made)) == {a: "lost", b: "new"}


# -- live over all runs ------------------------------------------------------------------------------------------


def test_live_names_the_element_of_each_key_in_the_queue(made: MadeRun) -> None:
    """Recorded, failed, cancelled and vanished tasks are not live; waiting and running elements are."""
    a = [made.condense(seed=i) for i in range(6)]
    made.write()
    name = made.submit(a[:2], [a[2]], [a[3]], [a[4]], [a[5]])
    made.hint(name, 0, a[0], "failed")
    runs.append(made.run, runs.Cancel(name=name, elements=(2,), time=runs.now()))
    queue = FakeQueue(
        squeue_row("608_0", "RUNNING"),
        squeue_row("608_[1-2]", "PENDING", "Priority"),
        squeue_row("608_3", "COMPLETED"),
        squeue_row("608_4", "PENDING", "DependencyNeverSatisfied"),
    )
    found = observe.live(made.layout, queue)
    assert {key: held.element for key, held in found.items()} == {a[1]: "608_0", a[2]: "608_1"}
    assert queue.calls == 1


def test_live_local_work_has_a_live_lease(made: MadeRun) -> None:
    """A pool's task counts when a living process holds it; a lease of the dead does not."""
    a, b, c = (made.condense(seed=i) for i in range(3))
    made.write()
    made.pool(a, b, c, pids=own_pid())
    made.lease(a)
    made.lease(b, owner=dead_owner())
    assert observe.live(made.layout, None) == {a: observe.Live("", made.run.name)}


def test_live_passes_over_runs_that_are_over(made: MadeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Intents of a run without a job in the queue are not even decoded."""
    made.write()
    made.submit([made.condense()], job="1")
    monkeypatch.setattr(runs.Diary, "refresh", lambda _: pytest.fail("decoded an old run"))
    assert observe.live(made.layout, FakeQueue(squeue_row("2_0", "RUNNING"))) == {}


def test_live_finds_a_submission_whose_reply_was_lost(made: MadeRun) -> None:
    """Its name in the queue is enough."""
    a = made.condense()
    made.write()
    made.submit([a], name="condhpc-lost", reply=False)
    found = observe.live(made.layout, FakeQueue(squeue_row("5_[0]", "PENDING", name="condhpc-lost")))
    assert found == {a: observe.Live("5_0", made.run.name)}


def test_live_does_not_guess_when_squeue_fails(made: MadeRun) -> None:
    """A submit must not go on blind."""
    with pytest.raises(SchedulerError):
        observe.live(made.layout, FakeQueue(error=SchedulerError("down")))


def test_what_was_sent_with_more_is_told_until_it_is_recorded(made: MadeRun) -> None:
    """By stage and reason; recorded tasks need no explanation."""
    keys = [made.condense(seed=seed) for seed in range(3)]
    made.write()
    intent = runs.Intent(
        name="more", backend="slurm", elements=tuple((k,) for k in keys), why="24 GB: out of memory", time=1.0
    )
    runs.append(made.run, intent)
    runs.append(made.run, runs.Reply(name="more", job="608", time=1.0))
    made.record(keys[0])
    made.hint("more", 0, keys[0], "recorded")
    queue = FakeQueue(squeue_row("608_[1-2]", "PENDING"))
    assert look(made, queue).raised == ["2 condense with 24 GB: out of memory"]


# -- progress ----------------------------------------------------------------------------------------------------


def test_progress_speaks_only_when_something_changed(made: MadeRun) -> None:
    """Counts by stage from hints alone, cached tasks included, failures apart."""
    made.teacher(cached=True)
    a, b = made.condense(seed=0), made.condense(seed=1)
    made.write()
    name = made.pool(a, b, pids=own_pid())
    progress = observe.Progress(made.run)
    assert progress.line() == "teacher 1/1 · condense 0/2"
    assert progress.line() == ""
    made.hint(name, 0, a, "recorded")
    made.hint(name, 0, b, "failed")
    assert progress.line() == "teacher 1/1 · condense 1/2 · 1 failed"


def test_what_a_stopped_element_never_reached_is_new(made: MadeRun) -> None:
    """Its element says so, as it left the queue; of another one nobody knows anything: lost."""
    left, silent = made.condense(seed=0), made.condense(seed=1)
    name = made.write().submit([left], [silent], sent=1.0)
    made.hint(name, 0, left, "stopped")
    assert states(look(made, FakeQueue())) == {left: "new", silent: "lost"}


def test_what_a_budget_stopped_is_over_budget_until_it_is_raised(made: MadeRun) -> None:
    """Held, not begun and never sent: all for one reason. Raised, what no element has is new, and nothing is lost."""
    running, held, spared, unsent = (made.condense(seed=seed) for seed in range(4))
    name = made.write().submit([running], [held], [spared], sent=1.0)
    made.lease(running, "608_0")
    made.hint(name, 2, spared, "over_budget")
    made.run.over_budget.write_text("budget used up: 3 of 2 GPU-h\n")
    queue = FakeQueue(squeue_row("608_0", "RUNNING"), squeue_row("608_1", "PENDING", "JobHeldUser"))
    shot = look(made, queue)
    assert states(shot) == {running: "running", held: "over_budget", spared: "over_budget", unsent: "over_budget"}
    assert {row.detail for row in shot.rows[1:]} == {"budget used up: 3 of 2 GPU-h"}
    assert any(problem.startswith("3 over_budget: budget used up: 3 of 2 GPU-h;") for problem in shot.problems)
    made.run.over_budget.unlink()
    queue = FakeQueue(squeue_row("608_0", "RUNNING"), squeue_row("608_1", "PENDING"))
    assert states(look(made, queue)) == {running: "running", held: "queued", spared: "new", unsent: "new"}
