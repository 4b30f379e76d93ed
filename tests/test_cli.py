"""Commands, through click's runner: output on the right stream, exit codes, questions."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_commands import Submission, call, local_run, replaced_submission
from made_runs import MadeRun, squeue_row
from test_accounts import FakeAccounting, sacct_row

from condhpc import accounts, cli_session, profile, runs
from condhpc.errors import InputError, SchedulerError
from condhpc.profile import Profile

pytestmark = pytest.mark.usefixtures("no_own_profile")


@pytest.fixture
def made(tmp_path: Path) -> MadeRun:
    """A local run without tasks yet."""
    return local_run(tmp_path)


@pytest.fixture
def submission(monkeypatch: pytest.MonkeyPatch, made: MadeRun) -> Submission:
    """The submitting module, replaced."""
    return replaced_submission(monkeypatch, made.run)


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


def test_accounts_are_kept_once_a_run_has_ended(
    made: MadeRun, submission: Submission, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`status` asks the accounting when nothing goes on any more, `collect` and `submit --continue` always."""
    made.run.profile.write_bytes(profile.encode(Profile(name="p", backend="slurm", root=made.layout.root)))
    key = made.condense()
    made.write()
    job = made.submit([key], job="608", sent=1000.0)
    slurm = FakeAccounting(sacct_row("608_0", "RUNNING", End="Unknown"), squeue_row("608_0", "RUNNING", name=job))
    monkeypatch.setattr(cli_session, "slurm_of", lambda _: slurm)
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
