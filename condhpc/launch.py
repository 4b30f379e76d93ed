"""Handing payloads to Slurm or to local processes. The only module that imports submitit.

submitit is used as a thin submitter: its executors write and send the batch script, but an element runs
`python -m condhpc.worker <payload>`, and its Job objects are never asked for states or results.
"""

from __future__ import annotations

import os
import shlex
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import psutil
from submitit.core.utils import FailedSubmissionError
from submitit.local.local import LocalExecutor
from submitit.slurm.slurm import SlurmExecutor

from condhpc.errors import SchedulerError, StoreError
from condhpc.lease import process_start
from condhpc.profile import Profile
from condhpc.resources import StageResources
from condhpc.runs import Reply
from condhpc.slurm_command import run_command, submission_env

SBATCH_TIMEOUT_S = 120
_POOL_LIMIT_MIN = 30 * 24 * 60
"""Time-out of a local pool: tasks have no limit of their own there, a forgotten pool has this one."""
_OF_TERMINALS = (signal.SIGINT, signal.SIGHUP)
_LOCAL_WORKER = (
    "import os, signal; os.setsid(); of = (signal.SIGINT, signal.SIGHUP); "
    "[signal.signal(number, signal.SIG_IGN) for number in of]; signal.pthread_sigmask(signal.SIG_UNBLOCK, of); "
    "from condhpc.worker import main; raise SystemExit(main())"
)
"""submitit starts its processes in the submitter's own group, where a terminal's Ctrl-C would reach them all."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What to start: one payload, `count` elements."""

    name: str
    payload: Path
    logs: Path
    """Folder of its logs; also of the batch script."""
    count: int
    dependency: str = ""


class _Slurm(SlurmExecutor):
    """submitit's Slurm executor: its batch script and parameters, our command in the place of its pickles."""

    def send(self, command: str, ready: Callable[[], None]) -> str:
        """Call sbatch once; the job id. `ready` runs while sbatch starts up, before it is told anything.

        sbatch reads the script, kept in the folder for people, from its standard input: until then it has sent
        nothing, and where `ready` fails it is killed and never will.
        """

        def script() -> str:
            text = self._make_submission_file_text(command, "")
            path = Path(self.folder) / "submission.sh"
            try:
                path.write_text(text)
                ready()
            except OSError as error:
                raise StoreError(
                    f"{error.filename or path}: cannot be written ({error.strerror}); nothing sent"
                ) from error
            return text

        reply = run_command(["sbatch"], submission_env(), SBATCH_TIMEOUT_S, script)
        return str(self._get_job_id_from_submission_command(reply))


class _Local(LocalExecutor):
    """submitit's local executor with our command in the place of its pickles."""

    worker_command = ""

    @property
    def _submitit_command_str(self) -> str:
        return self.worker_command

    def send(self) -> int:
        return int(self._submit_command(self._submitit_command_str).job_id)


def to_slurm(job: Job, profile: Profile, resources: StageResources, code: Path, ready: Callable[[], None]) -> str:
    """Submit one array; its job id. `ready` puts on disk what the job needs, and is called before anything is sent.

    Raises SchedulerError where sbatch failed or gave no id (the job may exist!).
    """
    job.logs.mkdir(parents=True, exist_ok=True)
    executor = _Slurm(folder=job.logs)
    executor.update_parameters(**_parameters(job, profile, resources, code))
    executor.parameters["map_count"] = job.count
    try:
        return executor.send(worker_command(job, profile, resources), ready)
    except FailedSubmissionError as error:
        raise SchedulerError(f"sbatch for {job.name}: {error}") from error


def alone(job: Job, words: Sequence[str], profile: Profile, resources: StageResources, code: Path, begin_s: int) -> str:
    """Submit one job, no array, that starts in `begin_s` seconds at the earliest; its job id.

    Its command is `python` of the profile with these words. Raises SchedulerError where sbatch failed or gave no id.
    """
    job.logs.mkdir(parents=True, exist_ok=True)
    executor = _Slurm(folder=job.logs)
    parameters = _parameters(job, profile, resources, code)
    parameters["additional_parameters"] |= {"output": str(job.logs / "%j.log"), "begin": f"now+{begin_s}"}
    executor.update_parameters(**parameters)
    command = f"exec {shlex.join([*profile.launch_prefix, profile.python, '-u', *words])}"
    try:
        return executor.send(command, lambda: None)
    except FailedSubmissionError as error:
        raise SchedulerError(f"sbatch for {job.name}: {error}") from error


def worker_command(job: Job, profile: Profile, resources: StageResources) -> str:
    """The command of an element; `exec`, so that Slurm's signal reaches Python and not a shell above it.

    Several ranks are tasks of one srun. It is told how many CPUs each has (since 22.05 it no longer takes that over),
    to pass on the environment (a site may say otherwise), and to end all when one dies.
    """
    words = [*profile.launch_prefix, profile.python, "-u", "-m", "condhpc.worker", str(job.payload)]
    if resources.ranks > 1:
        cpus = f"--cpus-per-task={resources.cpus}"
        words = ["srun", "--kill-on-bad-exit=1", "--export=ALL", cpus, "--unbuffered", *words]
    return f"exec {shlex.join(words)}"


def environment(threads: int, code: Path) -> dict[str, str]:
    """Variables of a worker: our snapshot of the code and nothing of the current folder, no HDF5 lock errors."""
    return {
        "PYTHONPATH": str(code),  # before what the site's own set-up put there
        "PYTHONSAFEPATH": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HDF5_USE_FILE_LOCKING": "BEST_EFFORT",
        "OMP_NUM_THREADS": str(threads),
    }


