"""Slurm's commands, each with a time-out: queue, history, limits, cancel, requeue.

Used on the login node and on compute nodes. Asks in batches; how often is the caller's decision. Submitting
is `launch`'s; what the answers mean is in `slurm_ids`, `slurm_text` and `slurm_limits`.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence

from condhpc import slurm_limits, slurm_text
from condhpc.errors import SchedulerError
from condhpc.slurm_command import (
    CommandFailedError,
    ControllerUnreachable,
    query_env,
    run_command,
    submission_env,
    user_name,
)
from condhpc.slurm_ids import compress_ids, parse_job_ids
from condhpc.slurm_limits import Association, Limits, Qos
from condhpc.slurm_text import (
    SEP,
    AcctRow,
    QueueRow,
    StateClass,
    parse_epoch_s,
    parse_sacct,
    parse_squeue,
)

__all__ = ["ControllerUnreachable", "Slurm", "submission_env"]

PARENTS_PER_SACCT = 1000
_IDS_PER_SCONTROL = 200
_FILTER_BYTES = 20_000  # a longer -j list costs more than reading all of one's own rows
_ARGUMENT_BYTES = 100_000  # the kernel refuses one argument above 128 KiB
_DAY_S = 86_400
_FIRST_UTS = 1_000_000  # Slurm 22.05 refuses earlier ones as an invalid time
_NOT_STARTED = frozenset({StateClass.WAITING, StateClass.HELD, StateClass.BLOCKED})
_UNKNOWN_ID = re.compile(r"Invalid job id specified", re.IGNORECASE)
_UNKNOWN_FIELD = re.compile(r"Invalid field", re.IGNORECASE)
_ALREADY_OVER = re.compile(
    r"Invalid job id specified|already completing or completed|has already finished|No active jobs",
    re.IGNORECASE,
)
_NOT_PENDING = re.compile(
    r"Invalid job id specified|no longer pending|already (?:completing or )?completed|has already finished"
    r"|: No error$",  # the elements of the same array that were changed
    re.IGNORECASE,
)


class Slurm:
    """Runs Slurm's commands for this user. `clusters` are asked with `-M`; `env` replaces os.environ."""

    def __init__(
        self, timeout_s: float = 60.0, clusters: Sequence[str] = (), env: Mapping[str, str] | None = None
    ) -> None:
        self.timeout_s = timeout_s
        self.clusters = tuple(clusters)
        self._env = query_env(os.environ if env is None else env)
        self._fields = slurm_text.ACCT_FIELDS
        self.accounting_error: str | None = None
        """Why the latest question to the accounting had no answer; None after an answer."""

    def available(self) -> bool:
        """Whether this machine has Slurm's sbatch on its PATH."""
        return shutil.which("sbatch", path=self._env.get("PATH")) is not None

    def queue(self, jobs: Iterable[str] | None = None, names: Iterable[str] | None = None) -> list[QueueRow]:
        """Rows of this user in squeue, just finished ones too, in one call whatever the number of jobs.

        `jobs` keeps the arrays that these ids belong to, `names` the jobs of these names.
        """
        parents = None if jobs is None else {parse_job_ids(text).parent for text in jobs}
        wanted = None if names is None else set(names)
        if parents == set() or wanted == set():
            return []
        command = [*self._on("squeue"), "--me", "-h", "-t", "all", "-o", slurm_text.QUEUE_FORMAT]
        command += _filter("-j", parents) + _filter("-n", wanted)
        return only(parse_squeue(self._run_for_known_job(command)), parents, wanted)

    def may_ask_history(self) -> bool:
        """Whether `history` may be called now; only watchers have to wait for each other."""
        return True

    def find_by_name(self, name: str, since_s: int | None = None) -> list[str]:
        """Ids of this user's jobs and arrays of exactly this name (ASCII), from squeue, else the accounting.

        The accounting is asked from `since_s` (epoch; default a day ago) and only if squeue knows none.
        """
        found = {row.ids.parent for row in self.queue(names=[name])}
        if not found:
            since_s = int(time.time()) - _DAY_S if since_s is None else since_s
            rows = self._sacct(since_s, ["--name", name, "-u", user_name()]) or []
            found = {row.ids.parent for row in rows if row.name == name}
        return sorted(found, key=int)

    def history(self, parents: Iterable[str], since_s: int) -> list[AcctRow] | None:
        """All attempts of these jobs and arrays since the epoch time `since_s` (the first submission).

        None where the accounting cannot be asked (no slurmdbd, or it is down): see `accounting_error`.
        """
        ids = sorted({parse_job_ids(text).parent for text in parents}, key=int)
        rows: list[AcctRow] = []
        for start in range(0, len(ids), PARENTS_PER_SACCT):
            found = self._sacct(since_s, ["-j", ",".join(ids[start : start + PARENTS_PER_SACCT])])
            if found is None:
                return None
            rows += found
        return rows

    def limits(self, user: str | None = None, partitions: Iterable[str] | None = None) -> Limits:
        """What bounds a submission of `user` (default: this one) to `partitions` (default: all).

        A partition that does not exist is left out. Without accounting, associations and QOS are empty and
        `accounting_error` says why.
        """
        config = slurm_limits.parse_config(self._run([*self._on("scontrol"), "show", "config"]))
        names = None if partitions is None else set(partitions)
        sinfo = self._run([*self._on("sinfo"), "-a", "-h", "-o", slurm_limits.PARTITION_FORMAT])
        known = slurm_limits.parse_partitions(sinfo)
        cluster = config.get("ClusterName", "")
        associations, qos = self._accounting_limits(config, cluster, user or user_name())
        return Limits(
            slurm_version=config.get("SLURM_VERSION", ""),
            cluster=cluster,
            max_array_size=slurm_limits.config_int(config, "MaxArraySize"),
            max_array_tasks=slurm_limits.leading_int(
                slurm_limits.option_of(config.get("SchedulerParameters", ""), "max_array_tasks") or ""
            ),
            max_job_count=slurm_limits.config_int(config, "MaxJobCount"),
            min_job_age_s=slurm_limits.config_int(config, "MinJobAge"),
            partitions=tuple(part for part in known if names is None or part.name in names),
            associations=tuple(associations),
            qos=tuple(qos),
            jobs_queued=sum(len(row.ids.elements()) for row in self.queue() if row.state_class.in_queue),
            accounting_error=self.accounting_error,
        )

    def cancel(self, ids: Iterable[str]) -> None:
        """Cancel jobs, arrays (`123`) and elements (`123_4`); those already over are no error."""
        batch: list[str] = []
        used_bytes = 0
        for text in compress_ids(ids):
            if batch and used_bytes + len(text) > _ARGUMENT_BYTES:
                self._run_cancel([*self._on("scancel"), *batch])
                batch, used_bytes = [], 0
            batch.append(text)
            used_bytes += len(text) + 1
        if batch:
            self._run_cancel([*self._on("scancel"), *batch])

    def cancel_pending(self, ids: Iterable[str]) -> None:
        """Cancel those of these jobs and elements that wait; one that starts this very second may be hit.

        Not by `scancel --state=PENDING 123_4`: Slurm 22.05 then cancels every waiting element of 123.
        """
        texts = list(ids)
        wanted = [parse_job_ids(text) for text in texts]
        whole = {job.parent for job in wanted if job.indices is None}
        named = {element for job in wanted if job.indices is not None for element in job.elements()}
        self.cancel(
            element
            for row in self.queue(jobs=texts)
            if row.state_class in _NOT_STARTED
            for element in row.ids.elements()
            if row.ids.parent in whole or element in named
        )

    def cancel_name(self, name: str) -> None:
        """Cancel all jobs of this user with exactly this name."""
        self._run_cancel([*self._on("scancel"), f"--name={name}", f"--user={user_name()}"])

    def hold(self, jobs: Iterable[str]) -> None:
        """Hold what waits of these jobs and arrays; what runs goes on, which scontrol calls an error."""
        self._scontrol("hold", jobs)

    def release(self, jobs: Iterable[str]) -> None:
        """Let held jobs and arrays go on; what runs or has ended is left alone."""
        self._scontrol("release", jobs)

    def throttle(self, arrays: Iterable[str], running: int) -> None:
        """Let at most so many elements of each of these arrays run at a time; 0: no bound. What has ended is left."""
        self._scontrol("update", arrays, "JobId={}", f"ArrayTaskThrottle={running}")

    def _scontrol(self, verb: str, jobs: Iterable[str], form: str = "{}", *words: str) -> None:
        ids = compress_ids(jobs)
        for start in range(0, len(ids), _IDS_PER_SCONTROL):
            named = form.format(",".join(ids[start : start + _IDS_PER_SCONTROL]))
            try:
                self._run([*self._on("scontrol"), verb, named, *words])
            except CommandFailedError as error:
                lines = [line for line in error.stderr.splitlines() if line.strip()]
                if not lines or not all(_NOT_PENDING.search(line) for line in lines):
                    raise

    def requeue(self, job: str) -> None:
        """Put an element back into the queue (a finished one too); Slurm waits about two minutes to start it."""
        self._run([*self._on("scontrol"), "requeue", job])

    def end_time(self, job: str) -> int | None:
        """Epoch second of a running job's time limit; None without a limit or when Slurm has forgotten it.

        For nodes before Slurm 23.02, which set no SLURM_JOB_END_TIME. `job` is SLURM_JOB_ID or `123_4`.
        """
        command = [*self._on("squeue"), "-h", "-t", "all", "-j", job, "-o", SEP.join(("%A", "%i", "%e"))]
        for line in self._run_for_known_job(command).splitlines():
            # The last element of an array has the parent's own id: -j then lists the whole array.
            own, array_id, end = [*line.split(SEP), "", ""][:3]
            if job in {own, array_id}:
                return parse_epoch_s(end)
        return None

    def _accounting_limits(
        self, config: Mapping[str, str], cluster: str, user: str
    ) -> tuple[list[Association], list[Qos]]:
        if config.get("AccountingStorageType", "").removeprefix("accounting_storage/") in {"", "none"}:
            self.accounting_error = "this cluster keeps no accounting (AccountingStorageType is none)"
            return [], []
        show = ["sacctmgr", "-nP", "show"]
        where = [f"user={user}", *([f"cluster={cluster}"] if cluster else [])]
        assoc = self._ask([*show, "assoc", *where, f"format={slurm_limits.ASSOCIATION_FORMAT}"])
        qos = None if assoc is None else self._ask([*show, "qos", f"format={slurm_limits.QOS_FORMAT}"])
        return slurm_limits.parse_associations(assoc or ""), slurm_limits.parse_qos(qos or "")

    def _sacct(self, since_s: int, selection: Sequence[str]) -> list[AcctRow] | None:
        """Rows; a release that lacks a field refuses the whole question, and is asked again without it."""
        # Without -S sacct looks back to midnight only; `uts` spares the zone and its summer time.
        options = ["-n", "-X", "-D", "-P", f"--delimiter={SEP}", "--noconvert"]
        window = ["-S", f"uts{max(since_s - 60, _FIRST_UTS)}", "-E", "now"]
        command = [*self._on("sacct"), *options, *window, *selection, "-o"]
        text = self._ask([*command, ",".join(self._fields)])
        if text is None and _UNKNOWN_FIELD.search(self.accounting_error or ""):
            known = set((self._ask([*self._on("sacct"), "--helpformat"]) or "").split())
            self._fields = tuple(name for name in slurm_text.ACCT_FIELDS if name in known)
            text = self._ask([*command, ",".join(self._fields)]) if "JobName" in known else None
        return None if text is None else parse_sacct(text, self._fields)

    def _ask(self, command: Sequence[str]) -> str | None:
        """Answer of the accounting, or None with the reason in `accounting_error`: sites without it exist."""
        try:
            text = self._run(command)
        except SchedulerError as error:
            self.accounting_error = str(error)
            return None
        self.accounting_error = None
        return text

    def _run_cancel(self, command: Sequence[str]) -> None:
        try:
            self._run(command)
        except CommandFailedError as error:
            lines = [line for line in error.stderr.splitlines() if line.strip()]
            if not lines or not all(_ALREADY_OVER.search(line) for line in lines):
                raise

    def _run_for_known_job(self, command: Sequence[str]) -> str:
        """Output of squeue; empty for a job that Slurm has forgotten, which squeue calls an error."""
        try:
            return self._run(command)
        except CommandFailedError as error:
            if _UNKNOWN_ID.search(error.stderr):
                return ""
            raise

    def _on(self, program: str) -> list[str]:
        return [program, "-M", ",".join(self.clusters)] if self.clusters else [program]

    def _run(self, command: Sequence[str]) -> str:
        return run_command(command, self._env, self.timeout_s)


def only(rows: list[QueueRow], jobs: Iterable[str] | None, names: Iterable[str] | None) -> list[QueueRow]:
    """Rows of the arrays that these ids belong to and of these names; None keeps all."""
    parents = None if jobs is None else {parse_job_ids(text).parent for text in jobs}
    wanted = None if names is None else set(names)
    return [
        row
        for row in rows
        if (parents is None or row.ids.parent in parents or row.job_id in parents)
        and (wanted is None or row.name in wanted)
    ]


def _filter(option: str, values: Iterable[str] | None) -> list[str]:
    """A squeue filter, or none where it cannot say this; the rows are filtered again by the caller."""
    items = sorted(values or ())
    text = ",".join(items)
    sayable = items and len(text.encode()) <= _FILTER_BYTES and not any("," in item for item in items)
    return [option, text] if sayable else []
