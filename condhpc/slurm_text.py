r"""What squeue and sacct print, as values: text in, frozen structs out, nothing is run here.

Fields are separated by \x1f, because job names are user text and may hold `|`, `,` or a line break.
Times are epoch seconds (`SLURM_TIME_FORMAT=%s`); None where Slurm has none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from enum import StrEnum
from functools import lru_cache

import msgspec

from condhpc.errors import SchedulerError
from condhpc.slurm_ids import JobIds, parse_job_ids

SEP = "\x1f"
QUEUE_FORMAT = "%i|%A|%F|%K|%T|%r|%j|%P|%q|%V|%S|%e|%M|%L|%D|%N|%b|%E|%Q".replace("|", SEP)
ACCT_FORMAT = (
    "JobID,JobIDRaw,Cluster,JobName,User,Account,Partition,QOS,State,ExitCode,DerivedExitCode,Submit,Eligible,"
    "Start,End,ElapsedRaw,Suspended,TimelimitRaw,NNodes,NCPUS,ReqTRES,AllocTRES,NodeList,ConsumedEnergyRaw,Flags"
)
ACCT_FIELDS = tuple(ACCT_FORMAT.split(","))

_QUEUE_NAME_AT = 6
_DURATION = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)(?:\.\d+)?$")
_NO_VALUE = 2**63  # readings above it are NO_VAL64 or an underflow, not energy


class StateClass(StrEnum):
    """What a Slurm state means for us; the text of the state itself is kept beside it."""

    WAITING = "waiting"
    HELD = "held"
    BLOCKED = "blocked"
    ACTIVE = "active"
    SUCCESS = "success"
    INFRA = "infra"
    LIMIT = "limit"
    CODE = "code"
    USER = "user"
    OTHER = "other"

    @property
    def in_queue(self) -> bool:
        """Whether Slurm may still have the element in hand; an unknown state counts as active."""
        return self in _IN_QUEUE


_IN_QUEUE = frozenset({StateClass.WAITING, StateClass.HELD, StateClass.BLOCKED, StateClass.ACTIVE, StateClass.OTHER})
_STATES_OF_CLASS = {
    StateClass.WAITING: "PENDING REQUEUED REQUEUE_FED RESV_DEL_HOLD EXPEDITING",
    StateClass.HELD: "REQUEUE_HOLD SPECIAL_EXIT",
    StateClass.ACTIVE: "RUNNING CONFIGURING COMPLETING RESIZING SIGNALING STAGE_OUT STOPPED SUSPENDED"
    " POWER_UP_NODE UPDATE_DB",
    StateClass.SUCCESS: "COMPLETED",
    StateClass.INFRA: "NODE_FAIL BOOT_FAIL PREEMPTED LAUNCH_FAILED RECONFIG_FAIL",
    StateClass.LIMIT: "TIMEOUT OUT_OF_MEMORY DEADLINE",
    StateClass.CODE: "FAILED",
    StateClass.USER: "CANCELLED",
    StateClass.OTHER: "REVOKED",
}
STATE_CLASS = {state: cls for cls, states in _STATES_OF_CLASS.items() for state in states.split()}
"""Class of every state that Slurm prints in full (squeue `%T`, sacct `State`)."""


@lru_cache(maxsize=1024)
def classify(state: str, reason: str = "") -> StateClass:
    """Class of a state, `CANCELLED by 1000` included; `reason` (squeue only) tells held and blocked apart.

    Unknown text is `other`: the caller keeps and shows it, and treats the element as active.
    """
    word = state.strip().split(" ", 1)[0].rstrip("+")
    found = STATE_CLASS.get(word, StateClass.OTHER)
    if found is not StateClass.WAITING:
        return found
    why = reason.strip(" ()").replace(" ", "_")
    if why == "DependencyNeverSatisfied":
        return StateClass.BLOCKED
    if why.startswith("JobHeld") or why.lower().endswith(("requeued_held", "requeued_in_held_state")):
        return StateClass.HELD
    return found


def parse_epoch_s(text: str) -> int | None:
    """Epoch seconds; None for `Unknown`, `N/A`, `None`, nothing, 0, and any text that is no number."""
    text = text.strip()
    return (int(text) or None) if text.isdigit() else None


def parse_duration_s(text: str) -> int | None:
    """Seconds of `[days-][hours:]minutes:seconds`; None for `UNLIMITED`, `infinite`, `NOT_SET`, nothing."""
    match = _DURATION.match(text.strip())
    if match is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


class QueueRow(msgspec.Struct, frozen=True):
    """One line of squeue: a job, a started element, or all elements of an array that still wait.

    An array whose waiting elements were all cancelled shows for some minutes as its bare parent, CANCELLED.
    """

    ids: JobIds
    job_id: str
    """Slurm's own id of this record; for a started element another one than the parent's."""
    state: str
    reason: str
    name: str
    partition: str
    qos: str
    submit_s: int | None
    start_s: int | None
    """Start; for a waiting job Slurm's guess, where it has one."""
    end_s: int | None
    """End; for a running job the instant of its time limit."""
    elapsed_s: int | None
    left_s: int | None
    nodes: int
    node_list: str
    gres: str
    dependency: str
    """What is still waited for, as `afterok:571_*(unfulfilled)`; empty where nothing is."""
    priority: int
    cluster: str | None = None
    """Only with `-M`."""

    @property
    def state_class(self) -> StateClass:
        """Class of state and reason."""
        return classify(self.state, self.reason)


