"""The real command line on local workers: idempotent, interruptible, resumable. Stages count instead of learning."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from children import until
from made_owners import as_anybody, close, give_away, needs_root
from made_submits import MANIFEST, FakePool, manifest_here, profile_here, send

import condhpc
from condhpc import keys, lease, live, preparing, profile, runs, store, submit
from condhpc.layout import Layout, RunFolder, TaskFolder

STAGES = Path(__file__).parent / "slurm" / "stages"
TIMEOUT_S = 30.0
PROFILE: dict[str, Any] = {
    "backend": "local", "workers": 1, "pulse_s": 0.2, "lease_stale_s": 600.0, "checkpoint_s": 600.0,
    "patience_s": 0.0, "signal_s": 20, "cancel_grace_s": 15.0,
}  # fmt: skip


class Lab:
    """A root, a manifest and the real command line; whatever is still alive at the end is killed."""

    def __init__(self, folder: Path, code: Path) -> None:
        self.folder = folder
        self.root = folder / "root"
        self.manifest = folder / "m.toml"
        self.children: list[subprocess.Popen[str]] = []
        self.root.mkdir()
        (self.root / "code").symlink_to(code, target_is_directory=True)  # one snapshot for all tests: a second each
        self.behave()
        self.write()
        self.profile()

    @property
    def layout(self) -> Layout:
        """Paths under the root."""
        return Layout(self.root)

    def behave(self, **stages: dict[str, Any]) -> None:
        """Say what stages do from now on."""
        (self.root / "behaviour.json").write_text(json.dumps(stages))

    def write(self, dataset: str = "digits", set_seeds: int = 1, student_seeds: int = 1) -> None:
        """The manifest, with so many seeds."""
        axes = {"set_seeds": list(range(set_seeds)), "student_seeds": list(range(student_seeds))}
        self.manifest.write_text(MANIFEST.format(dataset=dataset, **axes))

    def profile(self, **fields: Any) -> None:
        """The profile, with other fields."""
        lines = [f"{name} = {json.dumps(value)}" for name, value in (PROFILE | fields).items()]
        (self.folder / "p.toml").write_text("\n".join(lines))

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start the command line."""
        command = [sys.executable, "-m", "condhpc", "--root", str(self.root), *words]
        env = {
            "PATH": "/usr/bin:/bin", "HOME": str(self.folder), "CONDHPC_PROFILE": str(self.folder / "p.toml"),
            "PYTHONPATH": f"{STAGES}:{Path(condhpc.__file__).parents[1]}", "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        # Tests may run in the background of a shell, where Ctrl-C is ignored and children inherit that.
        command = ["env", "--default-signal=INT", *command]
        pipe = subprocess.PIPE
        self.children.append(
            subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True)
        )
        return self.children[-1]

    def submit(self) -> subprocess.Popen[str]:
        """Start `condhpc submit`."""
        return self.start("submit", str(self.manifest))

    def condhpc(self, *words: str, expect: int = 0) -> str:
        """Run the command line to its end; everything that it said."""
        return finish(self.start(*words), expect)

    def trace(self, stage: str) -> dict[str, list[int]]:
        """Steps that were really done, by key."""
        return {p.name.split(".")[1]: [*map(int, p.read_text().split())] for p in self.root.glob(f"trace/{stage}.*")}

    def recorded(self) -> Counter[str]:
        """Records by stage."""
        return Counter(path.parts[-4] for path in self.root.glob("store/*/*/*/record.json"))

    def files(self) -> list[str]:
        """Everything under the root but the code and the lock."""
        found = (path.relative_to(self.root).as_posix() for path in self.root.rglob("*"))
        return sorted(name for name in found if name.split("/")[0] not in {"code", "submit.lock"})

    def task(self, stage: str = "condense") -> TaskFolder:
        """The only task of a stage."""
        (path,) = self.root.glob(f"store/{stage}/*/*")
        return TaskFolder(path)

    def run(self) -> RunFolder:
        """The newest run."""
        return runs.find(self.layout, None)

    def controllers(self) -> list[psutil.Process]:
        """Living controllers of all pools of all runs."""
        held = [s for name in self.layout.run_names() for s in runs.submissions(self.layout.run(name))]
        pids = {int(pid): start for s in held if s.reply is not None for pid, start in s.reply.pids.items()}
        return [psutil.Process(pid) for pid, start in pids.items() if lease.process_start(pid) == start]

    def workers(self) -> list[psutil.Process]:
        """Living workers of all pools."""
        return [child for process in self.controllers() for child in process.children()]

    def end(self) -> None:
        """Kill what these tests started and is still alive."""
        for process in self.controllers():
            for one in [*process.children(recursive=True), process]:
                with suppress(psutil.NoSuchProcess):
                    one.kill()
        for child in self.children:
            if child.poll() is None:
                child.kill()
            child.communicate(timeout=TIMEOUT_S)


