"""What is handed to Slurm, by its batch script; and local pools of real processes."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from children import until

from condhpc import launch
from condhpc.errors import SchedulerError, StoreError
from condhpc.launch import Job, Pool
from condhpc.lease import process_start
from condhpc.profile import Profile
from condhpc.resources import StageBlock, StageResources, Stages
from condhpc.runs import Reply

Script = Callable[..., str]


def _shim(folder: Path, name: str, body: str = "") -> None:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def _job(folder: Path, **fields: Any) -> Job:
    given: dict[str, Any] = {"name": "condhpc-x-evaluate-1", "payload": folder / "p q.jsonl", "logs": folder / "logs"}
    return Job(**{**given, "count": 300, **fields})


def _slurm_profile(**fields: Any) -> Profile:
    return Profile(**{"name": "site", "backend": "slurm", "root": Path("/root"), "python": "/env/python", **fields})


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Script:
    """Makes the batch script of a job."""
    _shim(tmp_path / "bin", "srun")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")

    def make(profile: Profile | None = None, resources: StageResources | None = None, **job: Any) -> str:
        profile, resources = profile or _slurm_profile(), resources or StageResources()
        held = _job(tmp_path, **job)
        executor = launch._Slurm(folder=tmp_path / "logs")
        executor.update_parameters(**launch._parameters(held, profile, resources, Path("/code here")))
        executor.parameters["map_count"] = held.count
        return executor._make_submission_file_text(launch.worker_command(held, profile, resources), "")

    return make


def _flags(text: str) -> dict[str, str]:
    found = re.findall(r"^#SBATCH --([a-z-]+)(?:=(.*))?$", text, re.MULTILINE)
    assert len(found) == text.count("#SBATCH")
    return {name: "".join(shlex.split(value)) for name, value in found}


def test_the_batch_script_asks_for_what_the_profile_says(script: Script) -> None:
    """Every field of a stage's resources is an sbatch option with the right unit."""
    resources = StageResources(
        partition="a,b", account="acc", qos="high", gpus=2, gpu_type="h100", cpus=8, mem_gb=1.5, time_min=90,
        max_running=7, sbatch={"constraint": "ib", "exclusive": True, "nice": 5, "contiguous": False},
    )  # fmt: skip
    assert _flags(script(resources=resources)) == {
        "array": "0-299%7", "account": "acc", "constraint": "ib", "cpus-per-task": "8", "exclusive": "",
        "gres": "gpu:h100:2", "job-name": "condhpc-x-evaluate-1", "mem": "1536M", "nice": "5", "nodes": "1",
        "open-mode": "append", "output": _flags(script())["output"], "partition": "a,b", "qos": "high",
        "requeue": "", "signal": "B:USR2@120", "time": "90",
    }  # fmt: skip


def test_what_the_profile_leaves_open_is_left_to_the_cluster(script: Script, tmp_path: Path) -> None:
    """No time limit, memory, partition or GPU is invented; the array throttle is always given."""
    assert _flags(script()) == {
        "array": "0-299%256", "cpus-per-task": "1", "job-name": "condhpc-x-evaluate-1", "nodes": "1",
        "open-mode": "append", "output": str(tmp_path / "logs" / "%a.log"), "requeue": "", "signal": "B:USR2@120",
    }  # fmt: skip


def test_gpus_without_a_type(script: Script) -> None:
    """A count alone names no type."""
    assert _flags(script(resources=StageResources(gpus=1)))["gres"] == "gpu:1"


def test_the_signal_and_the_requeue_follow_the_profile(script: Script) -> None:
    """The lead of the signal is the profile's; a site without requeueing says so."""
    flags = _flags(script(_slurm_profile(signal_s=33, requeue=False)))
    assert flags["signal"] == "B:USR2@33"
    assert "no-requeue" in flags
    assert "requeue" not in flags


