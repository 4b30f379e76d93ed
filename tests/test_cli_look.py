"""`status`, `watch`, `logs`, `ls` and `doctor`, through click's runner: output on the right stream, exit codes."""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec
import pytest
from made_commands import call, local_run
from made_runs import FakeQueue, MadeRun, dead_owner, squeue_row, strange_owner

from condhpc import cli_session, observe, profile
from condhpc.check import fail, ok
from condhpc.observe import Snapshot
from condhpc.outlook import Outlook
from condhpc.profile import Profile

pytestmark = pytest.mark.usefixtures("no_own_profile")


@pytest.fixture
def made(tmp_path: Path) -> MadeRun:
    """A local run without tasks yet."""
    return local_run(tmp_path)


@pytest.fixture
def failed(made: MadeRun) -> tuple[MadeRun, str]:
    """A run whose one task failed, with a log."""
    key = made.condense()
    made.write()
    name = made.pool(key, pids={"1": 1})
    made.ended(key, "failed", "Traceback (most recent call last):\n  line 1\nValueError: no luck")
    log = made.run.logs / name / "17_0_log.out"
    log.parent.mkdir(parents=True)
    log.write_text("".join(f"line {i}\n" for i in range(50)) + f"condense {key} attempt 1: failed\n")
    (log.parent / "18_0_log.out").write_text("another worker\n")
    return made, key


def test_status_exits_with_0_when_all_is_recorded(made: MadeRun) -> None:
    """Done is success, for scripts too."""
    key = made.condense()
    made.write()
    name = made.pool(key, pids={"1": 1})
    made.record(key)
    made.hint(name, 0, key, "recorded")
    result = call("status")
    assert result.exit_code == 0
    assert f"run {made.run.name}: done, 1 of 1 recorded" in result.stdout


def test_status_exits_with_1_after_failures_and_names_them(made: MadeRun) -> None:
    """Finished with failures: the reason and what to do stand below the counts."""
    key = made.condense()
    made.write()
    made.pool(key, pids={"1": 1})
    made.ended(key, "failed", "ValueError: no luck")
    result = call("status")
    assert result.exit_code == 1
    assert "1 condense failed: ValueError: no luck" in result.stdout
    assert f"condhpc retry {made.run.name}" in result.stdout


def test_status_exits_with_10_while_something_runs(made: MadeRun) -> None:
    """A task that runs is shown with its step."""
    key = made.condense()
    made.write()
    made.pool(key, pids={"1": 1})
    made.lease(key).pulse(step=30, total=100, values={"loss": 1.25, "images_s": 21400.4, "eta_s": 720.0}, cost={})
    result = call("status")
    assert result.exit_code == 10
    assert "30/100, 12 min left, 21,400 images/s, loss 1.25" in result.stdout


def test_status_json_is_the_snapshot_and_nothing_else(made: MadeRun) -> None:
    """Every field of every row comes back from stdout."""
    key = made.condense()
    made.write()
    made.pool(key, pids={"1": 1})
    made.lease(key, owner=dead_owner())
    result = call("status", "--json")
    found = msgspec.json.decode(result.stdout, type=Snapshot)
    expected = observe.snapshot(made.run, made.layout, None)
    assert [group.keys for group in found.outlook.failures] == [[key]]
    plain = {"taken_s": 0.0, "outlook": Outlook()}
    assert msgspec.structs.replace(found, **plain) == msgspec.structs.replace(expected, **plain)
    assert (found.rows[0].state, result.exit_code, result.stderr) == ("lost", 1, "")


def test_following_ends_with_the_exit_code_of_the_run(made: MadeRun) -> None:
    """A line for what is so now; a run that does not go on is not waited for. With --json it is a document."""
    a, b = made.condense(seed=0), made.condense(seed=1)
    made.write()
    name = made.pool(a, b, pids={"1": 1})
    made.record(a)
    made.hint(name, 0, a, "recorded")
    made.ended(b, "failed", "ValueError: no luck")
    result = call("status", "--follow")
    assert result.exit_code == 1
    first, problem, *_ = result.stdout.splitlines()
    assert first.endswith("Z  failed: condense 1/2, 1 failed")
    assert "ValueError: no luck" in problem
    made.record(b)
    made.hint(name, 0, b, "recorded")
    result = call("status", "--follow", "--json")
    assert result.exit_code == 0
    (line,) = result.stdout.splitlines()
    assert msgspec.json.decode(line, type=Snapshot).state == "done"
    assert call("status", "--follow", "--rescan").exit_code == 2


