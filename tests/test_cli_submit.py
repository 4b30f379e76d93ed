"""`plan`, `submit`, `retry` and `cancel`, through click's runner: what is asked, what is sent, exit codes."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from made_commands import Submission, call, local_run, replaced_submission
from made_runs import MadeRun

from condhpc import cli_submit

pytestmark = pytest.mark.usefixtures("no_own_profile")


@pytest.fixture
def made(tmp_path: Path) -> MadeRun:
    """A local run without tasks yet."""
    return local_run(tmp_path)


@pytest.fixture
def submission(monkeypatch: pytest.MonkeyPatch, made: MadeRun) -> Submission:
    """The submitting module, replaced."""
    return replaced_submission(monkeypatch, made.run)


@pytest.fixture
def busy(made: MadeRun) -> MadeRun:
    """A run with one running task."""
    key = made.condense()
    made.write()
    made.pool(key, pids={"1": 1})
    made.lease(key)
    return made


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


def test_a_plan_that_its_budget_cannot_cover_is_told(no_own_profile: None, tmp_path: Path) -> None:
    """As `submit` will say, before anybody tries; a budget that may do is no news."""
    text = (
        'name = "m"\ndatasets = ["digits"]\ncondensers = ["random"]\nipc = [1]\nprotocols = ["erm"]\n'
        'students = ["convnet3"]\nbudget = "{}"\n'
    )
    (tmp_path / "p.toml").write_text('backend = "local"\n[stages.default]\ntime_min = 60\n')
    found = {}
    for amount in ("1e-9cpuh", "1e9cpuh"):
        (tmp_path / "m.toml").write_text(text.format(amount))
        found[amount] = call("--profile", "p.toml", "plan", "m.toml").stdout
    assert "warning: `submit` refuses this: the budget of 1e-09 CPU-h does not cover it" in found["1e-9cpuh"]
    assert "refuses" not in found["1e9cpuh"]
    assert call("--profile", "p.toml", "submit", "m.toml", "--budget", "1e-9cpuh").exit_code == 2
    assert not Path("root").exists() or not list(Path("root").glob("runs/*"))


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
    monkeypatch.setattr(cli_submit, "on_terminal", lambda: True)
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
    monkeypatch.setattr(cli_submit, "on_terminal", lambda: True)
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
