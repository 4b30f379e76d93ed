"""Elements as real processes: packs, stops and resumption, deaths, peers that share a list."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import fake_stages
import msgspec
import pytest
from children import PATIENCE_S, fork, kill, reap, until
from made_tasks import Start, analyze, condense, folder_of, site, write_payload

from condhpc import attempt, keys, lease, payload, scheduler, store, worker
from condhpc.layout import Layout
from condhpc.lease import End
from condhpc.spec import Task
from condhpc.worker import Worker


def _exit(process: subprocess.Popen[bytes]) -> int:
    return process.wait(PATIENCE_S)


def _did(root: Path, task: Task) -> list[str]:
    """What attempts at a task did, without pids: `1 start 0`, `1 step 0`."""
    lines = [line.split() for line in fake_stages.trace(root, keys.key(task))]
    return [" ".join([words[0], *words[2:]]) for words in lines]


def _starts(root: Path, task: Task) -> int:
    return sum(" start " in line for line in _did(root, task))


def _recorded(root: Path, *tasks: Task) -> list[bool]:
    return [store.is_recorded(folder_of(root, task)) for task in tasks]


def _end(root: Path, task: Task) -> End:
    folder = folder_of(root, task)
    found = lease.read_attempt(folder, lease.latest_number(folder))
    assert found is not None
    assert found.end is not None, "the diary was not ended"
    return found.end


def _hints(root: Path) -> dict[str, dict[str, str]]:
    """By file: key to its last result."""
    found: dict[str, dict[str, str]] = {}
    for path in sorted(Layout(root).run("r").done.glob("*")):
        lines = [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
        found[path.name] = {line["key"]: line["result"] for line in lines}
    return found


# -- packs -------------------------------------------------------------------------------------------------


def test_a_pack_runs_to_its_end_whatever_fails(root: Path, start: Start, tmp_path: Path) -> None:
    """One task fails, one crashes; the others are recorded, the element exits 1, hints tell each result."""
    fine, last = condense(0), condense(3)
    fails, crashes = condense(1, do="fail"), condense(2, do="crash")
    path = write_payload(root, [[condense(9)], [fine, fails, crashes, last]])
    assert _exit(start(path, 1)) == 1
    assert _recorded(root, fine, fails, crashes, last, condense(9)) == [True, False, False, True, False]
    assert "the loss is not finite" in _end(root, fails).reason
    assert "a crash in native code" in _end(root, crashes).reason
    told = dict.fromkeys(map(keys.key, (fine, last)), "recorded") | dict.fromkeys(
        map(keys.key, (fails, crashes)), "failed"
    )
    assert _hints(root) == {"p.1.jsonl": told}
    log = (tmp_path / "log").read_text()
    assert f"condense {keys.key(fine)} attempt 1: recorded" in log
    assert "signal 6" in log


def test_recorded_tasks_are_skipped(root: Path, start: Start) -> None:
    """A pack that was recorded before costs no attempt and exits 0; its hints say so."""
    tasks = [condense(0), condense(1)]
    assert attempt.run(keys.preimage(tasks[0]), site(root), threading.Event()) == "recorded"
    path = write_payload(root, [tasks])
    assert _exit(start(path)) == 0
    assert _exit(start(path)) == 0
    assert [_starts(root, task) for task in tasks] == [1, 1]
    assert set(_hints(root)["p.0.jsonl"].values()) == {"cached"}


def test_a_missing_input_blocks(root: Path, start: Start) -> None:
    """Without its input a task leaves a `blocked` diary that names it, and the element exits 3."""
    task = analyze({"set": keys.key(condense())})
    assert _exit(start(write_payload(root, [[task]]))) == 3
    assert (_end(root, task).outcome, keys.key(condense()) in _end(root, task).reason) == ("blocked", True)
    assert _hints(root)["p.0.jsonl"] == {keys.key(task): "blocked"}


def test_a_corrupt_record_fails_its_own_task_only(root: Path, start: Start, tmp_path: Path) -> None:
    """An unreadable record is reported and left alone; the rest of the pack is computed."""
    bad, fine = condense(0), condense(1)
    assert attempt.run(keys.preimage(bad), site(root), threading.Event()) == "recorded"
    folder_of(root, bad).record.write_bytes(b"{")
    assert _exit(start(write_payload(root, [[bad, fine]]))) == 1
    assert _recorded(root, fine) == [True]
    assert "not a readable record" in (tmp_path / "log").read_text()
    assert _hints(root)["p.0.jsonl"] == {keys.key(bad): "failed", keys.key(fine): "recorded"}


def test_a_killed_child_costs_its_own_task_only(root: Path, start: Start) -> None:
    """SIGKILL of a task's process: its diary is ended on its behalf, the pack goes on, the element exits 1."""
    victim, other = condense(0, do="deaf", gate="never"), condense(1)
    process = start(write_payload(root, [[victim, other]]))
    until(lambda: len(_did(root, victim)) == 2, "the victim to work")
    os.kill(int(fake_stages.trace(root, keys.key(victim))[0].split()[1]), signal.SIGKILL)
    assert _exit(process) == 1
    assert (_end(root, victim).outcome, "killed by hand" in _end(root, victim).reason) == ("failed", True)
    assert _recorded(root, victim, other) == [False, True]


