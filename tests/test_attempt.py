"""One attempt: every way out ends the diary, and only the holder of the lease records."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Any

import fake_stages
import pytest
from children import fork, kill, reap, until
from made_tasks import analyze, condense, embed, folder_of, site

from condhpc import attempt, keys, lease, registry, store
from condhpc.attempt import Result
from condhpc.energy import Power
from condhpc.errors import CorruptArtefactError
from condhpc.lease import Attempt
from condhpc.spec import Task

_COST = {"wall_s", "cpu_s", "gpu_s", "peak_rss_bytes"}
"""What is always measured."""

pytestmark = pytest.mark.usefixtures("stages")


def _run(root: Path, task: Task, stop: threading.Event | None = None, **fields: Any) -> Result:
    return attempt.run(keys.preimage(task), site(root, **fields), stop or threading.Event())


def _newest(root: Path, task: Task) -> Attempt:
    folder = folder_of(root, task)
    found = lease.read_attempt(folder, lease.latest_number(folder))
    assert found is not None
    return found


def _files(root: Path, task: Task) -> list[str]:
    return sorted(path.name for path in folder_of(root, task).path.iterdir())


def test_a_recorded_task_tells_everything_and_leaves_nothing_else(root: Path) -> None:
    """The record holds values, artefacts, cost and surroundings; folder, task, record and artefact remain."""
    task = condense()
    assert _run(root, task, run="r", gpus=2, threads=3) == "recorded"
    record = store.read_record(folder_of(root, task))
    assert record is not None
    assert (record.key, record.stage, record.attempt, record.attempts) == (keys.key(task), "condense", 1, ())
    assert record.values == {"steps": 3, "inputs": []}
    assert record.artefacts["images"].file == "images.0001.txt"
    assert set(record.cost) >= _COST
    assert [figure.part for figure in record.energy] == ["gpu", "cpu", "dram"]
    assert record.cost["gpu_s"] == pytest.approx(2 * record.cost["wall_s"], abs=0.002)
    known = {"device": "cpu", "threads": 3, "run": "r", "job": "", "fake": True, "code": attempt.code_digest()}
    assert known.items() <= record.environment.items()
    assert record.environment["plugin_code"] == registry.code_digest("coresets", "random")
    assert 0 <= record.ended - record.started < 60
    assert store.read_task(folder_of(root, task)) == task
    assert _files(root, task) == ["images.0001.txt", "record.json", "task.json"]


def test_a_second_attempt_is_cached(root: Path) -> None:
    """The same key is computed once."""
    assert _run(root, condense()) == "recorded"
    assert _run(root, condense()) == "cached"
    assert len(fake_stages.trace(root, keys.key(condense()))) == 4


def test_dependants_use_the_recorded_artefact(root: Path) -> None:
    """A task reads its input's artefact; without one it is blocked and says which."""
    source, task = condense(), analyze({"set": keys.key(condense())})
    assert _run(root, task) == "blocked"
    end = _newest(root, task).end
    assert end is not None
    assert (end.outcome, keys.key(source) in end.reason) == ("blocked", True)
    assert _run(root, source) == "recorded"
    assert _run(root, task) == "recorded"
    record = store.read_record(folder_of(root, task))
    assert record is not None
    assert record.values["inputs"] == ["images.0001.txt"]
    assert [held.end.outcome for held in record.attempts if held.end] == ["blocked"]


@pytest.mark.parametrize(
    ("do", "reason"),
    [
        ("fail", "StageError: the loss is not finite at step 0; lower the rate"),
        ("bug", "ZeroDivisionError: a bug"),
        ("unencodable", "Encoding objects of type object is unsupported"),
        ("write_late", "StageError: the loss"),
    ],
)
def test_failures_end_the_diary_with_their_reason(root: Path, do: str, reason: str) -> None:
    """A mendable error gives its text, a bug its traceback; a value that no record can hold is a failure like any."""
    task = condense(do=do)
    assert _run(root, task) == "failed"
    end = _newest(root, task).end
    assert end is not None
    assert (end.outcome, set(end.cost) >= _COST) == ("failed", True)
    assert [figure.part for figure in end.energy] == ["cpu", "dram"]
    assert reason in end.reason
    assert ("Traceback" in end.reason) is (do in {"bug", "unencodable"})
    assert not folder_of(root, task).record.exists()


