"""What a snapshot says of a run beyond its tasks: pace, cost, failures by cause, results. Values only."""

from __future__ import annotations

from typing import Literal

import msgspec

from condhpc.spec import Stage
from condhpc.task_state import State


class Pace(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How far a stage is and how fast it goes."""

    stage: Stage
    tasks: int
    recorded: int
    progress: float
    """0 to 1: recorded tasks, and the steps that running ones have done."""
    per_h: float | None = None
    """Tasks recorded an hour, lately; None where too few ended to tell."""
    left_s: float | None = None
    """Until the stage is done at this pace; None where nothing can be told."""


class SlurmCalls(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What looking at a run cost Slurm, all watchers of this user together."""

    squeue_last_h: int = 0
    sacct_last_h: int = 0
    squeue_every_s: float = 30.0
    """At most one call in so many seconds; longer while nothing changes."""
    sacct_every_s: float = 120.0
    next_s: float | None = None
    """Epoch second of the next squeue call; None while nobody asks (local, ended)."""


class CostLine(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What recorded and failed attempts of one stage, condenser and GPU type took so far."""

    stage: Stage
    condenser: str
    """Empty for stages that no condenser owns."""
    gpu_type: str
    """Empty on CPUs; hours of two types are never added."""
    tasks: int
    gpu_h: float
    cpu_h: float
    kwh: float | None = None
    """None where none was measured or modelled: never 0."""
    grade: str = ""
    """Worst grade among the energy figures: A to D; empty without energy."""


class BudgetLine(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One limit of the run's budget."""

    unit: Literal["gpuh", "cpuh", "kwh"]
    limit: float
    charged: float
    reserved: float = 0.0


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """What a run took so far, planned to take, and may take."""

    source: str = ""
    """`sacct`, `attempts` (no accounting: own diaries), or `records`."""
    lines: list[CostLine] = []
    gpu_h: dict[str, float] = {}
    """Charged, by GPU type."""
    cpu_h: float = 0.0
    kwh: float | None = None
    grade: str = ""
    planned_gpu_h: dict[str, tuple[float, float]] = {}
    """Low and high end for the whole run by GPU type, as far as known."""
    planned_cpu_h: tuple[float, float] | None = None
    budget: list[BudgetLine] = []
    waste_gpu_h: dict[str, float] = {}
    """By cause."""
    waste_cpu_h: dict[str, float] = {}
    """By cause."""


class FailureGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Tasks that failed alike."""

    signature: str
    """Last line of the traceback with numbers, paths and keys taken out; else Slurm's word."""
    example: str
    """That line of the first task, as it was."""
    state: State
    stages: list[Stage]
    slurm_state: str = ""
    """`OUT_OF_MEMORY`, `TIMEOUT`; empty where Slurm did not end it or nobody knows."""
    cause: Literal["infra", "limit", "code", ""] = ""
    """The class by which `condhpc retry --class` names it."""
    nodes: list[str] = []
    keys: list[str] = []
    gpu_h_lost: float | None = None
    """None where nobody knows."""
    cpu_h_lost: float | None = None


class SeedResult(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One evaluation of a cell."""

    set_seed: int | None
    student_seed: int | None
    key: str
    state: State
    top1_pct: float | None = None


class CellResult(msgspec.Struct, frozen=True, kw_only=True):
    """One cell of the results pivot, filled or not."""

    dataset: str
    condenser: str
    ipc: int | None
    protocol: str
    student: str
    planned: int
    n: int
    """Recorded evaluations that the mean is of: those that were read, and could be."""
    pending: int
    """Evaluations that wait or run."""
    failed: int
    """Evaluations that need a person."""
    mean_pct: float | None = None
    sd_pct: float | None = None
    """None below two."""
    over_random_pct: float | None = None
    """Difference to `random` of the same dataset, ipc, protocol and student, in points."""
    is_best: bool = False
    """Highest mean of its dataset, ipc, protocol and student among condensers (reference lines aside)."""
    seeds: list[SeedResult] = []
    measures: dict[str, float] = {}
    """Mean over the cell's sets by name: metrics, and `gpu_h`, `cpu_h`, `kwh` of construction."""


PARTIAL = "costs and results are"
"""How a note begins that is true only until everything has been read and added up."""


class Outlook(msgspec.Struct, frozen=True, kw_only=True):
    """All of it, as of one moment."""

    pace: list[Pace] = []
    left_s: float | None = None
    """Until the run is done at the present pace."""
    calls: SlurmCalls = SlurmCalls()
    costs: Costs = Costs()
    failures: list[FailureGroup] = []
    cells: list[CellResult] = []
    notes: list[str] = []
    """What of this could not be told and why, one line each."""

    @property
    def is_partial(self) -> bool:
        """Whether the next look tells more though nothing happens until then."""
        return any(note.startswith(PARTIAL) for note in self.notes)
