"""What a cluster allows and what was allocated: configuration, partitions, association and QOS limits, TRES.

Pure parsers, as in `slurm_text`; `scheduler.Slurm.limits` runs the commands.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from condhpc.errors import SchedulerError
from condhpc.slurm_text import SEP, parse_duration_s

PARTITION_FORMAT = "%P|%a|%l|%D|%T|%G|%m".replace("|", SEP)
ASSOCIATION_FORMAT = "Cluster,Account,Partition,MaxJobs,MaxSubmit,GrpSubmit,DefaultQOS,QOS"
QOS_FORMAT = "Name,MaxJobsPU,MaxSubmitPU,GrpSubmit,MaxTRESPU,MaxWall,Flags"

_MIG = re.compile(r"(?:^|[_.-])\d+[cg]\.\d+gb")
_COUNT = re.compile(r"(\d+)([KMGTP]?)$")


def parse_config(text: str) -> dict[str, str]:
    """`scontrol show config` as key → value; `(null)` becomes empty, the first of two equal keys counts."""
    config: dict[str, str] = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals and re.fullmatch(r"[\w/\[\].-]+", key.strip()):
            config.setdefault(key.strip(), "" if value.strip() == "(null)" else value.strip())
    return config


def option_of(parameters: str, name: str) -> str | None:
    """Value of `name` in a list like SchedulerParameters (`bf_continue,max_array_tasks=9`); None without."""
    for part in parameters.split(","):
        key, _, value = part.strip().partition("=")
        if key.lower() == name.lower():
            return value
    return None


def leading_int(text: str) -> int | None:
    """The number that a text begins with (`300 sec`), or None."""
    match = re.match(r"\s*(\d+)", text)
    return int(match[1]) if match else None


def config_int(config: Mapping[str, str], key: str) -> int:
    """A number of `scontrol show config`; raises SchedulerError where there is none."""
    value = leading_int(config.get(key, ""))
    if value is None:
        raise SchedulerError(
            f"scontrol show config: {key} is {config.get(key)!r}, expected a number. "
            "Run `scontrol show config` by hand; a wrapper around it may change its output."
        )
    return value


class Partition(msgspec.Struct, frozen=True):
    """One partition, over all its nodes."""

    name: str
    is_default: bool
    is_up: bool
    max_time_min: int | None
    """None: no limit."""
    nodes: int
    gres: dict[str, int]
    """GRES name (`gpu:h100`) → the most that one node has."""
    mem_mb: int | None = None
    """The most that one node has, MiB; None where Slurm does not say."""


def parse_partitions(text: str) -> list[Partition]:
    """Partitions of `sinfo -a -h -o PARTITION_FORMAT`, which prints one row per kind of node."""
    found: dict[str, Partition] = {}
    for line in text.splitlines():
        fields = line.split(SEP)
        if len(fields) != PARTITION_FORMAT.count(SEP) + 1:
            continue  # blank, or `CLUSTER: x` of -M
        label, available, limit, nodes, _, gres_text, mem_text = fields
        name = label.removesuffix("*")
        limit_s = parse_duration_s(limit)
        before = found.get(name)
        gres = dict(before.gres) if before else {}
        for gres_name, count in parse_gres(gres_text).items():
            gres[gres_name] = max(count, gres.get(gres_name, 0))
        found[name] = Partition(
            name=name,
            is_default=label.endswith("*"),
            is_up=available == "up",
            max_time_min=None if limit_s is None else limit_s // 60,
            nodes=int(nodes) + (before.nodes if before else 0),
            gres=gres,
            mem_mb=max(filter(None, (leading_int(mem_text), before.mem_mb if before else None)), default=None),
        )
    return list(found.values())


class Association(msgspec.Struct, frozen=True):
    """What accounting lets a user do under one account; None: no limit of its own."""

    cluster: str
    account: str
    partition: str
    """Empty: all partitions."""
    max_jobs: int | None
    max_submit: int | None
    """Waiting and running elements together."""
    grp_submit: int | None
    default_qos: str
    qos: tuple[str, ...]


def parse_associations(text: str) -> list[Association]:
    """Rows of `sacctmgr -nP show assoc format=ASSOCIATION_FORMAT`."""
    rows = []
    for fields in _sacctmgr_rows(text, ASSOCIATION_FORMAT.count(",") + 1):
        cluster, account, partition, max_jobs, max_submit, grp_submit, default_qos, qos = fields
        names = tuple(name for name in qos.split(",") if name)
        limits = leading_int(max_jobs), leading_int(max_submit), leading_int(grp_submit)
        rows.append(Association(cluster, account, partition, *limits, default_qos, names))
    return rows


class Qos(msgspec.Struct, frozen=True):
    """One quality of service; None: no limit."""

    name: str
    max_jobs_per_user: int | None
    max_submit_per_user: int | None
    grp_submit: int | None
    max_tres_per_user: str
    max_wall_min: int | None
    flags: str


def parse_qos(text: str) -> list[Qos]:
    """Rows of `sacctmgr -nP show qos format=QOS_FORMAT`."""
    rows = []
    for fields in _sacctmgr_rows(text, QOS_FORMAT.count(",") + 1):
        name, max_jobs, max_submit, grp_submit, tres, wall, flags = fields
        wall_s = parse_duration_s(wall)
        limits = leading_int(max_jobs), leading_int(max_submit), leading_int(grp_submit)
        rows.append(Qos(name, *limits, tres, None if wall_s is None else wall_s // 60, flags))
    return rows


def _sacctmgr_rows(text: str, count: int) -> Iterator[list[str]]:
    rows = (line.split("|") for line in text.splitlines())
    return (fields for fields in rows if len(fields) == count)


class Limits(msgspec.Struct, frozen=True):
    """What bounds a submission: probed once before it, never guessed."""

    slurm_version: str
    cluster: str
    max_array_size: int
    """Bounds the index: the largest is one less."""
    max_array_tasks: int | None
    """SchedulerParameters' own bound on the elements of one array."""
    max_job_count: int
    """Jobs and elements that the controller holds, of all users."""
    min_job_age_s: int
    """A finished job is forgotten by squeue, and as a dependency, after this time."""
    partitions: tuple[Partition, ...]
    associations: tuple[Association, ...]
    qos: tuple[Qos, ...]
    jobs_queued: int
    """Elements of this user that wait or run now."""
    accounting_error: str | None = None
    """Why associations and QOS are not known."""

    @property
    def elements_per_array(self) -> int:
        """The most elements of one array when indices begin at 0."""
        if self.max_array_tasks is None:
            return self.max_array_size
        return min(self.max_array_size, self.max_array_tasks)

    def max_submit(self, account: str = "", partition: str = "", qos: str = "") -> int | None:
        """The most elements that the user may have waiting and running; None where nothing bounds it.

        Where several associations fit (no account given), the loosest counts: sbatch has the last word.
        """
        fitting = [
            row
            for row in self.associations
            if row.cluster in {"", self.cluster}
            and (not account or row.account == account)
            and row.partition in {"", partition}
        ]
        bounds = [self._bound(row, qos) for row in fitting]
        if not bounds:
            return self._bound(None, qos)
        known = [bound for bound in bounds if bound is not None]
        return max(known) if len(known) == len(bounds) else None

    def _bound(self, association: Association | None, qos: str) -> int | None:
        name = qos or (association.default_qos if association else "")
        if not name and association and len(association.qos) == 1:
            name = association.qos[0]
        rows = [row for row in self.qos if row.name == name]
        bounds = [bound for row in rows for bound in (row.max_submit_per_user, row.grp_submit)]
        if association is not None:
            bounds += [association.max_submit, association.grp_submit]
        return min((bound for bound in bounds if bound is not None), default=None)