def test_several_ranks_are_tasks_of_one_srun(script: Script, tmp_path: Path) -> None:
    """Nodes × ranks tasks; every one is signalled, not the batch shell alone, and one that dies ends all."""
    profile = _slurm_profile(launch_prefix=("prefix",))
    text = script(profile, StageResources(nodes=2, ranks_per_node=4, gpus=4, cpus=3))
    flags = _flags(text)
    assert (flags["nodes"], flags["ntasks-per-node"], flags["gres"]) == ("2", "4", "gpu:4")
    assert (flags["cpus-per-task"], flags["signal"]) == ("3", "USR2@120")
    payload = shlex.quote(str(tmp_path / "p q.jsonl"))
    assert text.splitlines()[-1] == (
        "exec srun --kill-on-bad-exit=1 --export=ALL --cpus-per-task=3 --unbuffered "
        f"prefix /env/python -u -m condhpc.worker {payload}"
    )
    assert "ntasks-per-node" not in _flags(script())


def test_lanes_share_the_cores(script: Script) -> None:
    """Four tasks at a time on eight cores have two threads each; the element asks for eight."""
    text = script(resources=StageResources(cpus=8, pack=4, concurrent=4))
    assert _flags(text)["cpus-per-task"] == "8"
    assert "export OMP_NUM_THREADS=2" in text.splitlines()


def test_a_dependency_that_cannot_be_met_ends_the_job(script: Script) -> None:
    """Only where there is a dependency: some sites refuse the option alone."""
    flags = _flags(script(dependency="afterok:1_2,afterany:3"))
    assert flags["dependency"] == "afterok:1_2,afterany:3"
    assert flags["kill-on-invalid-dep"] == "yes"
    assert not {"dependency", "kill-on-invalid-dep"} & _flags(script()).keys()


def test_a_job_alone_is_no_array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One at a time of its name, later, with its own log, by the profile's interpreter and the run's code."""
    _shim(tmp_path / "bin", "sbatch", "echo Submitted batch job 77")
    _shim(tmp_path / "bin", "srun")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    job = _job(tmp_path, name="condhpc-x-steward", count=1, dependency="singleton")
    resources = StageResources(partition="cpu", mem_gb=2.0, time_min=10)
    profile = _slurm_profile(setup=("module load x",), launch_prefix=("prefix",))
    assert launch.alone(job, ("-m", "some module"), profile, resources, Path("/code here"), 1800) == "77"
    text = (tmp_path / "logs" / "submission.sh").read_text()
    assert _flags(text) == {
        "begin": "now+1800", "cpus-per-task": "1", "dependency": "singleton", "job-name": "condhpc-x-steward",
        "kill-on-invalid-dep": "yes", "mem": "2048M", "nodes": "1", "open-mode": "append",
        "output": str(tmp_path / "logs" / "%j.log"), "partition": "cpu", "requeue": "", "signal": "B:USR2@120",
        "time": "10",
    }  # fmt: skip
    assert text.splitlines()[-1] == "exec prefix /env/python -u -m 'some module'"
    assert "export PYTHONPATH='/code here'${PYTHONPATH:+:$PYTHONPATH}" in text.splitlines()


def test_the_worker_replaces_the_shell(script: Script, tmp_path: Path) -> None:
    """The last command is exec'ed with prefix and quoting, after the profile's lines and our exports."""
    profile = _slurm_profile(setup=("module load x",), launch_prefix=("apptainer", "exec", "my image.sif"))
    lines = [line for line in script(profile, StageResources(cpus=6)).splitlines() if line]
    payload = shlex.quote(str(tmp_path / "p q.jsonl"))
    assert lines[-1] == f"exec apptainer exec 'my image.sif' /env/python -u -m condhpc.worker {payload}"
    exports = [line for line in lines if line.startswith("export ")]
    assert exports[:-1] == [
        "export PYTHONPATH='/code here'${PYTHONPATH:+:$PYTHONPATH}",
        "export PYTHONSAFEPATH=1",
        "export PYTHONDONTWRITEBYTECODE=1",
        "export HDF5_USE_FILE_LOCKING=BEST_EFFORT",
        "export OMP_NUM_THREADS=6",
    ]
    assert lines.index("module load x") < lines.index(exports[0])


def test_sbatch_is_called_once_with_the_script(script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job id is what sbatch said; an enclosing job's variables do not reach it."""
    monkeypatch.setenv("SBATCH_PARTITION", "wrong")
    said = f'echo "${{SBATCH_PARTITION-none}}" >> {tmp_path}/calls; cat > {tmp_path}/read'
    _shim(tmp_path / "bin", "sbatch", f"{said}; echo Submitted batch job 4711 on cluster c")
    ready: list[bool] = []
    note = lambda: ready.append((tmp_path / "read").exists() and (tmp_path / "read").stat().st_size > 0)  # noqa: E731
    assert launch.to_slurm(_job(tmp_path), _slurm_profile(), StageResources(), tmp_path, note) == "4711"
    assert ready == [False], "called once, before sbatch was given anything"
    assert (tmp_path / "calls").read_text().splitlines() == ["none"]
    assert "#SBATCH --array=0-299%256" in (tmp_path / "read").read_text()
    assert (tmp_path / "read").read_text() == (tmp_path / "logs" / "submission.sh").read_text()