def test_failures_of_this_submission_are_not_repeated_older_ones_are(root: Path, start: Start) -> None:
    """A requeued element does not try again what failed; a later submission does."""
    task = condense(do="fail")
    first = write_payload(root, [[task]], created=0.0)
    assert _exit(start(first)) == 1
    assert _exit(start(first)) == 1
    assert _starts(root, task) == 1
    header, element = payload.read(first, 0)
    later = first.with_name("later.jsonl")
    created = _end(root, task).time + 1.0
    payload.write(later, msgspec.structs.replace(header, created=created), [[bytes(raw) for raw in element.tasks]])
    assert _exit(start(later)) == 1
    assert _starts(root, task) == 2


def test_what_was_tried_comes_last(root: Path, stages: Path, own_signals: None) -> None:
    """One bad task must not eat every restart of its pack: fresh ones go first, in their order."""
    tasks = [condense(number) for number in range(3)]
    for _ in range(2):
        tried = lease.acquire(_folder(root, tasks[0]), lease.myself(), lambda _: True)
        assert tried is not None
        tried.end("stopped")
    path = write_payload(root, [tasks])
    header, element = payload.read(path, 0)
    assert [work.task for work in Worker(header, element, path, 0).work] == [tasks[1], tasks[2], tasks[0]]


def _folder(root: Path, task: Task) -> Any:
    folder = folder_of(root, task)
    store.write_task(folder, keys.preimage(task))
    return folder


