"""`condhpc watch` in a real terminal, upon a run on a real Slurm."""

from __future__ import annotations

import re
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from condhpc import runs
from tests.slurm.conftest import DevCluster
from tests.slurm.lab import Lab, drain_queue, make_lab
from tests.slurm.terminal import Terminal, terminal

pytestmark = pytest.mark.slurm

PLAIN = "0 0 1"
"""No alternate screen, no mouse taken, a cursor: a terminal as it was found."""


@pytest.fixture
def lab(cluster: DevCluster, tmp_path: Path) -> Iterator[Lab]:
    """A fresh root on the shared cluster."""
    made = make_lab(cluster, tmp_path)
    made.profile["stages"] = {"default": made.profile["stages"]["default"] | {"pack": 1}}
    yield made
    drain_queue(cluster)


@pytest.fixture
def window(lab: Lab, tmp_path: Path) -> Iterator[Terminal]:
    """A terminal in which condhpc finds the lab."""
    env = lab.cluster.env | {"CONDHPC_PROFILE": str(lab.write_profile()), "CONDHPC_ROOT": str(lab.root)} | lab.env
    with terminal(tmp_path / "terminal", env) as opened:
        yield opened


def watch(window: Terminal, *words: str) -> None:
    """Start it at the prompt; its exit code is shown behind it."""
    window.type(shlex.join([sys.executable, "-m", "condhpc", "watch", *words]) + "; echo exit $?")
    window.press("Enter")
    window.wait_for("the overview", lambda shown: "[1 Overview]" in shown and "evaluate" in shown)


def left(window: Terminal, code: int) -> None:
    """It ended with this code, and the terminal is as it was found: the shell answers what is typed."""
    window.wait_for("the end", lambda shown: f"exit {code}" in shown)
    assert window.modes() == PLAIN
    window.type("echo typed | tr a-z A-Z")
    window.press("Enter")
    window.wait_for("an answer of the shell", lambda shown: "TYPED" in shown)


def steps_shown(text: str) -> list[int]:
    """Steps of running tasks on the screen."""
    return [int(step) for step in re.findall(r"(\d+)/3000", text)]


def test_a_day_in_a_terminal(lab: Lab, window: Terminal) -> None:
    """Progress, a log, a task cancelled and tried again, results, the end; at last a clean terminal."""
    lab.behave(condense={"steps": 3000, "step_s": 0.2})
    lab.condhpc("submit", lab.write(set_seeds=[0, 1]))
    lab.wait_for({"running": 2}, "condense")
    watch(window)
    assert window.modes().startswith("1")

    window.press("2", "/")
    window.type("condense")
    window.press("Enter")
    window.wait_for("the table", lambda shown: "space Mark" in shown)
    window.press("x")
    first = window.wait_for("steps", lambda shown: len(steps_shown(shown)) == 2, timeout_s=240.0)
    window.wait_for("progress", lambda shown: max(steps_shown(shown), default=0) > max(steps_shown(first)))

    window.press("g", "j", "l")
    window.wait_for("the log", lambda shown: "[6 Log]" in shown and "condense" in shown)
    window.resize(40, 10)
    window.wait_for("a small screen", lambda shown: len(shown.splitlines()) <= 10 and "Log]" in shown)
    window.resize(120, 40)

    window.press("2")
    window.wait_for("the tasks", lambda shown: "[2 Tasks]" in shown and "running" in shown)
    window.press("c")
    window.wait_for("the question", lambda shown: "Cancel 1 task" in shown and "Yes (y)" in shown)
    window.press("y")
    keys = [line.key for line in runs.plan(lab.run()) if line.stage == "condense"]
    lab.cluster.wait_until("it is stopped", lambda: lab.states("condense") == {"new": 1, "running": 1}, 60.0)
    window.wait_for(
        "the stopped task", lambda shown: re.search(r"^ +new +condense +set 0", shown, re.M) is not None, 120.0
    )
    stopped = len(lab.steps("condense")[keys[0]])

    lab.behave(condense={"steps": stopped + 2})
    window.press("r")
    window.wait_for("the question", lambda shown: "minutes" in shown)
    window.press("Enter", "Enter")  # one for each of two fields
    window.wait_for("the answer", lambda shown: "minutes" not in shown)
    window.press("2")
    window.wait_for("the set", lambda shown: re.search(r"^ +recorded +condense +set 0", shown, re.M) is not None, 150.0)
    assert lab.steps("condense")[keys[0]][-2:] == [stopped, stopped + 1], "it did not go on from its checkpoint"

    lab.wait_for({"recorded": 1, "queued": 1}, "evaluate")
    window.press("4")
    window.wait_for("the results", lambda shown: "[4 Results]" in shown and "random" in shown and "50.0" in shown)
    window.press("q")
    left(window, 0)
    lab.condhpc("cancel", "--yes")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_leave_a_clean_terminal(lab: Lab, window: Terminal, number: signal.Signals) -> None:
    """Whoever ends it from outside finds the terminal as it was, and the code that shells expect."""
    lab.condhpc("submit", lab.write())
    watch(window)
    window.press("C-z")  # Textual stops as other programs do; the shell is back
    window.wait_for("the shell", lambda shown: "Stopped" in shown or "exit 148" in shown)
    window.type("fg")
    window.press("Enter")
    window.wait_for("the overview again", lambda shown: "[1 Overview]" in shown)
    found = lab.cluster.run("pgrep", "-f", "condhpc watch$").stdout.split()
    mine = [pid for pid in found if str(lab.root).encode() in Path(f"/proc/{pid}/environ").read_bytes()]
    lab.cluster.run("kill", f"-{number.value}", *mine)
    window.wait_for("the shell", lambda shown: "[1 Overview]" not in shown)
    assert window.modes() == PLAIN
    lab.wait_for({"recorded": len(runs.plan(lab.run()))})


def test_a_terminal_without_utf8_or_colour(lab: Lab, window: Terminal) -> None:
    """LANG=C, NO_COLOR and TERM=screen: ASCII only, states in words."""
    lab.condhpc("submit", lab.write())
    lab.wait_for({"recorded": len(runs.plan(lab.run()))})
    window.type("export LANG=C LC_ALL=C NO_COLOR=1 TERM=screen")
    window.press("Enter")
    watch(window)
    window.press("2")
    shown = window.wait_for("the tasks", lambda shown: "[2 Tasks]" in shown and "recorded" in shown)
    assert shown.isascii()
    assert ">" in shown
    window.press("q")
    left(window, 0)