def test_nothing_is_sent_where_the_payload_cannot_be_written(script: Script, tmp_path: Path) -> None:
    """A full disk while preparing: sbatch, already started, is ended without having read a script."""
    _shim(tmp_path / "bin", "sbatch", f"cat > {tmp_path}/read && test -s {tmp_path}/read && touch {tmp_path}/sent")

    def full() -> None:
        raise OSError(28, "No space left on device", "payload")

    with pytest.raises(StoreError, match="payload: cannot be written"):
        launch.to_slurm(_job(tmp_path), _slurm_profile(), StageResources(), tmp_path, full)
    assert not (tmp_path / "sent").exists()


@pytest.mark.parametrize(("body", "said"), [("echo bad partition >&2; exit 1", "bad partition"), ("echo hm", "hm")])
def test_a_refused_or_unreadable_sbatch_is_a_scheduler_error(
    script: Script, tmp_path: Path, body: str, said: str
) -> None:
    """Slurm's own words are in the error, also where it answered something that holds no id."""
    _shim(tmp_path / "bin", "sbatch", body)
    with pytest.raises(SchedulerError, match=said):
        launch.to_slurm(_job(tmp_path), _slurm_profile(), StageResources(), tmp_path, lambda: None)


@pytest.mark.parametrize(
    ("mask", "gpus", "visible"),
    [(None, 0, []), (None, 2, [0, 1]), ("3,5,7", 2, [3, 5]), ("3", 2, [3]), ("", 2, []), ("3,5", 0, [])],
)
def test_visible_gpus(monkeypatch: pytest.MonkeyPatch, mask: str | None, gpus: int, visible: list[int]) -> None:
    """A mask that is set is kept, also one that hides everything; without one the first GPUs are taken."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if mask is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", mask)
    assert launch._visible_gpus(gpus) == visible


# -- local pools -------------------------------------------------------------------------------------------

_CONTROLLER = """
import subprocess, sys, time
time.sleep({delay_s})
subprocess.call([sys.executable, "-c", {worker!r}])
"""
_STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"


@pytest.fixture
def controller() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts processes that start a worker each, as submitit's controllers do; ends them afterwards."""
    started: list[subprocess.Popen[bytes]] = []

    def start(worker: str, delay_s: float = 0.0) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-c", _CONTROLLER.format(delay_s=delay_s, worker=worker)]
        started.append(subprocess.Popen(words, stdout=subprocess.PIPE, start_new_session=True))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=10)


