"""`condhpc budget` and `condhpc steward` on a local run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from made_runs import MadeRun

from condhpc import cli, profile
from condhpc.profile import Profile

pytestmark = pytest.mark.usefixtures("no_own_profile")


@pytest.fixture
def made(tmp_path: Path) -> MadeRun:
    """A local run with one record of an hour on a GPU."""
    found = MadeRun(tmp_path / "root")
    key = found.condense()
    found.write()
    found.pool(key, pids={})
    found.record(key, environment={"run": found.run.name}, cost={"wall_s": 3600.0, "cpu_s": 1800.0, "gpu_s": 3600.0})
    held = Profile(name="local", backend="local", root=tmp_path / "root")
    found.run.profile.write_bytes(profile.encode(held))
    return found


def call(*arguments: str) -> Result:
    """Run a command under `root` in the current folder."""
    return CliRunner().invoke(cli.main, ["--root", "root", *arguments])


def test_a_run_without_a_budget_says_how_to_give_it_one(made: MadeRun) -> None:
    """As an error: there is nothing to show."""
    result = call("budget")
    assert result.exit_code == 2
    assert f"condhpc budget {made.run.name} --set" in result.stderr


def test_set_shown_used_up_and_lifted(made: MadeRun) -> None:
    """What is charged is shown by unit; a bound below it stops the run, a higher one lets it go on."""
    shown = [line.split() for line in call("budget", "--set", "4gpuh").stdout.splitlines()]
    assert ["gpu_h", "1", "0", "4", "3"] in [[*map(_plain, row)] for row in shown]
    used_up = call("budget", "--set", "0.5gpuh")
    assert "used up: nothing more is begun" in used_up.stdout
    assert made.run.over_budget.exists()
    call("budget", "--set", "2gpuh")
    assert not made.run.over_budget.exists()
    assert "the budget is lifted" in call("budget", "--lift").stdout
    assert call("budget", "--lift", "--set", "1gpuh").exit_code == 2
    assert "'days' is no unit" in call("budget", "--set", "7 days").stderr


def test_small_amounts_are_shown_and_energy_that_nobody_added_up_is_not(made: MadeRun) -> None:
    """No figure is rounded away, and no 0 stands for what was not looked at."""
    shown = [line.split() for line in call("budget", "--set", "2gpuh,0.75cpuh").stdout.splitlines()]
    assert [row[0] for row in shown] == ["unit", "gpu_h", "cpu_h"]
    with_energy = [line.split() for line in call("budget", "--set", "2gpuh,0.0005kwh").stdout.splitlines()]
    assert [row[3] for row in with_energy if row[0] == "kwh"] == ["0.000500"]


def _plain(cell: str) -> str:
    return cell.rstrip("0").rstrip(".") or "0"


def test_status_says_that_a_budget_is_used_up(made: MadeRun) -> None:
    """Looking at a run keeps to its budget, too."""
    assert call("budget", "--set", "4gpuh").exit_code == 0
    with made.run.budget.open("ab") as file:
        file.write(made.run.budget.read_bytes().replace(b'"gpu_h":4.0', b'"gpu_h":0.5'))
    assert "budget used up: 1 of 0.5 GPU-h" in call("status").stderr
    assert made.run.over_budget.exists()


def test_a_budget_of_a_newer_condhpc_keeps_nobody_from_looking(made: MadeRun) -> None:
    """What is shown is the run; that its budget cannot be read is said, and no limit is made up."""
    call("budget", "--set", "4gpuh")
    with made.run.budget.open("ab") as file:
        file.write(b'{"type":"pledge"}\n')
    shown = call("status")
    assert (shown.exit_code, "1 of 1 recorded" in shown.stdout) == (0, True)
    assert "the budget could not be looked at" in shown.stderr
    outlook = json.loads(call("status", "--json").stdout)["outlook"]
    assert outlook["costs"]["budget"] == []
    assert any("a budget must be read whole" in note for note in outlook["notes"])
    assert call("budget").exit_code != 0


def test_a_round_by_hand_says_whether_there_is_more(made: MadeRun) -> None:
    """All is recorded here."""
    assert call("steward").stdout == f"run {made.run.name}: nothing is left to do\n"