def parse_gres(text: str) -> dict[str, int]:
    """Generic resources of `gpu:h100:4(S:0-1),shard:8` or `gres/gpu:2`: name (`gpu:h100`) → count."""
    counts: dict[str, int] = {}
    for part in re.sub(r"\([^)]*\)", "", text).split(","):
        words = [w for w in re.sub(r"^gres[/:]", "", part.strip()).split(":") if w and w != "no_consume"]
        if not words or words[0] == "N/A":
            continue
        match = _COUNT.match(words[-1]) if len(words) > 1 else None
        count = int(match[1]) * 1024 ** " KMGTP".index(match[2] or " ") if match else 1
        name = ":".join(words[:-1] if match else words)
        counts[name] = counts.get(name, 0) + count
    return counts


class GpuCount(msgspec.Struct, frozen=True):
    """GPUs of one allocation."""

    count: int
    """Whole GPUs."""
    type: str | None
    """`h100`; `a100+h100` for a mixture; None where the site tracks no type."""
    source: Literal["total", "typed", "gres", "requested", "none"]
    """`total`: gres/gpu=N; `typed`: sum over types; `gres`: old AllocGRES; `requested`: not allocated."""
    mig: int = 0
    """MIG instances, apart: each is a part of a GPU."""
    shards: int = 0


def gpus_of_tres(allocated: str, requested: str = "") -> GpuCount:
    """GPUs of AllocTRES, or of ReqTRES where nothing is allocated yet.

    `gres/gpu=N` where present, else the sum of `gres/gpu:type=N`, never both: sites track both.
    """
    found = _count_gpus(allocated)
    if found.source != "none" or found.shards or not requested:
        return found
    return _requested(_count_gpus(requested))


def _requested(found: GpuCount) -> GpuCount:
    return found if found.source == "none" else msgspec.structs.replace(found, source="requested")


def _count_gpus(text: str) -> GpuCount:
    old = "=" not in text
    counts = {f"gres/{name}": n for name, n in parse_gres(text).items()} if old else _parse_tres(text)
    typed = {name.partition(":")[2]: n for name, n in counts.items() if name.startswith("gres/gpu:")}
    whole = _where(typed, lambda name: not _MIG.search(name))
    mig = sum(typed.values()) - sum(whole.values())
    shards = sum(n for name, n in counts.items() if name.partition(":")[0] == "gres/shard")
    kind = "+".join(sorted(whole)) or None
    if "gres/gpu" in counts:
        total = max(counts["gres/gpu"] - mig, 0)
        return GpuCount(total, kind, "gres" if old else "total", mig, shards)
    if typed:
        return GpuCount(sum(whole.values()), kind, "gres" if old else "typed", mig, shards)
    return GpuCount(0, None, "none", 0, shards)


def _where(counts: dict[str, int], keep: Callable[[str], object]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count and keep(name)}


def _parse_tres(text: str) -> dict[str, int]:
    """`cpu=4,mem=8G,gres/gpu:h100=2` → the entries that are plain counts."""
    pairs: Sequence[tuple[str, str, str]] = [part.partition("=") for part in text.split(",")]
    return {name.strip(): int(value) for name, _, value in pairs if value.strip().isdigit()}
