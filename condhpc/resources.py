"""What an array element of each stage gets."""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from condhpc.spec import Positive, Stage, Value

Count = Annotated[int, Meta(ge=0)]
RANKED: tuple[Stage, ...] = ("teacher", "embed")
"""Stages in which several ranks can share a task."""


class StageBlock(Value, frozen=True, kw_only=True):
    """`[stages.<stage>]`: what stands here replaces `[stages.default]`, field by field."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    gpus: Count | None = None
    gpu_type: str | None = None
    cpus: Positive | None = None
    mem_gb: Annotated[float, Meta(gt=0.0)] | None = None
    time_min: Positive | None = None
    time_from_plan: bool | None = None
    pack: Positive | None = None
    max_running: Positive | None = None
    concurrent: Positive | None = None
    nodes: Positive | None = None
    ranks_per_node: Positive | None = None
    shards: Positive | None = None
    sbatch: dict[str, str | int | bool] = msgspec.field(default_factory=dict)


class StageResources(Value, frozen=True, kw_only=True):
    """What one array element of a stage gets."""

    partition: str | None = None
    """None: the cluster's default."""
    account: str | None = None
    qos: str | None = None
    gpus: int = 0
    """Per node."""
    gpu_type: str | None = None
    cpus: int = 1
    """Per rank."""
    mem_gb: float | None = None
    """Per node."""
    time_min: int | None = None
    """Time limit of an element, minutes; None: by the plan where it knows, else the partition's default."""
    time_from_plan: bool = False
    """Whether a shorter limit is asked for where the plan needs less than `time_min`."""
    pack: int = 1
    """Tasks that share an element, at most."""
    max_running: int = 256
    """Array throttle: elements that run at a time. Always given to Slurm."""
    concurrent: int = 1
    """Tasks of an element that run at a time; they share its GPUs and its cores."""
    nodes: int = 1
    ranks_per_node: int = 1
    """Processes per node that share one task: one per GPU unless said otherwise, in the stages that can."""
    shards: int = 1
    """Stage `condense`: tasks of its own that the construction of a method's set is split into, at most."""
    sbatch: dict[str, str | int | bool] = msgspec.field(default_factory=dict)
    """Passed through as it stands: option to value, `true` for a bare flag."""

    @property
    def ranks(self) -> int:
        """Processes that share each task."""
        return self.nodes * self.ranks_per_node

    @property
    def all_gpus(self) -> int:
        """GPUs of an element, over all its nodes."""
        return self.nodes * self.gpus

    @property
    def threads(self) -> int:
        """CPU threads of each process that computes."""
        return max(1, self.cpus // self.concurrent)


class StewardBlock(Value, frozen=True, kw_only=True):
    """`[steward]`: the small job that goes on with a run after its user has logged out."""

    enabled: bool = True
    """Whether `submit` starts one; without it `watch`, or a crontab of one's own, does the same."""
    partition: str | None = None
    """None: as `[stages.default]`, like the next two."""
    account: str | None = None
    qos: str | None = None
    mem_gb: Annotated[float, Meta(gt=0.0)] = 2.0
    time_min: Positive = 10
    interval_min: Annotated[float, Meta(gt=0.0)] = 30.0
    """Between two starts of it."""
    max_starts: Positive = 2000
    """Of one run; then no more, whatever is left."""


class More(Value, frozen=True, kw_only=True):
    """What an array gets where its stage's resources did not do, and why; None leaves the stage's."""

    time_min: int | None = None
    mem_gb: float | None = None
    concurrent: int | None = None
    why: str = ""

    def of(self, given: StageResources) -> StageResources:
        """A stage's resources with at least these; of tasks at a time at most these."""
        time_min, mem_gb = given.time_min, given.mem_gb
        return msgspec.structs.replace(
            given,
            time_min=_larger(time_min, self.time_min),
            mem_gb=_larger(mem_gb, self.mem_gb),
            concurrent=min(given.concurrent, self.concurrent or given.concurrent),
        )

    def joined(self, other: More) -> More:
        """What does for both; the words are the other's."""
        counts = [count for count in (self.concurrent, other.concurrent) if count is not None]
        return More(
            time_min=_larger(self.time_min, other.time_min),
            mem_gb=_larger(self.mem_gb, other.mem_gb),
            concurrent=min(counts, default=None),
            why=other.why or self.why,
        )


_N = TypeVar("_N", int, float)


def _larger(one: _N | None, other: _N | None) -> _N | None:
    return max((value for value in (one, other) if value is not None), default=None)


class Stages(Value, frozen=True, kw_only=True):
    """Resources by stage."""

    default: StageBlock = StageBlock()
    teacher: StageBlock = StageBlock()
    generator: StageBlock = StageBlock()
    embed: StageBlock = StageBlock()
    prepare: StageBlock = StageBlock()
    condense: StageBlock = StageBlock()
    relabel: StageBlock = StageBlock()
    evaluate: StageBlock = StageBlock()
    analyze: StageBlock = StageBlock()
