"""Commands, through click's runner: output on the right stream, exit codes, questions."""

from __future__ import annotations

import os
import re
import sys
import types
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result
from made_runs import FakeQueue, MadeRun, dead_owner, squeue_row, strange_owner
from test_accounts import FakeAccounting, sacct_row

from condhpc import accounts, cli, observe, preparing, profile, runs
from condhpc.check import fail, ok
from condhpc.errors import InputError, ProblemsError, SchedulerError
from condhpc.layout import Layout, RunFolder
from condhpc.observe import Observer, Snapshot
from condhpc.outlook import Outlook
from condhpc.profile import Profile

pytestmark = pytest.mark.usefixtures("no_own_profile")


@pytest.fixture
def made(tmp_path: Path) -> MadeRun:
    """A local run without tasks yet."""
    found = MadeRun(tmp_path / "root")
    held = Profile(name="local", backend="local", root=tmp_path / "root")
    found.run.profile.write_bytes(profile.encode(held))
    return found


def call(*arguments: str, answer: str | None = None) -> Result:
    """Run a command under `root` in the current folder."""
    return CliRunner().invoke(cli.main, ["--root", "root", *arguments], input=answer)


class Submission(types.ModuleType):
    """Stands for `condhpc.submit` and for preparing; notes what it was asked."""

    def __init__(self, run: RunFolder, overview: Any = None) -> None:
        super().__init__("condhpc.submit")
        self.run = run
        self.calls: list[tuple[str, Any]] = []
        self.terms: Any = None
        self.asked: Any = None
        self.overview = overview or types.SimpleNamespace(
            rows=[], warnings=[], kept_back=0, provisional=False, costs=[], carbon=None, raised=[], waits=[]
        )

    def prepare(self, manifest: Path, held: Profile) -> Any:
        """Note the manifest."""
        self.calls.append(("prepare", manifest.name))
        if not manifest.exists():
            raise ProblemsError([f"{manifest}: cannot be read"])
        return types.SimpleNamespace(overview=self.overview, profile=held, arrays=[])

    def send(self, prepared: Any, *, accept_code: bool, say: Any, progress: Any, terms: Any) -> RunFolder:
        """Note, and talk."""
        del prepared
        self.terms = terms
        self.calls.append(("send", accept_code))
        say("run begins")
        progress("teacher 0/1")
        return self.run

    def resume(self, run: RunFolder, layout: Layout, current: Any, *, accept_code: bool, **others: Any) -> RunFolder:
        """Note the run."""
        del layout, current
        self.terms = others["terms"]
        self.calls.append(("resume", (run.name, accept_code)))
        return run

    def retry(self, run: RunFolder, layout: Layout, current: Any, *, asked: Any, **talk: Any) -> RunFolder:
        """Note the run and what is to be tried again."""
        del layout, current, talk
        self.calls.append(("retry", run.name))
        self.asked = asked
        return run

    def cancel(self, run: RunFolder, layout: Layout, *, say: Any) -> int:
        """Note the run."""
        del layout, say
        self.calls.append(("cancel", run.name))
        return 1


@pytest.fixture
def submission(monkeypatch: pytest.MonkeyPatch, made: MadeRun) -> Submission:
    """The submitting module, replaced."""
    import condhpc

    found = Submission(made.run)
    monkeypatch.setitem(sys.modules, "condhpc.submit", found)
    monkeypatch.setattr(condhpc, "submit", found, raising=False)
    monkeypatch.setattr(preparing, "prepare", found.prepare)
    return found


# -- status ------------------------------------------------------------------------------------------------------


def test_status_exits_with_0_when_all_is_recorded(made: MadeRun) -> None:
    """Done is success, for scripts too."""
    key = made.condense()
    made.write()
    name = made.pool(key, pids={"1": 1})
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
    monkeypatch.setattr(cli, "_slurm", lambda _: FakeQueue(error=AssertionError("asked")))
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
    monkeypatch.setattr(cli, "_slurm", lambda _: queue)
    for _ in range(3):
        assert call("status").exit_code == 10
    assert queue.calls == 1
    assert call("cancel").exit_code == 2
    before = queue.calls
    assert call("status").exit_code == 10
    assert queue.calls == before + 1