def test_a_colleagues_queue_is_not_asked(made: MadeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own rows of squeue say nothing of it: heartbeats tell what runs, and nothing is called lost."""
    made.run.profile.write_bytes(profile.encode(Profile(name="p", backend="slurm", root=made.layout.root)))
    a, b = made.condense(seed=0), made.condense(seed=1)
    made.write()
    made.submit([a], [b], job="608", sent=1000.0)
    made.lease(a, owner=strange_owner(job="608_0"))
    monkeypatch.setattr(cli_session, "slurm_of", lambda _: FakeQueue(error=AssertionError("asked")))
    monkeypatch.setattr(os, "getuid", lambda: 99_999)
    found = msgspec.json.decode(call("status", "made", "--json").stdout, type=Snapshot)
    assert [row.state for row in found.rows] == ["running", "queued"]
    assert (found.queue_s, found.queue_error) == (None, "")


def test_status_takes_a_young_answer_of_another_watcher(made: MadeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three looks of scripts within `poll_s` ask squeue once; a command that changes the queue has it asked anew."""
    made.run.profile.write_bytes(profile.encode(Profile(name="p", backend="slurm", root=made.layout.root)))
    made.condense()
    made.write()
    made.submit([made.lines[0].key], job="608", sent=1000.0)
    queue = FakeQueue(squeue_row("608_0", "PENDING"))
    monkeypatch.setattr(cli_session, "slurm_of", lambda _: queue)
    for _ in range(3):
        assert call("status").exit_code == 10
    assert queue.calls == 1
    assert call("cancel").exit_code == 2
    before = queue.calls
    assert call("status").exit_code == 10
    assert queue.calls == before + 1


def test_done_needs_records(made: MadeRun) -> None:
    """Of a run that is over they are opened: one that is gone or torn is not done, whatever a hint says."""
    keys = made.condense(seed=0), made.condense(seed=1)
    made.write()
    name = made.pool(*keys, pids={"1": 1})
    for key in keys:
        made.hint(name, 0, key, "recorded")
    assert (call("status").exit_code, call("status", "--rescan").exit_code) == (1, 1)
    made.record(keys[0])
    made.folder(keys[1]).record.write_bytes(b"{")
    result = call("status")
    assert result.exit_code == 1
    assert f"{made.folder(keys[1]).record}: not a readable record" in result.stdout


def test_watch_wants_a_terminal(made: MadeRun) -> None:
    """In a pipe it says what to use instead."""
    made.write()
    result = call("watch")
    assert result.exit_code == 2
    assert "condhpc status" in result.stderr


def test_logs_of_a_task_by_the_beginning_of_its_key(failed: tuple[MadeRun, str]) -> None:
    """Its attempts with their reasons in full, then the end of the log of the worker that tried it."""
    _, key = failed
    result = call("logs", "--task", key[:6], "-n", "3")
    assert result.exit_code == 0
    assert f"== condense {key} digits random ipc 1 set 0" in result.stdout
    assert "attempt 1: failed" in result.stdout
    assert "    ValueError: no luck" in result.stdout
    assert result.stdout.splitlines()[-3:] == ["line 48", "line 49", f"condense {key} attempt 1: failed"]
    assert "another worker" not in result.stdout


def test_logs_of_all_failed_tasks(failed: tuple[MadeRun, str]) -> None:
    """One block per task that failed."""
    _, key = failed
    assert call("logs", "--failed").stdout.count(f"== condense {key}") == 1


def test_logs_without_an_option_show_the_newest(failed: tuple[MadeRun, str]) -> None:
    """The end of the log written last, under its path."""
    lines = call("logs", "-n", "1").stdout.splitlines()
    assert lines[0].startswith("-- ")
    assert len(lines) == 2


def test_logs_of_an_unknown_or_ambiguous_key(failed: tuple[MadeRun, str]) -> None:
    """Exit code 2 with what was looked for."""
    result = call("logs", "--task", "zz")
    assert result.exit_code == 2
    assert "--task zz" in result.stderr


def test_logs_before_anything_was_written(made: MadeRun) -> None:
    """Says where to look instead."""
    made.write()
    result = call("logs")
    assert result.exit_code == 2
    assert "has no logs yet" in result.stderr


@pytest.mark.parametrize("kind", ["methods", "coresets", "metrics", "protocols", "datasets"])
def test_ls_describes_every_plugin_of_a_kind(kind: str) -> None:
    """Each by name, with a sentence."""
    from condhpc import registry

    result = call("ls", kind)
    assert result.exit_code == 0
    for name in registry.names(kind):  # type: ignore[arg-type]
        assert re.search(rf"^{re.escape(name)}: \w", result.stdout, re.MULTILINE)


def test_ls_shows_parameters_with_type_default_and_description() -> None:
    """What a `[params.<name>]` block may hold."""
    assert re.search(r"^    crops = 5 \(int.*\): random crops per image$", call("ls", "methods").stdout, re.MULTILINE)


def test_ls_of_nothing_lists_the_names_of_all_kinds(made: MadeRun) -> None:
    """And `ls runs` the runs."""
    lines = dict(line.split(": ") for line in call("ls").stdout.splitlines())
    assert {"herding", "kcenter", "random"} <= set(lines["coresets"].split(", "))
    made.write()
    assert made.run.name in call("ls", "runs").stdout


def test_doctor_exits_with_1_when_something_will_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each check has a line; advice stands below it."""
    from condhpc import doctor

    checks = [ok("root", "fine"), fail("lock", "two holders", "mount it with locks")]
    monkeypatch.setattr(doctor, "examine", lambda *_, **__: iter(checks))
    result = call("doctor")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == ["ok    root: fine", "fail  lock: two holders", "      mount it with locks"]
    checks.pop()
    assert call("doctor").exit_code == 0
