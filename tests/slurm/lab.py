"""A root, a profile and a manifest for tests on the dev cluster, and the real command line upon them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from condhpc import runs
from condhpc.layout import Layout, RunFolder
from tests.slurm.conftest import DevCluster

STAGES = Path(__file__).parent / "stages"

MANIFEST = """
name = "lab"
datasets = ["digits"]
condensers = {condensers}
ipc = {ipc}
protocols = {protocols}
students = ["convnet3"]
set_seeds = {set_seeds}
student_seeds = {student_seeds}

[teachers.single]
arch = "convnet3"
epochs = 1
"""


@dataclass
class Lab:
    """Counting stages on a real Slurm: condhpc itself is real, only what the tasks compute is not."""

    cluster: DevCluster
    root: Path
    profile: dict[str, Any]
    env: dict[str, str] = field(default_factory=dict)
    entry: tuple[str, ...] = ("-m", "condhpc")
    """How the interpreter is told to be condhpc."""

    @property
    def layout(self) -> Layout:
        """Paths under the root."""
        return Layout(self.root)

    def behave(self, **stages: dict[str, Any]) -> None:
        """Say what stages do from now on."""
        (self.root / "behaviour.json").write_text(json.dumps(stages))

    def write(self, **axes: Any) -> Path:
        """Write the manifest, with axes other than one cell's."""
        defaults: dict[str, Any] = {
            "condensers": ["random"], "ipc": [1], "protocols": ["erm"], "set_seeds": [0], "student_seeds": [0],
        }  # fmt: skip
        path = self.root / "lab.toml"
        path.write_text(MANIFEST.format(**{k: json.dumps(v) for k, v in (defaults | axes).items()}))
        return path

    def write_profile(self) -> Path:
        """Write the profile as it stands now."""
        path = self.root / "profile.toml"
        lines = [f"{k} = {json.dumps(v)}" for k, v in self.profile.items() if not isinstance(v, dict)]
        for stage, values in self.profile.get("stages", {}).items():
            lines += [f"[stages.{stage}]", *(f"{k} = {json.dumps(v)}" for k, v in values.items())]
        lines += ["[steward]", *(f"{k} = {json.dumps(v)}" for k, v in self.profile["steward"].items())]
        path.write_text("\n".join(lines) + "\n")
        return path

    def condhpc(self, *words: str | Path, expect: int | None = 0, timeout_s: float = 90.0) -> str:
        """Run the command line; its standard output. Fails the test on another exit status than expected."""
        command = [sys.executable, *self.entry, "--root", str(self.root), *map(str, words)]
        env = self.cluster.env | {"CONDHPC_PROFILE": str(self.write_profile())} | self.env
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=timeout_s, check=False)
        if expect is not None and done.returncode != expect:
            pytest.fail(f"condhpc {words} exited {done.returncode}, not {expect}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def run(self) -> RunFolder:
        """The newest run."""
        return runs.find(self.layout, None)

    def status(self) -> dict[str, Any]:
        """`condhpc status --json`."""
        return json.loads(self.condhpc("status", "--json", expect=None))

    def states(self, stage: str | None = None) -> dict[str, int]:
        """How many tasks (of a stage) are in each state."""
        found: dict[str, int] = {}
        for row in self.status()["rows"]:
            if stage in {None, row["stage"]}:
                found[row["state"]] = found.get(row["state"], 0) + 1
        return found

    def wait_for(self, states: dict[str, int], stage: str | None = None, timeout_s: float = 90.0) -> None:
        """Poll until the tasks (of a stage) are in exactly these states."""
        last: dict[str, int] = {}

        def ready() -> bool:
            last.clear()
            last.update(self.states(stage))
            return last == states

        try:
            self.cluster.wait_until(f"{stage or 'all'} {states}", ready, timeout_s)
        except BaseException:
            print(f"last seen: {last}\n{self.logs()}")
            raise

    def logs(self) -> str:
        """All element logs of the newest run, for a failing test's report."""
        return "\n".join(f"== {p}\n{p.read_text(errors='replace')[-1500:]}" for p in self.run().logs.rglob("*.log"))

    def job(self, stage: str) -> str:
        """Slurm id of the last array of a stage."""
        found = [s for s in runs.submissions(self.run()) if s.intent.stage == stage and s.reply is not None]
        reply = found[-1].reply
        assert reply is not None
        return reply.job

    def steps(self, stage: str) -> dict[str, list[int]]:
        """Steps that were really done, by key, over all starts in order."""
        found: dict[str, list[int]] = {}
        for path in sorted((self.root / "trace").glob(f"{stage}.*"), key=lambda p: p.stat().st_mtime):
            found.setdefault(path.name.split(".")[1], []).extend(map(int, path.read_text().split()))
        return found

    def restart_now(self, job: str) -> None:
        """A requeued element waits two minutes; end that wait.

        Not in its first seconds: a start in the second of the requeue fails, its credential is still revoked.
        """

        def restarted() -> bool:
            query = ["env", "SLURM_TIME_FORMAT=%s", "squeue", "-h", "-j", job, "-o", "%T %r %S"]
            state, reason, begin = [*self.cluster.run(*query, check=False).stdout.split(), "", "", ""][:3]
            if (state, reason) == ("PENDING", "BeginTime") and float(begin) - time.time() < 117:
                self.cluster.run("scontrol", "update", f"jobid={job}", "StartTime=now", check=False)
            shown = self.cluster.run("scontrol", "-o", "show", "job", job, check=False).stdout
            return re.search(r"JobState=(RUNNING|COMPLETED) .*Restarts=[1-9]", shown) is not None

        self.cluster.wait_until(f"{job} runs again", restarted)


def make_lab(cluster: DevCluster, root: Path, *, real_stages: bool = False) -> Lab:
    """A lab whose profile extends the cluster's own."""
    dev = tomllib.loads(Path(cluster.env["CONDHPC_PROFILE"]).read_text())
    profile = dev | {
        "python": sys.executable, "root": str(root), "pulse_s": 0.5, "checkpoint_s": 1.0, "patience_s": 1.0,
        "margin_s": 5.0, "signal_s": 20,
        # What these tests leave undone nobody shall do behind their backs.
        "steward": {"enabled": False},
    }  # fmt: skip
    lab = Lab(cluster, root, profile)
    if not real_stages:
        lab.env["PYTHONPATH"] = str(STAGES)
    lab.behave()
    return lab


def drain_queue(cluster: DevCluster) -> None:
    """Leave the shared cluster as it was found: nothing queued, all nodes idle."""
    cluster.run("scancel", "-u", "root", check=False)
    query = ("squeue", "-h", "-t", "PD,R,CG,S,CF")
    cluster.wait_until("the queue is empty", lambda: not cluster.run(*query, check=False).stdout.strip())
    nodes = ("sinfo", "-h", "-N", "-p", "main", "-o", "%T")
    cluster.wait_until("all nodes are idle", lambda: set(cluster.run(*nodes).stdout.split()) == {"idle"})


def wrapped_sbatch(folder: Path, body: str) -> str:
    """A PATH whose `sbatch` is a shell script; `$REAL` in it is the true one."""
    folder.mkdir()
    script = folder / "sbatch"
    script.write_text(f"#!/bin/sh\nREAL={shutil.which('sbatch')}\n{body}\n")
    script.chmod(0o755)
    return os.pathsep.join([str(folder), os.environ["PATH"]])