def test_failed_attempts_stay_in_the_record(root: Path) -> None:
    """Their cost is waste that somebody paid; their diaries and artefacts go."""
    task = condense(do="fail_once")
    assert [_run(root, task), _run(root, task)] == ["failed", "recorded"]
    record = store.read_record(folder_of(root, task))
    assert record is not None
    assert [(held.number, held.end.outcome) for held in record.attempts if held.end] == [(1, "failed")]
    assert record.attempts[0].end is not None
    assert record.attempts[0].end.cost["wall_s"] >= 0
    assert record.attempts[0].end.gpu == "NVIDIA Fake"
    assert _files(root, task) == ["images.0002.txt", "record.json", "task.json"]


def test_a_stopped_task_goes_on_from_its_checkpoint(root: Path) -> None:
    """The next attempt repeats no step that the checkpoint holds."""
    task, stop = condense(steps=4), threading.Event()
    stop.set()
    assert _run(root, task, stop) == "stopped"
    assert _files(root, task) == ["checkpoint.0001", "lease.0001", "task.json"]
    assert _run(root, task) == "recorded"
    steps = [line.split(maxsplit=2)[2] for line in fake_stages.trace(root, keys.key(task))]
    assert steps == ["start 0", "step 0", "start 1", "step 1", "step 2", "step 3"]


def test_a_live_owner_keeps_others_out(root: Path) -> None:
    """While one process computes a task another is told that it is busy, and computes it after the first's death."""
    task = condense(do="wait", gate="open")
    pid = fork(lambda: _run(root, task))
    until(lambda: len(fake_stages.trace(root, keys.key(task))) == 2, "the child to work")
    assert _run(root, task) == "busy"
    kill(pid)
    (root / "open").touch()
    assert _run(root, task) == "recorded"
    record = store.read_record(folder_of(root, task))
    assert record is not None
    assert [(held.number, held.owner.pid, held.end) for held in record.attempts] == [(1, pid, None)]


def test_a_late_loser_changes_nothing(root: Path) -> None:
    """Taken over and recorded by another, an attempt ends superseded: its artefact goes, the record stands."""
    task = condense(do="deaf", gate="open")
    folder = folder_of(root, task)
    loser = fork(lambda: attempt.exit_code(_run(root, task)))
    until(lambda: len(fake_stages.trace(root, keys.key(task))) == 2, "the first attempt to work")
    winner = fork(lambda: attempt.exit_code(attempt.run(keys.preimage(task), site(root), threading.Event(), _always)))
    until(lambda: len(fake_stages.trace(root, keys.key(task))) == 4, "the second attempt to work")
    (root / "open").touch()
    codes = {reap(loser): "loser", reap(winner): "winner"}
    assert codes == {attempt.exit_code("superseded"): "loser", 0: "winner"}
    record = store.read_record(folder)
    assert record is not None
    assert record.attempt == 2
    assert store.verified(folder, record, "images").read_text() == "images of attempt 2"
    assert [name for name in _files(root, task) if "images" in name] == ["images.0002.txt"]


