"""A plan against the store, the queue and the cluster's limits: what would be sent, and what will not fit."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from condhpc import arrange, attempt, store
from condhpc.arrange import Arrangement
from condhpc.carbon import Carbon, carbon
from condhpc.efforts import precision_of
from condhpc.errors import InputError
from condhpc.layout import Layout
from condhpc.live import live as live_tasks
from condhpc.planned import Plan
from condhpc.predictions import CostRow
from condhpc.profile import Profile
from condhpc.scheduler import Slurm
from condhpc.sizing import Sizing, partition_of
from condhpc.slurm_limits import Limits
from condhpc.spec import STAGES, CondenseSpec, PrepareSpec, Stage, Task
from condhpc.start_times import Wait

_STEWARDS, _FEW = 2, 8
"""A run's steward and the next one must fit beside its elements, unless so few fit that each counts."""
_GPU_FILES = ("nvidia[0-9]*", "dxg", "kfd")
"""Of NVIDIA's driver, of the same under Windows' Linux, of AMD's."""


class StageRow(msgspec.Struct, frozen=True):
    """One line of the overview."""

    stage: Stage
    new: int
    cached: int
    live: int
    arrays: int
    elements: int
    limits_min: tuple[int | None, ...] = ()
    """Different time limits of these arrays, minutes; None: the partition's default."""


class Overview(msgspec.Struct, frozen=True):
    """What a submission would do."""

    rows: list[StageRow]
    warnings: list[str]
    kept_back: int
    """Tasks that a limit keeps back for `submit --continue`."""
    provisional: bool
    """A dataset is not on this machine: its tasks have other keys where it is."""
    costs: list[CostRow] = []
    """What is to be computed, by stage, condenser and dataset."""
    raised: list[str] = []
    """Tasks that get more than the profile and the plan say, in words."""
    waits: list[Wait] = []
    """When arrays could start; empty where nobody asked."""
    carbon: Carbon | None = None
    """None where the profile does not say what a kWh emits."""


class Survey(msgspec.Struct, frozen=True):
    """The planned tasks against the store and the queue."""

    unrecorded: dict[str, Task]
    """Planned order: inputs first."""
    cached: frozenset[str]
    live: dict[str, str]
    """Key to element id (`608_3`), empty for local work."""

    @property
    def new(self) -> dict[str, Task]:
        """Neither recorded nor computed by anybody."""
        return {key: task for key, task in self.unrecorded.items() if key not in self.live}


def take(planned: Plan, layout: Layout, slurm: Slurm | None, stale_s: float) -> Survey:
    """Look up every planned task; one squeue for all."""
    tasks = {p.key: p.task for p in planned.tasks}
    cached = frozenset(key for key, task in tasks.items() if store.is_recorded(layout.task(task.stage, key)))
    unrecorded = {key: task for key, task in tasks.items() if key not in cached}
    live = {key: held.element for key, held in live_tasks(layout, slurm, stale_s).items() if key in unrecorded}
    return Survey(unrecorded, cached, live)


def arranged(
    survey: Survey, profile: Profile, slurm: Slurm | None, sizing: Sizing | None = None
) -> tuple[Arrangement, list[str]]:
    """The arrays that would be sent now with what they ask for, and what the limits say against the profile."""
    if slurm is None:
        return Arrangement([], ()), []
    limits = slurm.limits()
    size = min(limits.elements_per_array, profile.max_array or limits.elements_per_array)
    bounds = arrange.Limits(profile.max_submissions, size, _room(limits, profile))
    warnings = _misfits(limits, profile, {task.stage for task in survey.new.values()})
    known = sizing or Sizing()
    found = arrange.arrange(survey.new, survey.live, lambda stage: profile.stage(stage).pack, bounds, known.apart)
    arrays = [known.sized(a, profile, partition_of(limits, profile.stage(a.stage))) for a in found.arrays]
    return Arrangement(arrays, found.kept_back), warnings


def _room(limits: Limits, profile: Profile) -> int | None:
    """Elements that fit now: the tightest of the user's submit limit, the profile's and the controller's."""
    default = profile.stage("evaluate")
    submit = limits.max_submit(default.account or "", default.partition or "", default.qos or "")
    if submit is not None and profile.steward.enabled and submit > _FEW:
        submit -= _STEWARDS
    bounds = [b for b in (submit, profile.submit_limit, limits.max_job_count) if b is not None]
    return max(0, min(bounds) - limits.jobs_queued) if bounds else None