def test_rescan_believes_records_only(made: MadeRun) -> None:
    """A hint without its record does not count with --rescan."""
    key = made.condense()
    made.write()
    name = made.pool(key, pids={"1": 1})
    made.hint(name, 0, key, "recorded")
    assert (call("status").exit_code, call("status", "--rescan").exit_code) == (0, 1)


def test_without_a_run_the_newest_is_meant(made: MadeRun, tmp_path: Path) -> None:
    """By the time in its name; a unique beginning names an older one."""
    made.write()
    newer = MadeRun(tmp_path / "root", "another-20260202T000000Z")
    newer.run.profile.write_bytes(made.run.profile.read_bytes())
    newer.write()
    assert "another-" in call("status").stdout
    assert "made-" in call("status", "made").stdout
    unknown = call("status", "nothing")
    assert unknown.exit_code == 2
    assert "matches no run" in unknown.stderr


@pytest.mark.parametrize("command", ["status", "logs", "cancel", "retry", "collect"])
def test_an_empty_store_gives_one_clear_message(command: str) -> None:
    """No run yet: exit code 2, what to do, no traceback."""
    result = call(command)
    assert result.exit_code == 2
    assert "there are no runs; `condhpc submit <manifest>` makes one" in result.stderr
    assert result.stdout == ""


def test_watch_wants_a_terminal(made: MadeRun) -> None:
    """In a pipe it says what to use instead."""
    made.write()
    result = call("watch")
    assert result.exit_code == 2
    assert "condhpc status" in result.stderr


# -- plan and submit ---------------------------------------------------------------------------------------------


def test_plan_prints_the_overview_and_sends_nothing(submission: Submission, tmp_path: Path) -> None:
    """Stage by stage on stdout."""
    from condhpc.survey import Overview, StageRow

    (tmp_path / "m.toml").touch()
    row = StageRow(stage="condense", new=3, cached=2, live=1, arrays=1, elements=3)
    submission.overview = Overview([row], ["a partition is missing"], 4, provisional=True)
    result = call("plan", "m.toml")
    assert result.exit_code == 0
    assert re.search(r"condense +6 +3 +2 +1 +1 +3", result.stdout)
    assert "4 tasks do not fit now" in result.stdout
    assert "warning: a partition is missing" in result.stdout
    assert [name for name, _ in submission.calls] == ["prepare"]


def test_plan_as_json_is_one_document(submission: Submission, tmp_path: Path) -> None:
    """The overview as it is, costs included."""
    from condhpc.survey import Overview, StageRow

    (tmp_path / "m.toml").touch()
    row = StageRow(stage="condense", new=3, cached=2, live=1, arrays=1, elements=3)
    submission.overview = Overview([row], [], 4, provisional=True)
    result = call("plan", "m.toml", "--json")
    assert msgspec.json.decode(result.stdout, type=Overview) == submission.overview


def test_problems_of_a_manifest_are_all_shown_with_exit_code_2(submission: Submission) -> None:
    """What the planner raises reaches stderr as it is; nothing is sent."""
    result = call("submit", "missing.toml")
    assert result.exit_code == 2
    assert "1 problem:" in result.stderr
    assert "missing.toml: cannot be read" in result.stderr
    assert [name for name, _ in submission.calls] == ["prepare"]


def test_submit_talks_on_stderr_and_names_the_run_on_stdout(made: MadeRun, submission: Submission) -> None:
    """So that `run=$(condhpc submit …)` works; a local run that ended well exits with 0."""
    Path("m.toml").touch()
    key = made.condense()
    made.write()
    made.hint(made.pool(key, pids={"1": 1}), 0, key, "recorded")
    result = call("submit", "m.toml", "--accept-code")
    assert (result.stdout, result.exit_code) == (f"{made.run.name}\n", 0)
    assert "run begins" in result.stderr
    assert submission.calls == [("prepare", "m.toml"), ("send", True)]