def test_a_worker_that_is_only_starting_is_stopped_too(controller: Callable[..., subprocess.Popen[bytes]]) -> None:
    """Ctrl-C right after the start: the worker that comes up later hears of it well within the grace."""
    pool = Pool([controller("import time; time.sleep(60)", delay_s=0.3).pid])
    pool.stop()
    assert pool.alive()
    began = time.monotonic()
    pool.end(30.0)
    assert not pool.alive()
    assert time.monotonic() - began < 15


def test_a_worker_that_does_not_stop_is_killed(controller: Callable[..., subprocess.Popen[bytes]]) -> None:
    """After the grace there is no more asking."""
    process = controller(_STUBBORN)
    assert process.stdout is not None
    assert process.stdout.read(1) == b"1"
    pool = Pool([process.pid])
    pool.end(0.3)
    assert pool.wait(10.0)


def test_a_pool_is_known_by_pid_and_start_time_on_its_own_host() -> None:
    """A reused pid or another host's is not ours to signal."""
    own = {str(os.getpid()): process_start(os.getpid()) or 0}
    other = {str(os.getpid()): 1}
    here = os.uname().nodename
    assert Pool.of(Reply(name="p", host=here, pids=own, time=0.0)).pids() == own
    assert not Pool.of(Reply(name="p", host=here, pids=other, time=0.0)).alive()
    assert not Pool.of(Reply(name="p", host="elsewhere", pids=own, time=0.0)).alive()


def in_a_thread(work: Callable[[], Pool]) -> Pool:
    """What it makes there."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(work).result()


def heard(words: str) -> set[str]:
    """Which of a terminal's signals a process hears, by its signals that are blocked and ignored."""
    deaf = 0
    for word in words.split():
        deaf |= int(word, 16)
    return {number.name for number in (signal.SIGINT, signal.SIGHUP) if not deaf & (1 << (number - 1))}


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # submitit lets go of its controllers, as it should
@pytest.mark.parametrize("begin", [lambda work: work(), in_a_thread], ids=["submit", "watch"])
def test_local_workers_have_a_group_and_an_environment_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begin: Callable[[Callable[[], Pool]], Pool]
) -> None:
    """A terminal's Ctrl-C reaches the submitter alone; its own handlers and variables are put back."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", "/site")
    package = tmp_path / "code" / "condhpc"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    seen = tmp_path / "seen"
    (package / "worker.py").write_text(
        "import json, os, re, signal, sys\nfrom pathlib import Path\ndef main():\n"
        "    status = Path(f'/proc/{os.getppid()}/status').read_text()\n"
        "    deaf = ' '.join(re.findall(r'Sig(?:Blk|Ign):\\s*(\\S+)', status))\n"
        "    own = [signal.getsignal(signal.SIGINT) == signal.SIG_IGN, not signal.pthread_sigmask(0, ())]\n"
        "    variables = [os.environ['PYTHONPATH'], os.environ['OMP_NUM_THREADS']]\n"
        "    words = [deaf, own, os.getpgid(0), *variables, *sys.argv[1:]]\n"
        f"    open({str(seen)!r}, 'w').write(json.dumps(words))\n    return 0\n"
    )
    profile = Profile(name="l", backend="local", root=tmp_path, threads=3, stages=Stages(default=StageBlock(gpus=0)))
    before = signal.getsignal(signal.SIGINT)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    pool = begin(lambda: launch.to_local(_job(tmp_path, count=1), profile, tmp_path / "code", 0))
    until(lambda: not pool.alive(), "the worker's end")
    deaf, own, group, *rest = json.loads(seen.read_text())
    assert group != os.getpgid(0)
    assert rest == [f"{tmp_path / 'code'}:/site", "3", str(tmp_path / "p q.jsonl"), "--element", "0"]
    assert heard(deaf) == set()
    assert own == [True, True]  # as deaf, and free to hear what its own handlers are for
    assert signal.getsignal(signal.SIGINT) is before
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask
    assert os.environ["OMP_NUM_THREADS"] == "1"