def test_a_pack_waits_for_a_task_that_another_computes(
    root: Path, stages: Path, own_signals: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A leased task is put off, not failed: the rest goes first, then its record is waited for."""
    monkeypatch.setattr(worker, "_BUSY_POLL_S", 0.02)
    busy, other = condense(0, do="wait", gate="open"), condense(1)
    third = fork(lambda: attempt.run(keys.preimage(busy), site(root), threading.Event()) != "recorded")
    until(lambda: len(_did(root, busy)) == 2, "the third process to work")

    def open_when_done() -> None:
        until(lambda: _recorded(root, other) == [True], "the rest of the pack")
        (root / "open").touch()

    opener = fork(open_when_done)
    assert _worker(write_payload(root, [[busy, other]])).main() == 0
    assert _recorded(root, busy, other) == [True, True]
    assert _starts(root, busy) == 1
    assert [reap(third), reap(opener)] == [0, 0]


# -- stops -------------------------------------------------------------------------------------------------


def test_usr2_checkpoints_and_the_next_element_goes_on(root: Path, start: Start) -> None:
    """Told that its time ends, a worker exits 75 after the child's checkpoint; no step is done twice later."""
    long, after = condense(0, steps=6, at=3, do="wait", gate="open"), condense(1)
    path = write_payload(root, [[long, after]])
    process = start(path)
    until(lambda: "1 step 3" in _did(root, long), "step 3")
    process.send_signal(signal.SIGUSR2)
    assert _exit(process) == 75
    assert _end(root, long).outcome == "stopped"
    assert _starts(root, after) == 0
    assert _hints(root)["p.0.jsonl"] == dict.fromkeys(map(keys.key, (long, after)), "stopped")
    (root / "open").touch()
    assert _exit(start(path)) == 0
    assert _recorded(root, long, after) == [True, True]
    assert _did(root, long) == [
        *("1 start 0", "1 step 0", "1 step 1", "1 step 2", "1 step 3"),
        *("2 start 3", "2 step 3", "2 step 4", "2 step 5"),
    ]


def test_a_deaf_child_is_killed_after_the_grace(root: Path, start: Start) -> None:
    """A stage that ignores the stop is killed before Slurm would kill the whole element; its checkpoint stands."""
    task = condense(steps=4, at=2, do="deaf", gate="never")
    process = start(write_payload(root, [[task]], signal_s=1, site_checkpoint_s=0.0))
    until(lambda: "1 step 2" in _did(root, task), "step 2")
    process.send_signal(signal.SIGTERM)
    assert _exit(process) == 75
    assert (_end(root, task).outcome, "did not stop in time" in _end(root, task).reason) == ("stopped", True)
    assert folder_of(root, task).checkpoint(1).read_text() == "2"


def test_a_cancelled_run_starts_nothing_more(root: Path, start: Start) -> None:
    """With the run's cancel marker there, the worker ends with what is left undone."""
    running, after = condense(0, do="wait", gate="open"), condense(1)
    process = start(write_payload(root, [[running, after]]))
    until(lambda: len(_did(root, running)) == 2, "the first task")
    Layout(root).run("r").cancel.touch()
    (root / "open").touch()
    assert _exit(process) == 75
    assert _recorded(root, running, after) == [True, False]
    assert _starts(root, after) == 0


def test_a_worker_over_budget_begins_nothing_more(root: Path, start: Start, tmp_path: Path) -> None:
    """The running task is recorded; the others are told as `over_budget`, without an attempt, and not as failures."""
    running, after, last = condense(0, do="wait", gate="open"), condense(1), condense(2)
    process = start(write_payload(root, [[running, after, last]]))
    until(lambda: len(_did(root, running)) == 2, "the first task")
    Layout(root).run("r").over_budget.touch()
    (root / "open").touch()
    assert _exit(process) == 75
    assert _recorded(root, running, after, last) == [True, False, False]
    assert _starts(root, after) == 0
    told = {keys.key(running): "recorded", keys.key(after): "over_budget", keys.key(last): "over_budget"}
    assert _hints(root) == {"p.0.jsonl": told}
    assert "over_budget: 2 tasks are not begun" in (tmp_path / "log").read_text()


def test_a_worker_over_budget_is_not_requeued(root: Path, stages: Path, own_signals: None) -> None:
    """USR2 near the time limit means `later`, but not while the budget is used up."""
    worker_ = _worker(write_payload(root, [[condense()]], requeue=True))
    worker_.flags.requeue = True
    assert worker_._may_requeue()
    worker_.run.path.mkdir(parents=True, exist_ok=True)
    worker_.run.over_budget.touch()
    assert not worker_._may_requeue()


@pytest.mark.usefixtures("stages", "own_signals")
def test_a_stopped_element_leaves_word_of_what_is_free_only(root: Path) -> None:
    """Not of what is recorded, leased by another or failed in this submission: these have words of their own."""
    done, leased, bad, free = tasks = [condense(number) for number in range(4)]
    assert attempt.run(keys.preimage(done), site(root), threading.Event()) == "recorded"
    assert lease.acquire(_folder(root, leased), lease.myself(), lambda _: True) is not None
    failed = lease.acquire(_folder(root, bad), lease.myself(), lambda _: True)
    assert failed is not None
    failed.end("failed", "ValueError: no")
    element = _worker(write_payload(root, [tasks], created=0.0))
    element.flags.stop = True
    assert element.main() == 75
    assert _hints(root)["p.0.jsonl"] == {keys.key(free): "stopped"}


@pytest.mark.parametrize(("time_min", "margin_s", "code"), [(0, 1e9, 0), (1, 61.0, 75), (2, 61.0, 0)])
def test_no_task_starts_in_the_margin(root: Path, start: Start, time_min: int, margin_s: float, code: int) -> None:
    """With less than the margin left nothing starts; an element without a limit (0) always has time."""
    task = condense()
    assert _exit(start(write_payload(root, [[task]], time_min=time_min, margin_s=margin_s))) == code
    assert _recorded(root, task) == [code == 0]


def test_an_unreadable_payload_is_one_line(root: Path, start: Start, tmp_path: Path) -> None:
    """The log says what is wrong with the file or the index, without a traceback."""
    assert _exit(start(write_payload(root, [[]]), 7)) == 3
    assert (tmp_path / "log").read_text().startswith("condhpc.worker: ")
    assert "Traceback" not in (tmp_path / "log").read_text()


# -- requeue and siblings (what Slurm would be told) -------------------------------------------------------


class _Told:
    """Stands in for Slurm's commands: notes what they would be told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.requeued: list[str] = []
        self.cancelled: list[str] = []
        monkeypatch.setattr(scheduler.Slurm, "requeue", lambda _, job: self.requeued.append(job))
        monkeypatch.setattr(scheduler.Slurm, "cancel_pending", lambda _, ids: self.cancelled.extend(ids))
        monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "608")
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")


def _worker(path: Path, element: int = 0) -> Worker:
    header, found = payload.read(path, element)
    return Worker(header, found, path, element)


@pytest.mark.parametrize(
    ("fields", "number", "restarts", "requeued"),
    [
        ({"requeue": True}, signal.SIGUSR2, 0, True),
        ({"requeue": True}, signal.SIGTERM, 0, False),
        ({"requeue": False}, signal.SIGUSR2, 0, False),
        ({"requeue": True, "max_requeues": 3}, signal.SIGUSR2, 3, False),
    ],
)
@pytest.mark.usefixtures("stages", "own_signals")
def test_only_a_time_limit_puts_an_element_back(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    fields: dict[str, Any],
    *,
    number: int,
    restarts: int,
    requeued: bool,
) -> None:
    """USR2 requeues where the profile wants it, a bounded number of times; TERM does not."""
    told = _Told(monkeypatch)
    monkeypatch.setenv("SLURM_RESTART_COUNT", str(restarts))
    element = _worker(write_payload(root, [[condense()]], **fields))
    os.kill(os.getpid(), number)
    assert element.main() == 75
    assert told.requeued == (["608_0"] if requeued else [])


@pytest.mark.usefixtures("stages", "own_signals")
def test_a_cancelled_element_is_not_put_back(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's cancel wins over a time limit that comes in the same minute."""
    told = _Told(monkeypatch)
    element = _worker(write_payload(root, [[condense()]], requeue=True))
    element.run.cancel.touch()
    os.kill(os.getpid(), signal.SIGUSR2)
    assert element.main() == 75
    assert told.requeued == []


@pytest.mark.usefixtures("stages", "own_signals")
def test_siblings_that_miss_the_same_input_are_cancelled(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Later elements all of whose tasks need the missing input would start for nothing; others stay."""
    told = _Told(monkeypatch)
    there = condense(1)
    assert attempt.run(keys.preimage(there), site(root), threading.Event()) == "recorded"
    missing, present = {"set": keys.key(condense(0))}, {"set": keys.key(there)}
    packs = [
        [analyze(missing, k=0)],
        [analyze(missing, k=1), analyze(missing, k=2)],
        [analyze(missing, k=3), analyze(present, k=4)],
        [analyze(present, k=5)],
        [analyze({**missing, "embedding": "0" * 32}, k=6)],
    ]
    assert _worker(write_payload(root, packs)).main() == 3
    assert told.cancelled == ["608_1", "608_4"]


# -- peers -------------------------------------------------------------------------------------------------


def test_two_peers_compute_every_task_once_in_order(root: Path, start: Start) -> None:
    """Two workers share one list, its dependants first: each task is computed once, after its input, by either."""
    sets = [condense(number, steps=2) for number in range(8)]
    metrics = [analyze({"set": keys.key(held)}, steps=2) for held in sets]
    path = write_payload(root, [[*metrics, *sets]], peers=True, time_min=0)
    processes = [start(path), start(path)]
    assert [_exit(process) for process in processes] == [0, 0]
    assert all(_recorded(root, *sets, *metrics))
    assert [_starts(root, task) for task in [*sets, *metrics]] == [1] * 16
    for source, task in zip(sets, metrics, strict=True):
        before, after = (store.read_record(folder_of(root, one)) for one in (source, task))
        assert before is not None
        assert after is not None
        assert before.ended <= after.started
    hints = _hints(root)
    assert set(hints) == {f"p.0-{process.pid}.jsonl" for process in processes}
    computed = Counter(key for told in hints.values() for key, result in told.items() if result == "recorded")
    assert computed == Counter(map(keys.key, [*sets, *metrics]))


def test_a_failed_input_blocks_its_dependants_in_both_peers(root: Path, start: Start) -> None:
    """Both workers end, with the status of a failure; each dependant, near or far, has a `blocked` diary.

    Who looks in the very moment between a failure and its notice tries once more, so each peer tries at most once.
    """
    bad = condense(0, do="fail")
    near = analyze({"set": keys.key(bad)})
    far = condense(1, inputs={"set": keys.key(near)})
    fine = condense(2)
    path = write_payload(root, [[bad, near, far, fine]], peers=True)
    processes = [start(path), start(path)]
    assert [_exit(process) for process in processes] == [1, 1]
    assert _starts(root, bad) in {1, 2}
    assert _recorded(root, bad, near, far, fine) == [False, False, False, True]
    assert (_end(root, near).outcome, _end(root, far).outcome) == ("blocked", "blocked")
    assert all(lease.latest_number(folder_of(root, task)) in {1, 2} for task in (near, far))


def test_an_input_that_nobody_computes_blocks_a_peer(root: Path, start: Start) -> None:
    """An unrecorded input outside the list (purged since it was planned) is not waited for for ever."""
    task = analyze({"set": keys.key(condense(7))})
    assert _exit(start(write_payload(root, [[task]], peers=True))) == 3
    assert _end(root, task).outcome == "blocked"


def test_an_input_without_a_diary_blocks_a_peer(root: Path, start: Start) -> None:
    """A task that fails before it can leave a diary (its folder holds another task) dooms its dependants too."""
    bad = condense(0)
    task = analyze({"set": keys.key(bad)})
    store.write_task(folder_of(root, bad), keys.preimage(bad))
    folder_of(root, bad).task.write_bytes(b"{}")
    path = write_payload(root, [[bad, task]], peers=True)
    processes = [start(path), start(path)]
    assert [_exit(process) for process in processes] == [1, 1]
    assert _end(root, task).outcome == "blocked"


def test_a_third_processs_result_is_waited_for_and_used(root: Path, start: Start) -> None:
    """A task leased by a live process outside the pool is left to it; its dependant runs with its result."""
    source = condense(0, do="wait", gate="open")
    task, other = analyze({"set": keys.key(source)}), condense(1)
    third = fork(lambda: attempt.run(keys.preimage(source), site(root), threading.Event()) != "recorded")
    until(lambda: len(_did(root, source)) == 2, "the third process to work")
    process = start(write_payload(root, [[source, task, other]], peers=True))
    until(lambda: _recorded(root, other) == [True], "the worker to do the rest")
    assert process.poll() is None
    (root / "open").touch()
    assert _exit(process) == 0
    assert _recorded(root, source, task) == [True, True]
    assert (_starts(root, source), _starts(root, task)) == (1, 1)
    assert reap(third) == 0


def test_a_dead_third_process_is_taken_over(root: Path, start: Start) -> None:
    """When the process that was waited for dies, the worker finishes its task from the checkpoint."""
    source = condense(0, steps=4, at=2, do="wait", gate="open")
    task = analyze({"set": keys.key(source)})
    fields = {"checkpoint_s": 0.0}
    third = fork(lambda: attempt.run(keys.preimage(source), site(root, **fields), threading.Event()) != "recorded")
    until(folder_of(root, source).checkpoint(1).exists, "a checkpoint")
    until(lambda: "1 step 2" in _did(root, source), "step 2")
    process = start(write_payload(root, [[source, task]], peers=True))
    until(Layout(root).run("r").payloads.exists, "the payload")
    kill(third)
    (root / "open").touch()
    assert _exit(process) == 0
    assert _recorded(root, source, task) == [True, True]
    assert [line for line in _did(root, source) if line.startswith("2")] == ["2 start 2", "2 step 2", "2 step 3"]


def test_a_standing_heartbeat_is_taken_over(root: Path, start: Start) -> None:
    """Nothing proves the death of an owner on another machine, but its silence does, and its end is fenced."""
    task = condense()
    elsewhere = msgspec.structs.replace(lease.myself(), host="elsewhere")
    old = lease.acquire(_folder(root, task), elsewhere, lambda _: True)
    assert old is not None
    process = start(write_payload(root, [[task]], peers=True, site_lease_stale_s=0.5))
    assert _exit(process) == 0
    record = store.read_record(folder_of(root, task))
    assert record is not None
    assert (record.attempt, record.attempts[0].owner.host) == (2, "elsewhere")
    assert not old.is_current()


def test_killed_peers_leave_work_that_the_next_pool_finishes(root: Path, start: Start) -> None:
    """SIGKILL of a whole pool, children included, and a new one: everything recorded, nothing recorded twice."""
    sets = [condense(number, steps=30) for number in range(6)]
    path = write_payload(root, [sets], peers=True, site_checkpoint_s=0.0)
    processes = [start(path), start(path)]
    until(lambda: any(_recorded(root, *sets)), "a first record")
    before = {keys.key(task) for task in sets if _recorded(root, task) == [True]}
    for process in processes:
        process.kill()
        process.wait()
    assert _exit(start(path)) == 0
    assert all(_recorded(root, *sets))
    assert all(_starts(root, task) == 1 for task in sets if keys.key(task) in before)


# -- lanes -------------------------------------------------------------------------------------------------


def test_lanes_run_several_tasks_at_a_time(root: Path, start: Start) -> None:
    """Two at once, never more, each task once; a task is charged its share of the element's GPUs."""
    tasks = [condense(number, do="wait", gate="open") for number in range(4)]
    process = start(write_payload(root, [tasks], concurrent=2, site_gpus=1))
    until(lambda: sum(_starts(root, task) for task in tasks) == 2, "two tasks to work")
    (root / "open").touch()
    assert _exit(process) == 0
    assert [_starts(root, task) for task in tasks] == [1] * 4
    for task in tasks:
        record = store.read_record(folder_of(root, task))
        assert record is not None
        assert record.environment["lanes"] == 2
        assert record.cost["gpu_s"] == pytest.approx(record.cost["wall_s"] / 2, abs=1e-2)
    assert sorted(_hints(root)) == ["p.0-0.jsonl", "p.0-1.jsonl"]


def test_a_failure_in_one_lane_leaves_the_others_alone(root: Path, start: Start) -> None:
    """All that can be recorded is, and the element exits with the failure."""
    tasks = [condense(0), condense(1, do="fail"), condense(2, do="crash"), condense(3)]
    assert _exit(start(write_payload(root, [tasks], concurrent=3))) == 1
    assert _recorded(root, *tasks) == [True, False, False, True]


def test_a_stop_reaches_all_lanes(root: Path, start: Start) -> None:
    """Every running task leaves a checkpoint, and the same element goes on from them."""
    tasks = [condense(number, steps=4, at=2, do="wait", gate="open") for number in range(2)]
    path = write_payload(root, [tasks], concurrent=2)
    process = start(path)
    until(lambda: all("1 step 2" in _did(root, task) for task in tasks), "both tasks to wait")
    process.send_signal(signal.SIGUSR2)
    assert _exit(process) == 75
    assert [_end(root, task).outcome for task in tasks] == ["stopped", "stopped"]
    (root / "open").touch()
    assert _exit(start(path)) == 0
    assert ["2 start 2" in _did(root, task) for task in tasks] == [True, True]