def finish(process: subprocess.Popen[str], expect: int = 0) -> str:
    """Wait for a command; what it said on both streams."""
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == expect, f"exit {process.returncode}\n{out}\n{err}"
    return out + err


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the snapshots of the code are."""
    folder = tmp_path_factory.mktemp("shared") / "code"
    folder.mkdir()
    return folder


@pytest.fixture
def lab(tmp_path: Path, code: Path) -> Iterator[Lab]:
    """One set and one evaluation, one worker."""
    found = Lab(tmp_path, code)
    yield found
    found.end()


def test_what_is_made_elsewhere_is_warned_of_and_needed(lab: Lab) -> None:
    """`plan` tells of a digest that nobody filled in and of a path that is not there, `submit` sends nothing."""
    zeros = "0" * 64
    block = f'[external.theirs]\nformat = "folder"\nsha256 = "{zeros}"\nipc = 1\n'
    text = lab.manifest.read_text().replace('["random"]', '["random", "theirs"]')
    lab.manifest.write_text(text + block)
    wanted = ["sets.theirs: missing, expected the path of this set", "external.theirs.sha256: a placeholder of zeros"]
    planned = lab.condhpc("plan", str(lab.manifest))
    assert all(re.search(f"^warning: .*{problem}", planned, re.MULTILINE) for problem in wanted)
    refused = lab.condhpc("submit", str(lab.manifest), expect=2)
    assert all(problem in refused for problem in wanted)
    assert lab.layout.run_names() == []


def test_a_submit_computes_and_a_second_one_does_nothing(lab: Lab) -> None:
    """No new run, no new attempt, no new file of any kind."""
    said = lab.condhpc("submit", str(lab.manifest))
    assert "done, 2 of 2 recorded" in said
    assert lab.recorded() == {"condense": 1, "evaluate": 1}
    before = lab.files()
    said = lab.condhpc("submit", str(lab.manifest))
    assert f"nothing to submit: 2 recorded, 0 live; see run {lab.run().name}" in said
    assert lab.files() == before
    assert [len(steps) for steps in (lab.trace("condense") | lab.trace("evaluate")).values()] == [1, 1]


def test_two_concurrent_submits_compute_nothing_twice(lab: Lab) -> None:
    """Both end well, every step of every task was done once, and every task had one attempt."""
    lab.write(set_seeds=2, student_seeds=2)
    lab.behave(condense={"steps": 5, "step_s": 0.05}, evaluate={"steps": 5, "step_s": 0.05})
    for process in [lab.submit(), lab.submit()]:
        finish(process)
    traces = lab.trace("condense") | lab.trace("evaluate")
    assert len(traces) == 6
    assert all(steps == [0, 1, 2, 3, 4] for steps in traces.values())
    records = [store.read_record(TaskFolder(path.parent)) for path in lab.root.glob("store/*/*/*/record.json")]
    assert [record.attempt for record in records if record] == [1] * 6


def test_ctrl_c_checkpoints_and_the_next_submit_goes_on(lab: Lab) -> None:
    """Only the submitter hears it; tasks stop within the grace, and no step is done again."""
    lab.behave(condense={"steps": 400, "step_s": 0.1})
    process = lab.submit()
    until(lambda: any(len(steps) >= 3 for steps in lab.trace("condense").values()), "steps")
    (worker,) = lab.workers()
    assert os.getpgid(worker.pid) not in {os.getpgid(process.pid), os.getpgid(0)}
    process.send_signal(signal.SIGINT)
    said = finish(process, expect=130)
    assert "stopping: tasks have 15 s to checkpoint" in said
    assert not lab.controllers()
    (done,) = lab.trace("condense").values()
    assert len(done) < 400
    held = lease.read_attempt(lab.task(), 1)
    assert held is not None
    assert held.end is not None
    assert held.end.outcome == "stopped"
    lab.behave(condense={"steps": 400, "step_s": 0.0})
    lab.condhpc("submit", str(lab.manifest))
    assert list(lab.trace("condense").values()) == [list(range(400))]
    assert lab.recorded() == {"condense": 1, "evaluate": 1}


def test_workers_outlive_their_submitter(lab: Lab) -> None:
    """After a SIGKILL of the submitter they go on; the next submit waits for them and computes nothing itself."""
    lab.behave(condense={"steps": 40, "step_s": 0.1})
    process = lab.submit()
    until(lambda: any(len(steps) >= 2 for steps in lab.trace("condense").values()), "steps")
    process.kill()
    assert process.wait(TIMEOUT_S) == -signal.SIGKILL  # its pipes stay open: the workers hold them
    assert len(lab.workers()) == 1
    lab.condhpc("submit", str(lab.manifest))
    assert list(lab.trace("condense").values()) == [list(range(40))]
    assert lab.recorded() == {"condense": 1, "evaluate": 1}
    assert lease.latest_number(lab.task()) == 1


def test_a_killed_worker_is_replaced_by_the_next_submit(lab: Lab) -> None:
    """Killed with its task, it leaves no record; the submit that watched says so, the next one finishes."""
    lab.behave(condense={"steps": 300, "step_s": 0.1})
    process = lab.submit()
    until(lambda: any(len(steps) >= 2 for steps in lab.trace("condense").values()), "steps")
    (worker,) = lab.workers()
    for one in [*worker.children(recursive=True), worker]:
        one.kill()
    finish(process, expect=1)
    assert lab.recorded() == {}
    lab.behave()
    lab.condhpc("submit", str(lab.manifest))
    assert lab.recorded() == {"condense": 1, "evaluate": 1}
    assert lease.latest_number(lab.task()) == 2


def test_success_is_read_from_records_alone(lab: Lab) -> None:
    """A worker that exits with 0 and recorded nothing is no success."""
    python = lab.folder / "python"
    python.write_text("#!/bin/sh\nexit 0\n")
    python.chmod(0o755)
    lab.profile(python=str(python))
    said = lab.condhpc("submit", str(lab.manifest), expect=1)
    assert "0 of 2 recorded" in said
    assert lab.recorded() == {}


def test_continue_takes_the_profile_in_force(lab: Lab) -> None:
    """A run that failed for its profile is mended by another one of the same back-end, with no new run.

    What failed by its own code is tried again by hand alone.
    """
    lab.behave(evaluate={"fail": ["evaluate"]})
    lab.condhpc("submit", str(lab.manifest), expect=1)
    first = lab.run()
    lab.behave()
    lab.profile(signal_s=21)
    said = lab.condhpc("submit", "--continue", expect=1)
    assert "1 evaluate not sent again: failed by its own code: `condhpc retry --class code` tries again" in said
    said = lab.condhpc("retry", "--class", "code")
    assert "2 of 2 recorded" in said
    assert lab.layout.run_names() == [first.name]
    assert profile.of_run(first.profile).signal_s == 21
    assert [len(steps) for steps in lab.trace("condense").values()] == [1]


def test_changed_plugin_code_is_refused_unless_accepted(lab: Lab) -> None:
    """At an equal version: exit 2, nothing written; `--accept-code` reuses the result."""
    lab.condhpc("submit", str(lab.manifest))
    record = store.read_record(lab.task())
    assert record is not None
    other = msgspec.structs.replace(record, environment=record.environment | {"plugin_code": "0" * 32})
    lab.task().record.write_bytes(keys.encode(other))
    lab.write(student_seeds=2)
    before = lab.files()
    said = lab.condhpc("submit", str(lab.manifest), expect=2)
    assert "random (1 records)" in said
    assert lab.files() == before
    lab.condhpc("submit", "--accept-code", str(lab.manifest))
    assert lab.recorded() == {"condense": 1, "evaluate": 2}
    assert [len(steps) for steps in lab.trace("condense").values()] == [1]


def test_retry_sets_a_flipped_artefact_aside(lab: Lab) -> None:
    """A submit trusts the size; `retry` reads the bytes, says what it found and computes that task again."""
    lab.condhpc("submit", str(lab.manifest))
    folder = lab.task()
    artefact = folder.artefact("set", 1, "h5")
    sound = artefact.read_bytes()
    artefact.write_bytes(bytes([sound[0] ^ 1]) + sound[1:])
    said = lab.condhpc("retry")
    assert f"{artefact}: its bytes changed" in said
    assert f"condense {folder.path.name} is computed again" in said
    record = store.read_record(folder)
    assert record is not None
    assert record.attempt == 2
    assert store.verified(folder, record, "set").read_bytes() == sound
    assert [len(steps) for steps in lab.trace("evaluate").values()] == [1]


def test_a_dataset_that_is_not_here_is_planned_and_not_submitted(lab: Lab) -> None:
    """`plan` warns; `submit` exits with 2 and writes nothing, not even the root."""
    lab.write(dataset="cifar10")
    (lab.root / "code").unlink()
    (lab.root / "behaviour.json").unlink()
    lab.root.rmdir()
    said = lab.condhpc("plan", str(lab.manifest))
    assert "dataset 'cifar10'" in said
    said = lab.condhpc("submit", str(lab.manifest), expect=2)
    assert "`cifar10` under [data]" in said
    assert not lab.root.exists()


def test_local_work_stops_at_its_budget(lab: Lab) -> None:
    """The submitter looks while it waits: the running task ends, no other is begun, and a raised budget goes on."""
    lab.write(student_seeds=6)
    lab.behave(evaluate={"steps": 25, "step_s": 0.1})
    said = lab.condhpc("submit", str(lab.manifest), "--budget", "1e-6cpuh", expect=1)
    assert "budget used up" in said
    assert "over_budget" in said
    assert 1 <= lab.recorded()["evaluate"] < 6
    assert "1e-06 CPU-h" in lab.condhpc("submit", "--continue", expect=2)
    lab.behave()
    said = lab.condhpc("submit", "--continue", "--budget", "5cpuh")
    assert "done, 7 of 7 recorded" in said
    assert not lab.run().over_budget.exists()


def test_a_budget_with_nothing_to_send_is_not_set_without_a_word(lab: Lab) -> None:
    """A run that is over has nothing to bound: it keeps no budget, and is told how to get one all the same."""
    lab.condhpc("submit", str(lab.manifest))
    for words in ((str(lab.manifest),), ("--continue",)):
        said = lab.condhpc("submit", *words, "--budget", "5cpuh")
        assert f"so --budget 5cpuh is not set; `condhpc budget {lab.run().name} --set 5cpuh`" in said
        assert not lab.run().budget.exists()
    assert "no unit" in lab.condhpc("submit", str(lab.manifest), "--budget", "5days", expect=2)


# -- in this process ---------------------------------------------------------------------------------------


def test_only_ctrl_c_ends_the_workers(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They get the profile's grace; a submit that is not interrupted lets them be."""
    manifest = manifest_here(monkeypatch, tmp_path)
    quiet, hurried = FakePool(), FakePool(interrupted=True)
    send(manifest, profile_here(root), lambda: quiet, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        send(manifest, profile_here(root, cancel_grace_s=7.0), lambda: hurried, monkeypatch)
    assert (quiet.ended, hurried.ended) == ([], [7.0])


def test_a_cancelled_run_is_no_longer_cancelled_when_it_goes_on(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`cancel` marks run and submissions and keeps the records; `--continue` takes the mark away."""
    manifest = manifest_here(monkeypatch, tmp_path)
    send(manifest, profile_here(root), FakePool, monkeypatch)
    layout = Layout(root)
    run = runs.find(layout, None)
    runs.append(run, runs.Intent(name="pool", backend="local", elements=(("k",),), time=1.0))
    runs.append(run, runs.Reply(name="pool", host=os.uname().nodename, pids={}, time=1.0))
    assert submit.cancel(run, layout, say=list) == 1
    assert run.cancel.exists()
    assert runs.submissions(run)[0].cancelled == {0}
    submit.resume(run, layout, profile_here(root), accept_code=False, say=list, progress=list)
    assert not run.cancel.exists()


def manifest_that_others_compute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, root: Path) -> Path:
    """All its tasks are live elsewhere, and no run of this root has them."""
    manifest = manifest_here(monkeypatch, tmp_path)
    found = preparing.prepare(manifest, profile_here(root))
    everything = {p.key: live.Live("", "other") for p in found.plan.tasks}
    monkeypatch.setattr("condhpc.survey.live_tasks", lambda *_: everything)
    return manifest


def test_what_others_compute_is_waited_for_and_not_sent(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All live elsewhere, and no run of this manifest: a run is opened that follows them and may take over."""
    manifest = manifest_that_others_compute(monkeypatch, tmp_path, root)
    opened: list[int] = []
    send(manifest, profile_here(root), lambda: opened.append(1) or FakePool(), monkeypatch)
    said = send(manifest, profile_here(root), lambda: opened.append(1) or FakePool(), monkeypatch)
    assert opened == [1]
    assert said == [f"nothing to submit: 0 recorded, 2 live; see run {runs.find(Layout(root), None).name}"]


@needs_root
def test_a_colleagues_closed_plan_is_no_run_of_ours(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They sent the same manifest, which we may read: we get a run of our own."""
    manifest = manifest_that_others_compute(monkeypatch, tmp_path, root)
    send(manifest, profile_here(root), FakePool, monkeypatch)
    theirs = runs.find(Layout(root), None)
    give_away(theirs.path)
    close(theirs.plan)
    said = as_anybody(lambda: send(manifest, profile_here(root), FakePool, monkeypatch), tmp_path / "answer.json")
    assert said[0].startswith("run ")
    assert len(Layout(root).run_names()) == 2