def test_local_submit_that_failed_exits_with_1(made: MadeRun, submission: Submission) -> None:
    """Local work has ended when submit returns: its failures are submit's."""
    Path("m.toml").touch()
    key = made.condense()
    made.write()
    made.pool(key, pids={"1": 1})
    made.ended(key, "failed", "boom")
    result = call("submit", "m.toml")
    assert result.exit_code == 1
    assert "boom" in result.stderr
    assert submission.calls[-1] == ("send", False)


def test_submit_asks_on_a_terminal_when_the_plan_warns(
    made: MadeRun, submission: Submission, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A no sends nothing; --yes, or nobody to answer, does not ask."""
    Path("m.toml").touch()
    made.write()
    submission.overview.warnings.append("careful")
    monkeypatch.setattr(cli, "on_terminal", lambda: True)
    assert call("submit", "m.toml", answer="n\n").exit_code == 1
    assert [name for name, _ in submission.calls] == ["prepare"]
    call("submit", "m.toml", answer="y\n")
    assert submission.calls[-1][0] == "send"
    submission.calls.clear()
    call("submit", "m.toml", "--yes")
    assert submission.calls[-1][0] == "send"


@pytest.mark.parametrize("arguments", [(), ("m.toml", "--continue")])
def test_submit_wants_a_manifest_or_a_run(submission: Submission, arguments: tuple[str, ...]) -> None:
    """Neither, or both, is a usage error."""
    result = call("submit", *arguments)
    assert result.exit_code == 2
    assert "manifest" in result.stderr
    assert submission.calls == []


def test_continue_means_the_newest_run_or_a_named_one(made: MadeRun, submission: Submission) -> None:
    """The option takes a run's name, or nothing."""
    made.write()
    call("submit", "--continue")
    call("submit", "--accept-code", "--continue", made.run.name[:6])
    assert submission.calls == [("resume", (made.run.name, False)), ("resume", (made.run.name, True))]


def test_retry_goes_through_submit(made: MadeRun, submission: Submission) -> None:
    """And ends like it."""
    made.write()
    assert call("retry").stdout == f"{made.run.name}\n"
    assert submission.calls == [("retry", made.run.name)]
    assert (submission.asked.classes, submission.asked.by_hand) == ({"infra", "limit", "code"}, True)


def test_retry_of_a_class_and_with_more(made: MadeRun, submission: Submission) -> None:
    """Options reach the rules as they were said; a factor below one would be less."""
    made.write()
    call("retry", "--class", "limit", "--mem-factor", "2", "--time-min", "90")
    asked = submission.asked
    assert (asked.classes, asked.mem_factor, asked.time_factor, asked.time_min, asked.mem_gb) == (
        {"limit"}, 2.0, 1.5, 90, None,
    )  # fmt: skip
    assert call("retry", "--mem-factor", "0.5").exit_code == 2


# -- cancel ------------------------------------------------------------------------------------------------------


@pytest.fixture
def busy(made: MadeRun) -> MadeRun:
    """A run with one running task."""
    key = made.condense()
    made.write()
    made.pool(key, pids={"1": 1})
    made.lease(key)
    return made


def test_cancel_refuses_without_yes_where_nobody_can_answer(busy: MadeRun, submission: Submission) -> None:
    """A script must say --yes."""
    result = call("cancel")
    assert result.exit_code == 2
    assert "1 tasks run, 0 wait" in result.stderr
    assert submission.calls == []
    assert call("cancel", "--yes").exit_code == 0
    assert submission.calls == [("cancel", busy.run.name)]


def test_cancel_asks_with_counts(busy: MadeRun, submission: Submission, monkeypatch: pytest.MonkeyPatch) -> None:
    """A no leaves everything as it is."""
    monkeypatch.setattr(cli, "on_terminal", lambda: True)
    result = call("cancel", answer="n\n")
    assert f"Cancel run {busy.run.name}: 1 running and 0 waiting tasks?" in result.stderr
    assert (result.exit_code, submission.calls) == (1, [])
    call("cancel", answer="y\n")
    assert submission.calls == [("cancel", busy.run.name)]


def test_cancel_of_a_finished_run_does_nothing(made: MadeRun, submission: Submission) -> None:
    """There is nothing to ask about."""
    made.condense()
    made.write()
    result = call("cancel")
    assert (result.exit_code, submission.calls) == (0, [])
    assert "nothing waits or runs" in result.stderr


# -- logs --------------------------------------------------------------------------------------------------------


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


# -- the rest ----------------------------------------------------------------------------------------------------


def test_collect_shows_the_cells_and_the_files(made: MadeRun, tmp_path: Path) -> None:
    """The table and ten paths on stdout; a cell without results is a row that says so."""
    made.evaluate(made.condense(), 0)
    made.write()
    result = call("collect", "--plain", "--out", "tables")
    assert result.exit_code == 0
    assert re.search(r"digits +random +1 +erm +convnet3 +0 +missing", result.stdout)
    assert sorted(p.name for p in (tmp_path / "tables").iterdir()) == [
        "attempts.csv", "cells.csv", "cost.csv", "failures.csv", "metric_cells.csv", "metrics.csv", "results.csv",
        "scores.csv", "sets.csv", "waste.csv",
    ]  # fmt: skip
    assert "tables/results.csv" in result.stdout


def test_collect_writes_a_papers_files_too(made: MadeRun, tmp_path: Path) -> None:
    """Unless `--plain` is said there is a folder `paper` beside the tables, and its files are listed."""
    made.evaluate(made.condense(), 0)
    made.write()
    result = call("collect", "--out", "tables")
    assert result.exit_code == 0
    assert "tables/paper/verdict.md" in result.stdout
    assert "missing 0/1" in (tmp_path / "tables" / "paper" / "accuracy.md").read_text()


def test_accounts_are_kept_once_a_run_has_ended(
    made: MadeRun, submission: Submission, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`status` asks the accounting when nothing goes on any more, `collect` and `submit --continue` always."""
    made.run.profile.write_bytes(profile.encode(Profile(name="p", backend="slurm", root=made.layout.root)))
    key = made.condense()
    made.write()
    job = made.submit([key], job="608", sent=1000.0)
    slurm = FakeAccounting(sacct_row("608_0", "RUNNING", End="Unknown"), squeue_row("608_0", "RUNNING", name=job))
    monkeypatch.setattr(cli, "_slurm", lambda _: slurm)
    assert call("status").exit_code == 10
    assert slurm.asked == []
    slurm.rows = ""
    made.record(key, environment={"job": "608_0", "run": made.run.name})
    assert call("status", "--rescan").exit_code == 0
    assert len(slurm.asked) == 1
    assert call("collect", "--out", "tables").exit_code == 0
    assert call("submit", "--continue").exit_code == 0
    assert [name for name, _ in submission.calls] == ["resume"]
    assert len(slurm.asked) == 3
    assert [c.state for c in accounts.charges(made.run, made.layout)] == ["RUNNING"]


def test_collect_shows_scores_in_the_place_of_accuracies(made: MadeRun, tmp_path: Path) -> None:
    """Fractions with four decimals; what cannot be computed is empty."""
    sets = [made.condense(name, seed=None) for name in ("random", "herding")]
    keys = [made.evaluate(set_key) for set_key in sets]
    made.write()
    for set_key, key, top1_pct in zip(sets, keys, (60.0, 71.26), strict=True):
        made.folder(set_key)
        made.record(key, {"top1_pct": top1_pct, "test_count": 360})
    result = call("collect", "--scores", "--out", "tables")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0].split() == [
        "dataset", "condenser", "ipc", "protocol", "student", "hlr", "ior", "lrs", "ars", "gap_to_full",
    ]  # fmt: skip
    assert re.search(r"digits +herding +1 +erm +convnet3 +0.1126\n", result.stdout)
    assert "tables/scores.csv" in result.stdout


def test_collect_with_an_unreadable_record_writes_the_rest_and_exits_with_3(made: MadeRun) -> None:
    """The path of the bad record is on stderr."""
    key = made.evaluate(made.condense(), 0)
    made.write()
    made.folder(key).record.write_bytes(b"{")
    result = call("collect", "--out", "tables")
    assert result.exit_code == 3
    assert key in result.stderr
    assert Path("tables/cells.csv").exists()


def test_collect_again_says_the_same_without_asking_anybody(made: MadeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all is recorded and nothing changed; with `--rescan`, and for other formats, it looks."""
    key = made.evaluate(made.condense(), 0)
    made.write()
    for line in made.lines:
        made.record(line.key, {"top1_pct": 71.25, "test_count": 360} if line.key == key else {})
    first = call("collect", "--out", "tables")
    looked: list[str] = []
    plain = cli.observer_of

    def watched(run: RunFolder, layout: Layout) -> Observer:
        looked.append(run.name)
        return plain(run, layout)

    monkeypatch.setattr(cli, "observer_of", watched)
    again = call("collect", "--out", "tables")
    assert (again.exit_code, again.stdout, again.stderr) == (0, first.stdout, first.stderr)
    assert looked == []
    for more in (["--rescan"], ["--format", "json,csv"], ["--format", "json"]):
        assert call("collect", "--out", "tables", *more).exit_code == 0
    assert len(looked) == 3
    assert Path("tables/cells.json").exists()


@pytest.mark.parametrize("data", [None, b"{"])
def test_collect_of_a_complete_run_does_without_its_profile(made: MadeRun, data: bytes | None) -> None:
    """Each time one line and exit status 3, the tables are there; with work left it cannot know what goes on."""
    key = made.evaluate(made.condense(), 0)
    made.write()
    for line in made.lines:
        if line.key != key:
            made.record(line.key)
    made.run.profile.unlink() if data is None else made.run.profile.write_bytes(data)
    assert call("collect", "--plain", "--out", "tables").exit_code == 2
    made.record(key, {"top1_pct": 71.25, "test_count": 360})
    for _ in range(2):
        result = call("collect", "--plain", "--out", "tables")
        assert result.exit_code == 3, result.stderr
        assert [line for line in result.stderr.splitlines() if "profile.json: cannot be read; all tasks" in line]
        assert Path("tables", "results.csv").exists()


def test_collect_knows_its_formats(made: MadeRun) -> None:
    """Another one is named, with those that there are."""
    made.write()
    result = call("collect", "--format", "csv,xlsx")
    assert result.exit_code == 2
    assert "xlsx: known are csv, json, parquet" in result.stderr


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


@pytest.mark.parametrize(("error", "code"), [(InputError("bad"), 2), (SchedulerError("down"), 4)])
def test_errors_of_ours_are_shown_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    """Message on stderr, exit code of the family."""

    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr(runs, "find", broken)
    result = call("status")
    assert (result.exit_code, result.stdout) == (code, "")
    assert str(error) in result.stderr
    assert "Traceback" not in result.stderr


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that is not ours is swallowed."""
    monkeypatch.setattr(runs, "find", lambda *_: 1 / 0)
    assert isinstance(call("status").exception, ZeroDivisionError)


def test_ctrl_c_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 130, as shells expect."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "find", interrupted)
    result = call("status")
    assert result.exit_code == 130
    assert "interrupted" in result.stderr


def test_run_of_an_interrupted_submission_is_said_to_be_so(made: MadeRun) -> None:
    """A folder without profile or plan is no crash."""
    result = call("status")
    assert result.exit_code == 1
    assert "submission was interrupted" in result.stdout
    made.run.profile.unlink()
    result = call("status")
    assert result.exit_code == 2
    assert "submit again" in result.stderr