def parse_squeue(text: str) -> list[QueueRow]:
    """Rows of `squeue -h -o QUEUE_FORMAT`."""
    rows = []
    for cluster, fields in _records(text, QUEUE_FORMAT.count(SEP) + 1, _QUEUE_NAME_AT):
        ids, own, _, _, state, reason, name, partition, qos, submit, start, end, *rest = fields
        elapsed, left, nodes, node_list, gres, dependency, priority = rest
        row = QueueRow(
            ids=parse_job_ids(ids),
            job_id=own,
            state=state,
            reason=reason,
            name=name,
            partition=partition,
            qos=qos,
            submit_s=parse_epoch_s(submit),
            start_s=parse_epoch_s(start),
            end_s=parse_epoch_s(end),
            elapsed_s=parse_duration_s(elapsed),
            left_s=parse_duration_s(left),
            nodes=_number(nodes) or 0,
            node_list=node_list,
            gres=_text(gres),
            dependency=_text(dependency),
            priority=_number(priority) or 0,
            cluster=cluster,
        )
        rows.append(row)
    return rows


class AcctRow(msgspec.Struct, frozen=True):
    """One attempt in Slurm's accounting (sacct `-D -X`); attempts differ in (`job_id_raw`, `start_s`)."""

    ids: JobIds
    job_id_raw: str
    cluster: str
    name: str
    user: str
    account: str
    partition: str
    qos: str
    state: str
    """`REQUEUED` here is an attempt that is over, not a waiting job."""
    exit_code: int | None
    exit_signal: int | None
    derived_exit_code: int | None
    submit_s: int | None
    eligible_s: int | None
    start_s: int | None
    end_s: int | None
    elapsed_s: int
    """Allocated time without suspension."""
    suspended_s: int
    """Suspended time; GPUs are normally still held."""
    limit_min: int | None
    nodes: int
    cpus: int
    req_tres: str
    alloc_tres: str
    """Empty until the start."""
    node_list: str
    energy_joules: int | None
    """ConsumedEnergyRaw; blank, 0 and absurd readings are None: not measured."""
    flags: str

    @property
    def state_class(self) -> StateClass:
        """Class of the state."""
        return classify(self.state)


def parse_sacct(text: str, asked: Sequence[str] = ACCT_FIELDS) -> list[AcctRow]:
    """Rows of `sacct -n -X -D -P --noconvert -o <asked>`; fields that this Slurm does not have are as if blank."""
    rows = []
    for _, found in _records(text, len(asked), asked.index("JobName")):
        held = dict(zip(asked, found, strict=True))
        fields = [held.get(name, "") for name in ACCT_FIELDS]
        ids, raw, cluster, name, user, account, partition, qos, state, code, derived, *rest = fields
        submit, eligible, start, end, elapsed, suspended, limit, nodes, cpus, *rest = rest
        req_tres, alloc_tres, node_list, energy, flags = rest
        exit_code, _, exit_signal = code.partition(":")
        row = AcctRow(
            ids=parse_job_ids(ids),
            job_id_raw=raw,
            cluster=cluster,
            name=name,
            user=user,
            account=account,
            partition=partition,
            qos=qos,
            state=state,
            exit_code=_number(exit_code),
            exit_signal=_number(exit_signal),
            derived_exit_code=_number(derived.partition(":")[0]),
            submit_s=parse_epoch_s(submit),
            eligible_s=parse_epoch_s(eligible),
            start_s=parse_epoch_s(start),
            end_s=parse_epoch_s(end),
            elapsed_s=_number(elapsed) or 0,
            suspended_s=parse_duration_s(suspended) or 0,
            limit_min=_number(limit),
            nodes=_number(nodes) or 0,
            cpus=_number(cpus) or 0,
            req_tres=req_tres,
            alloc_tres=alloc_tres,
            node_list=_text(node_list),
            energy_joules=_energy_joules(energy),
            flags=flags,
        )
        rows.append(row)
    return rows


def _records(text: str, count: int, name_at: int) -> Iterator[tuple[str | None, list[str]]]:
    """Cluster and `count` fields of each row; line breaks and separators inside the job name stay in it."""
    cluster: str | None = None
    pending = ""
    for line in text.split("\n"):
        if not pending and line.startswith("CLUSTER: "):
            cluster = line.removeprefix("CLUSTER: ").strip()
            continue
        if not (pending or line.strip()):
            continue
        pending = f"{pending}\n{line}" if pending else line
        fields = pending.split(SEP)
        if len(fields) < count:
            continue
        after = len(fields) - (count - name_at - 1)
        yield cluster, [*fields[:name_at], SEP.join(fields[name_at:after]), *fields[after:]]
        pending = ""
    if pending:
        raise SchedulerError(
            f"rows from Slurm: found {pending[:200]!r}, expected {count} fields. "
            "The output was cut, or a wrapper around squeue or sacct adds text: run the command by hand."
        )


def _number(text: str) -> int | None:
    return int(text) if text.strip().isdigit() else None


def _text(text: str) -> str:
    return "" if text in {"(null)", "N/A", "None assigned"} else text


def _energy_joules(text: str) -> int | None:
    joules = _number(text)
    return joules if joules and joules < _NO_VALUE else None
