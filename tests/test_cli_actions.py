"""Actions from the command line, on a made run with a Slurm that notes what it is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from made_runs import MadeRun, squeue_row
from test_actions import Told

from condhpc import cli, cli_session, runs
from condhpc import profile as profiles
from condhpc.cli_actions import at_stake
from condhpc.profile import Profile
from condhpc.stakes import Stakes

pytestmark = pytest.mark.usefixtures("no_own_profile", "outside_slurm")

Start = Callable[..., Told]


@pytest.fixture
def made(tmp_path: Path) -> MadeRun:
    """Two sets in an element each, and their students in one."""
    found = MadeRun(tmp_path / "root")
    sets = [found.condense(seed=seed) for seed in range(2)]
    students = [found.evaluate(key) for key in sets]
    found.write()
    found.submit(*((key,) for key in sets), job="608", name="sets")
    found.submit(students, job="609", name="students")
    held = Profile(name="p", backend="slurm", root=tmp_path / "root")
    found.run.profile.write_bytes(profiles.encode(held))
    return found


@pytest.fixture
def slurm(made: MadeRun, monkeypatch: pytest.MonkeyPatch) -> Told:
    """What all commands talk to: one set runs, one waits, the students wait for both."""
    del made
    found = Told(
        squeue_row("608_0", "RUNNING"),
        squeue_row("608_[1]", "PENDING", "Resources"),
        squeue_row("609_[0]", "PENDING", "Dependency"),
    )
    monkeypatch.setattr("condhpc.actions.Slurm", lambda: found)
    monkeypatch.setattr(cli_session, "slurm_of", lambda _: found)
    return found


def call(*arguments: str) -> Result:
    """Run a command under `root` in the current folder."""
    return CliRunner().invoke(cli.main, ["--root", "root", *arguments])


def test_a_task_is_cancelled_by_the_beginning_of_its_key(made: MadeRun, slurm: Told) -> None:
    """Where nobody can answer only with --yes; without it, what is at stake is said and nothing done."""
    key = made.lines[1].key
    refused = call("cancel", "--task", key[:12])
    assert refused.exit_code == 2
    assert "1 tasks (0 run); 1 tasks wait for them; cancelling needs --yes here" in refused.stderr
    assert slurm.orders == []
    done = call("cancel", "--task", key[:12], "--yes")
    assert (done.exit_code, slurm.orders) == (0, [("cancel", "608_1")])
    assert "1 task in 1 element cancelled" in done.stderr
    assert runs.submissions(made.run)[0].withdrawn == {key}


def test_an_unknown_task_is_an_error(slurm: Told) -> None:
    """Before anything is done."""
    for command in ("cancel", "hold", "release", "retry"):
        result = call(command, "--task", "zz")
        assert (result.exit_code, slurm.orders) == (2, [])
        assert "no task" in result.stderr


def test_hold_release_and_throttle_talk_on_stderr(made: MadeRun, slurm: Told) -> None:
    """The whole run, or one task; a stage that is none is refused by name."""
    assert call("hold").exit_code == 0
    assert call("hold", "--task", made.lines[1].key).exit_code == 0
    assert slurm.orders == [("hold", "608", "609"), ("hold", "608_1")]
    refused = call("release")
    assert (refused.exit_code, "none of these is held" in refused.stderr) == (2, True)
    throttled = call("throttle", "4", made.run.name)
    assert (throttled.exit_code, throttled.stdout) == (0, "")
    assert slurm.orders[2:] == [("throttle", "608", "609", 4)]
    assert call("throttle", "4", "--stage", "nothing").exit_code == 2
    assert call("throttle", "-1").exit_code == 2


def test_what_is_at_stake_reads_well() -> None:
    """Hours on GPUs, else on cores; neighbours and dependants only where there are some."""
    plain = Stakes(
        keys=["a"], others=[], dependants=[], elements=1, running=0, waiting=1, gpu_h=0.0, cpu_h=0.0
    )  # fmt: skip
    assert at_stake(plain) == "1 tasks (0 run)"
    busy = Stakes(
        keys=["a", "b"], others=["c"], dependants=["d"], elements=1, running=2, waiting=1, gpu_h=1.25, cpu_h=9.0
    )  # fmt: skip
    assert at_stake(busy) == "2 tasks and 1 more in their elements (2 run, 1.2 GPU-h); 1 tasks wait for them"