def _parameters(job: Job, profile: Profile, resources: StageResources, code: Path) -> dict[str, Any]:
    variables = environment(resources.threads, code)
    exports = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    exports[0] += "${PYTHONPATH:+:$PYTHONPATH}"
    extra: dict[str, Any] = {
        # `B:` reaches the batch shell alone, which Python replaced; without it the tasks of srun are signalled.
        "signal": f"{'B:' if resources.ranks == 1 else ''}USR2@{profile.signal_s}",
        "output": str(job.logs / "%a.log"),
        "open-mode": "append",
        **{option: value for option, value in resources.sbatch.items() if value is not False},
    }
    extra["requeue" if profile.requeue else "no-requeue"] = True
    if job.dependency:
        extra |= {"dependency": job.dependency, "kill-on-invalid-dep": "yes"}
    given: dict[str, Any] = {
        "job_name": job.name,
        "nodes": resources.nodes,
        "ntasks_per_node": resources.ranks_per_node if resources.ranks > 1 else None,
        "cpus_per_task": resources.cpus,
        "mem": None if resources.mem_gb is None else f"{round(resources.mem_gb * 1024)}M",
        "partition": resources.partition,
        "account": resources.account,
        "qos": resources.qos,
        "gres": _gres(resources),
        "array_parallelism": resources.max_running,
        "stderr_to_stdout": True,
        "use_srun": False,
        "setup": [*profile.setup, *exports],
        "additional_parameters": extra,
    }
    # These two have defaults in submitit (5 minutes, "submitit"): None leaves them to the cluster.
    return {**{k: v for k, v in given.items() if v is not None}, "time": resources.time_min, "wckey": None}


def _gres(resources: StageResources) -> str | None:
    if not resources.gpus:
        return None
    return ":".join(["gpu", *([resources.gpu_type] if resources.gpu_type else []), str(resources.gpus)])


class Pool:
    """Local worker processes, each in a process group of its own."""

    def __init__(self, controllers: Sequence[int]) -> None:
        self._controllers = [psutil.Process(pid) for pid in controllers if psutil.pid_exists(pid)]

    @classmethod
    def of(cls, reply: Reply) -> Pool:
        """The pool behind a run's reply, as far as it still lives on this host."""
        here = reply.host == os.uname().nodename
        return cls([int(pid) for pid, start in reply.pids.items() if here and process_start(int(pid)) == start])

    def pids(self) -> dict[str, int]:
        """Pid and start time (ticks) of each controller: it lives as long as its worker."""
        started = {str(p.pid): process_start(p.pid) for p in self._controllers}
        return {pid: start for pid, start in started.items() if start is not None}

    def alive(self) -> bool:
        """Whether any worker still runs."""
        return any(process_start(p.pid) is not None for p in self._controllers)

    def stop(self) -> None:
        """Ask all workers to checkpoint and end."""
        for worker in self._workers():
            _signal(worker, signal.SIGTERM)

    def end(self, grace_s: float) -> None:
        """Let tasks checkpoint, kill what runs after the grace. Told repeatedly: a worker may be just starting."""
        deadline = time.monotonic() + grace_s
        while (left_s := deadline - time.monotonic()) > 0:
            self.stop()
            if self.wait(min(1.0, left_s)):
                return
        self.kill()

    def kill(self) -> None:
        """End all workers and their tasks now."""
        for worker in self._workers():
            with suppress(psutil.NoSuchProcess):  # it ended in the meantime
                for process in [*worker.children(recursive=True), worker]:
                    _signal(process, signal.SIGKILL)

    def wait(self, timeout_s: float) -> bool:
        """Whether all ended within the time."""
        deadline = time.monotonic() + timeout_s
        while self.alive() and time.monotonic() < deadline:
            time.sleep(0.1)
        return not self.alive()

    def _workers(self) -> Iterator[psutil.Process]:
        for controller in self._controllers:
            try:
                yield from controller.children()
            except psutil.NoSuchProcess:
                continue


def _signal(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def to_local(job: Job, profile: Profile, code: Path, gpus: int) -> Pool:
    """Start `job.count` workers that share the payload's one list of tasks; returns at once."""
    job.logs.mkdir(parents=True, exist_ok=True)
    executor = _Local(folder=job.logs)
    words = [profile.python, "-u", "-c", _LOCAL_WORKER, str(job.payload), "--element", "0"]
    executor.worker_command = shlex.join(words)
    visible = _visible_gpus(gpus)
    executor.update_parameters(
        timeout_min=_POOL_LIMIT_MIN,
        signal_delay_s=profile.signal_s,
        stderr_to_stdout=True,
        gpus_per_node=len(visible),
        visible_gpus=visible,
    )
    variables = environment(profile.threads, code)
    variables["PYTHONPATH"] = os.pathsep.join([str(code), *filter(None, [os.environ.get("PYTHONPATH")])])
    with _shielded(variables):
        return Pool([executor.send() for _ in range(job.count)])


def _visible_gpus(gpus: int) -> list[int]:
    """Submitit hides all GPUs unless told: keep an existing mask, else the first `gpus`."""
    mask = os.environ.get("CUDA_VISIBLE_DEVICES")
    known = [int(part) for part in mask.split(",") if part.strip().isdigit()] if mask is not None else list(range(gpus))
    return known[:gpus]


@contextmanager
def _shielded(variables: dict[str, str]) -> Iterator[None]:
    """Start children with these variables, deaf to Ctrl-C and to the terminal's end: we tell them to stop.

    By a mask, which they inherit: handlers are the main thread's alone, and `watch` starts work in another one.
    """
    before = {name: os.environ.get(name) for name in variables}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _OF_TERMINALS)
    os.environ.update(variables)
    try:
        yield
    finally:
        while signal.sigtimedwait(_OF_TERMINALS, 0) is not None:
            pass  # one that came meanwhile would leave workers that nobody knows of
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value