def test_a_taken_over_attempt_ends_at_its_next_safe_point(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The pulse notices the takeover; the old attempt withdraws what it published while the new one still works."""
    task = condense(do="wait", gate="open")
    folder = folder_of(root, task)
    old = fork(lambda: attempt.exit_code(_run(root, task, pulse_s=0.01)))
    until(lambda: len(fake_stages.trace(root, keys.key(task))) == 2, "the first attempt to work")
    (folder.path / "images.0001.txt").touch()
    new = lease.acquire(folder, lease.myself(), _always)
    assert new is not None
    assert reap(old) == attempt.exit_code("superseded")
    found = lease.read_attempt(folder, 1)
    assert found is not None
    assert found.end is not None
    assert (found.end.outcome, "taken over" in found.end.reason) == ("superseded", True)
    assert new.is_current()


def test_a_superseded_attempt_withdraws_its_artefacts(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An artefact published before the takeover was noticed does not stay, though there is no record yet."""
    task = condense(do="write_late")
    folder = folder_of(root, task)
    fail = fake_stages.StageError

    class TakenOver(fail):  # type: ignore[misc, valid-type]
        def __init__(self, text: str) -> None:
            assert (folder.path / "images.0001.txt").exists()
            assert lease.acquire(folder, lease.myself(), _always) is not None
            super().__init__(text)

    import condhpc_jobs.condense  # type: ignore[import-not-found, unused-ignore]

    monkeypatch.setattr(condhpc_jobs.condense, "StageError", TakenOver)
    assert _run(root, task) == "superseded"
    assert _files(root, task) == ["lease.0001", "lease.0002", "task.json"]


def test_trouble_after_our_own_record_is_no_failure(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When publishing reports an error though the record stands, it is ours and its artefacts are kept."""
    publish = attempt.publish

    def shaky(path: Path, data: bytes) -> bool:
        publish(path, data)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(attempt, "publish", shaky)
    assert _run(root, condense()) == "recorded"
    assert _files(root, condense()) == ["images.0001.txt", "record.json", "task.json"]


def test_a_purged_artefact_is_computed_again_under_a_new_number(root: Path) -> None:
    """A record without its artefact is set aside; numbers go on after it, a second and a third time too."""
    task = condense()
    folder = folder_of(root, task)
    for number in (1, 2, 3):
        assert _run(root, task) == "recorded"
        path = folder.path / f"images.{number:04d}.txt"
        assert path.read_text() == f"images of attempt {number}"
        path.unlink()
        assert not store.is_recorded(folder)
    assert _files(root, task) == ["record.json", "task.json"]


def test_an_altered_record_is_refused_and_retry_mends_it(root: Path) -> None:
    """An unreadable record is neither used nor overwritten; set aside, its attempt's number stays used."""
    task = condense()
    folder = folder_of(root, task)
    assert _run(root, task) == "recorded"
    folder.record.write_bytes(folder.record.read_bytes()[:-20])
    with pytest.raises(CorruptArtefactError, match="not a readable record"):
        _run(root, task)
    assert "not a readable record" in store.set_aside_if_corrupt(folder)
    assert _run(root, task) == "recorded"
    record = store.read_record(folder)
    assert record is not None
    assert record.attempt == 3  # 1 has its artefact, 2 the record that could not tell its number


def test_a_record_that_appears_before_our_lease_is_a_hit(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look for a record and the lease another may have recorded: nothing is computed twice."""
    task = condense()
    write_task = store.write_task

    def recorded_meanwhile(*arguments: Any) -> None:
        monkeypatch.setattr(store, "write_task", write_task)
        write_task(*arguments)
        assert _run(root, task) == "recorded"

    monkeypatch.setattr(store, "write_task", recorded_meanwhile)
    assert _run(root, task) == "cached"
    assert _files(root, task) == ["images.0001.txt", "record.json", "task.json"]


def test_temporary_files_of_killed_attempts_go_with_the_record(root: Path) -> None:
    """What a killed writer left costs inodes only until the task is recorded."""
    task = condense()
    folder = folder_of(root, task)
    folder.path.mkdir(parents=True)
    for name in (".images.0001.h5.host.7.ab.tmp", ".task.json.host.7.ab.tmp", ".lease.0001.host.7.ab.tmp"):
        (folder.path / name).touch()
    assert _run(root, task) == "recorded"
    assert _files(root, task) == ["images.0001.txt", "record.json", "task.json"]


def test_pulses_tell_progress_and_cost(root: Path) -> None:
    """While a stage works its diary gets a line per `pulse_s` with step, values and cost so far."""
    task = condense(steps=2, at=1, do="wait", gate="open")
    pid = fork(lambda: _run(root, task, pulse_s=0.01))

    def pulse() -> lease.Pulse | None:
        found = lease.read_attempt(folder_of(root, task), 1)
        return found.pulse if found is not None else None

    def told() -> bool:
        found = pulse()
        return found is not None and found.beat > 2 and found.step == 1

    until(told, "three pulses")
    found = pulse()
    assert found is not None
    assert (found.total, found.cost["wall_s"] > 0) == (2, True)
    (root / "open").touch()
    assert reap(pid) == 0


def test_a_killed_attempt_has_told_what_it_used(root: Path) -> None:
    """SIGKILL leaves no word: the last pulse holds the totals and figures so far, and the next record keeps them."""
    task = condense(do="deaf", gate="open")
    folder = folder_of(root, task)
    power = Power(cpu_w_per_core=1000.0, cpu_w_source="made up")
    pid = fork(lambda: _run(root, task, pulse_s=0.01, gpus=1, power=power))

    def modelled() -> bool:
        found = lease.read_attempt(folder, 1)
        return found is not None and found.pulse is not None and any(e.joules for e in found.pulse.energy)

    until(modelled, "a pulse with a figure")
    assert kill(pid) == -signal.SIGKILL
    found = _newest(root, task)
    assert found.end is None
    assert found.pulse is not None
    cpu = next(figure for figure in found.pulse.energy if figure.part == "cpu")
    assert (cpu.grade, cpu.window_s <= found.pulse.cost["wall_s"]) == ("C", True)
    assert 0 < (cpu.joules or 0.0) <= 1000.0 * found.pulse.cost["cpu_s"] + 0.1
    assert found.pulse.cost["gpu_s"] > 0
    (root / "open").touch()
    assert _run(root, task) == "recorded"
    record = store.read_record(folder)
    assert record is not None
    assert [held.pulse for held in record.attempts] == [found.pulse]


def test_the_log_tells_progress_now_and_then(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One line for a step, however many pulses see it."""
    task = condense(steps=2, at=1, do="wait", gate="open")
    pid = fork(lambda: _run(root, task, pulse_s=0.01))

    def beats() -> int:
        found = lease.read_attempt(folder_of(root, task), 1)
        return found.pulse.beat if found is not None and found.pulse is not None and found.pulse.step == 1 else 0

    until(lambda: beats() > 5, "some pulses after the first step")
    (root / "open").touch()
    assert reap(pid) == 0
    lines = [line for line in capfd.readouterr().out.splitlines() if line.startswith("condense") and "1/2" in line]
    assert len(lines) == 1
    assert lines[0].startswith(f"condense {keys.key(task)[:12]}: 1/2")


def test_a_disk_that_is_full_for_a_pulse_ends_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sign of life that cannot be written is missed; the next one is tried."""
    task = condense(do="wait", gate="open")
    tries: list[int] = []

    def full(self: lease.Lease, **_: object) -> None:
        tries.append(1)
        if len(tries) == 3:
            (root / "open").touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(lease.Lease, "pulse", full)
    assert _run(root, task, pulse_s=0.01) == "recorded"
    assert len(tries) >= 3


def test_exit_statuses_tell_results_apart() -> None:
    """What a child's status says is what it did; the unknown is a failure, and both ways of losing mean: wait."""
    for result in ("recorded", "failed", "stopped", "blocked", "busy"):
        assert attempt.result_of(attempt.exit_code(result)) == result
    assert attempt.result_of(attempt.exit_code("superseded")) == "busy"
    assert attempt.result_of(attempt.exit_code("cached")) == "recorded"
    assert {attempt.result_of(code) for code in (2, 99, 255)} == {"failed"}


def test_plugin_digests_name_the_file_behind_a_task() -> None:
    """Condensers and metrics have a file of their own; other stages have none."""
    assert attempt.plugin_digest(condense()) == registry.code_digest("coresets", "random")
    assert attempt.plugin_digest(analyze({})) == registry.code_digest("metrics", "coverage")
    assert attempt.plugin_digest(embed()) == ""


def _always(_: Attempt) -> bool:
    return True