def _misfits(limits: Limits, profile: Profile, stages: set[Stage]) -> list[str]:
    """What will not fit: unknown partitions, time limits above the partition's, GPUs that no node has."""
    found = []
    names = sorted(partition.name for partition in limits.partitions)
    for stage in (s for s in STAGES if s in stages):
        wanted = profile.stage(stage)
        partition = partition_of(limits, wanted)
        where = f"profile '{profile.name}', stage {stage}"
        if partition is None:
            found.append(f"{where}: no partition '{wanted.partition or '(default)'}'; there are {names}")
            continue
        if wanted.time_min and partition.max_time_min and wanted.time_min > partition.max_time_min:
            found.append(
                f"{where}: time_min {wanted.time_min} is above the {partition.max_time_min} min of {partition.name}"
            )
        gres = f"gpu:{wanted.gpu_type}" if wanted.gpu_type else "gpu"
        have = max((n for name, n in partition.gres.items() if name == gres or name.startswith(f"{gres}:")), default=0)
        if wanted.gpus > have:
            found.append(f"{where}: wants {wanted.gpus} {gres} per node, {partition.name} has {have}")
    return found


def on_cpus(taken: Survey, profile: Profile, *, gpu_here: bool) -> list[str]:
    """Stages whose new tasks want bf16, which runs on CUDA alone, and get no GPU: they would fail on the node."""
    wanting = {task.stage for task in taken.new.values() if precision_of(task) == "bf16"}
    without = [stage for stage in STAGES if stage in wanting and not _may_have_gpu(profile, stage, gpu_here=gpu_here)]
    if not without:
        return []
    if profile.device == "cpu":
        why = "its device is 'cpu'"
    elif profile.backend == "local":
        why = "this machine shows no GPU"
    else:
        why = "their `gpus` are 0"
    where = f"profile '{profile.name}' has none for {', '.join(without)}: {why}"
    hint = 'give them a GPU, or set precision = "fp32" in the manifest'
    return [f'precision = "bf16" needs CUDA, and {where}; {hint}']


def gpu_here(devices: Path = Path("/dev"), environ: Mapping[str, str] = os.environ) -> bool:
    """Whether this machine shows a GPU that torch could take, without importing torch."""
    if environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in {"", "-1"}:
        return False
    return any(any(devices.glob(pattern)) for pattern in _GPU_FILES)


def _may_have_gpu(profile: Profile, stage: Stage, *, gpu_here: bool) -> bool:
    wanted = profile.stage(stage)
    if profile.device == "cpu":
        return False
    return gpu_here if profile.backend == "local" else wanted.gpus > 0 or "gres" in wanted.sbatch


def overview(
    planned: Plan,
    survey: Survey,
    arrangement: Arrangement,
    profile: Profile,
    warnings: list[str],
    costs: list[CostRow],
) -> Overview:
    """One row per stage of the plan."""
    stages = [stage for stage in STAGES if any(p.task.stage == stage for p in planned.tasks)]
    rows = []
    for stage in stages:
        of_stage = {p.key for p in planned.tasks if p.task.stage == stage}
        arrays = [a for a in arrangement.arrays if a.stage == stage]
        new = len(of_stage & survey.new.keys())
        elements = sum(len(a.packs) for a in arrays) if profile.backend == "slurm" else min(profile.workers, new)
        count = len(arrays) if profile.backend == "slurm" else int(new > 0)
        limits = {a.resources.time_min for a in arrays if a.resources is not None}
        times = tuple(sorted(limits, key=lambda value: value or 0))
        seen = len(of_stage & survey.cached), len(of_stage & survey.live.keys())
        row = StageRow(stage, new, *seen, count, elements, times)
        rows.append(row)
    return Overview(
        rows=rows,
        warnings=warnings,
        kept_back=len(arrangement.kept_back),
        provisional=planned.provisional,
        costs=costs,
        raised=arrange.raised(arrangement.arrays),
        carbon=carbon(costs, profile.energy),
    )


def require_same_code(planned: Plan, survey: Survey, layout: Layout) -> None:
    """Numbers of one version must come from one code: refuse a hit whose plug-in file has changed since."""
    changed: dict[str, int] = {}
    for item in planned.tasks:
        if item.key not in survey.cached or item.task.stage not in {"prepare", "condense", "analyze"}:
            continue
        record = store.read_record(layout.task(item.task.stage, item.key))
        if record is not None and record.environment.get("plugin_code") != attempt.plugin_digest(item.task):
            name = _plugin_name(item.task)
            changed[name] = changed.get(name, 0) + 1
    if changed:
        lines = ", ".join(f"{name} ({count} records)" for name, count in sorted(changed.items()))
        raise InputError(
            f"the code of these plug-ins changed since their results were recorded, at an equal version: {lines}. "
            "Bump `version` in their files if numbers change; if they do not, submit with --accept-code"
        )


def _plugin_name(task: Task) -> str:
    spec = task.spec
    if isinstance(spec, CondenseSpec | PrepareSpec):
        return spec.condenser if isinstance(spec, CondenseSpec) else spec.method
    return str(getattr(spec, "metric", task.stage))
