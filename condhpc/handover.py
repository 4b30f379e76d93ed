"""A run's work on its way to Slurm or to local workers: intent first, reply after, reconciled by name."""

from __future__ import annotations

import os
import re
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import msgspec

from condhpc import arrange, files, keys, launch, payload, reservations, runs
from condhpc.arrange import Array
from condhpc.budget import Amounts
from condhpc.context import site_of
from condhpc.errors import SchedulerError
from condhpc.layout import Layout, RunFolder
from condhpc.profile import Profile
from condhpc.resources import StageResources
from condhpc.runs import Intent, Refusal, Reply
from condhpc.scheduler import Slurm
from condhpc.spec import Task

_RECONCILE_TRIES = 5
_SURE_AFTER = 3
"""Times that the scheduler must not know a name before its job counts as refused."""


@dataclass(frozen=True)
class Handover:
    """What sending arrays of one run needs."""

    run: RunFolder
    profile: Profile
    tasks: Mapping[str, Task]
    code: Path
    """Snapshot of condhpc that the work runs."""
    say: Callable[[str], None]
    upper: Mapping[str, Amounts] | None = None
    """By key, what a budget sets aside; None without a budget."""

    def to_slurm(self, arrays: Sequence[Array], slurm: Slurm) -> None:
        """Submit arrays in order; raises SchedulerError at the first that is refused (those before it were taken)."""
        jobs: list[str] = []
        try:
            for array in arrays:
                jobs.append(self._send(array, arrange.dependency(array.after, jobs), slurm))
        finally:
            tasks = sum(len(pack) for array in arrays[: len(jobs)] for pack in array.packs)
            self.say(f"submitted {tasks} tasks in {len(jobs)} arrays")
            if left := len(self.tasks) - tasks:
                self.say(f"{left} tasks kept back; `condhpc submit --continue {self.run.name}` sends them later")

    def to_pool(self) -> launch.Pool:
        """Start local workers that share one list of tasks; leases keep them apart."""
        gpus = self.profile.stage("evaluate").gpus
        header = self._header("pool", StageResources(gpus=gpus, cpus=self.profile.threads))
        self._write_payload(header, [tuple(self.tasks)]).join()
        self._reserve(header.name, [tuple(self.tasks)])
        intent = Intent(name=header.name, backend="local", elements=(tuple(self.tasks),), gpus=gpus, time=runs.now())
        runs.append(self.run, intent)
        job = self._job(header.name, max(1, min(self.profile.workers, len(self.tasks))))
        pool = launch.to_local(job, self.profile, self.code, gpus)
        reply = Reply(name=header.name, host=os.uname().nodename, pids=pool.pids(), time=runs.now())
        runs.append(self.run, reply)
        return pool

    def _send(self, array: Array, after: str, slurm: Slurm) -> str:
        """Submit one array; its job id. Raises SchedulerError where no job of its name came to be, or none can tell."""
        resources = array.resources or self.profile.stage(array.stage)
        header = self._header(array.stage, resources)
        intent = Intent(
            name=header.name,
            backend="slurm",
            stage=array.stage,
            elements=array.packs,
            after=tuple(after.split(",")) if after else (),
            gpus=resources.all_gpus,
            time_min=resources.time_min or 0,
            mem_gb=resources.mem_gb or 0.0,
            concurrent=resources.concurrent,
            why=array.why,
            time=runs.now(),
        )
        syncs: list[Thread] = []

        def ready() -> None:
            syncs.append(self._write_payload(header, array.packs))
            self._reserve(header.name, array.packs)
            runs.append(self.run, intent)
            # Beside the call, which takes longer: should this host crash, the job's name alone tells what was sent.
            syncs.append(files.start_sync(self.run.submissions))

        job = self._job(header.name, len(array.packs), after)
        try:
            found = launch.to_slurm(job, self.profile, resources, self.code, ready)
        except SchedulerError as error:
            return _after_failed_sbatch(self.run, header.name, error, slurm)
        finally:
            for sync in syncs:
                sync.join()
        runs.append(self.run, Reply(name=header.name, job=found, time=runs.now()))
        return found

    def _reserve(self, name: str, packs: Sequence[Sequence[str]]) -> None:
        """Before the intent: what may run is never without its reservation."""
        if self.upper is not None:
            reservations.reserve(self.run, name, packs, self.upper)

    def _job(self, name: str, count: int, dependency: str = "") -> launch.Job:
        return launch.Job(
            name=name, payload=self._payload(name), logs=self.run.logs / name, count=count, dependency=dependency
        )

    def _payload(self, name: str) -> Path:
        return self.run.payloads / f"{name}.jsonl"

    def _write_payload(self, header: payload.Header, packs: Sequence[Sequence[str]]) -> Thread:
        preimages = [[keys.preimage(self.tasks[key]) for key in pack] for pack in packs]
        return payload.write(self._payload(header.name), header, preimages)

    def _header(self, what: str, resources: StageResources) -> payload.Header:
        peers = what == "pool"
        profile = self.profile
        plain = site_of(profile)
        site = msgspec.structs.replace(
            plain,
            run=self.run.name,
            power=msgspec.structs.replace(plain.power, gpu_type=resources.gpu_type or ""),
            threads=resources.threads,
            gpus=resources.all_gpus,
            patience_s=0.0 if peers else profile.patience_s,
        )
        return payload.Header(
            name=_unique_name(self.run, what),
            site=site,
            peers=peers,
            created=runs.now(),
            ranks=resources.ranks,
            concurrent=resources.concurrent,
            time_min=resources.time_min or 0,
            margin_s=profile.margin_s,
            signal_s=profile.signal_s,
            requeue=profile.requeue and not peers,
            max_requeues=profile.max_requeues,
        )


def reconcile(layout: Layout, slurm: Slurm) -> None:
    """Settle intents without a reply, of all runs: their jobs may exist. Raises SchedulerError if nobody can tell.

    Other users' are theirs to settle: our queue and accounting need not show their jobs.
    """
    own = (run for run in map(layout.run, layout.run_names()) if run.path.stat().st_uid == os.getuid())
    for run in own:
        for held in runs.submissions(run):
            if not held.is_open or held.intent.backend != "slurm":
                continue
            found = slurm.find_by_name(held.intent.name, int(held.intent.time) - 60)
            if found:
                runs.append(run, Reply(name=held.intent.name, job=found[0], time=runs.now()))
            else:
                reason = "no reply, and no job of this name"
                runs.append(run, Refusal(name=held.intent.name, reason=reason, time=runs.now()))


def _after_failed_sbatch(run: RunFolder, name: str, error: SchedulerError, slurm: Slurm) -> str:
    """The reply was lost or the job refused: only its unique name can tell.

    Where nobody can, the intent stays open and is reconciled before anything is sent again.
    """
    unknown = 0
    for _ in range(_RECONCILE_TRIES):
        try:
            found = slurm.find_by_name(name)
        except SchedulerError:
            time.sleep(1.0)
            continue
        if found:
            runs.append(run, Reply(name=name, job=found[0], time=runs.now()))
            return found[0]
        unknown += 1
        if unknown >= _SURE_AFTER:
            runs.append(run, Refusal(name=name, reason=str(error), time=runs.now()))
            raise error
        time.sleep(0.3)
    raise error


def _unique_name(run: RunFolder, what: str) -> str:
    """ASCII, at most 255 bytes, never used before: what a lost reply is reconciled by."""
    return f"condhpc-{re.sub('[^A-Za-z0-9._-]', '_', run.name)[:100]}-{what}-{uuid.uuid4().hex[:10]}"
