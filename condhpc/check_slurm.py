"""Whether the cluster takes what the profile asks for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from condhpc import steward_job
from condhpc.check import Check, fail, ok, warn
from condhpc.errors import SchedulerError
from condhpc.layout import Layout
from condhpc.profile import Profile
from condhpc.resources import StageResources
from condhpc.scheduler import Slurm
from condhpc.slurm_limits import Limits, Partition
from condhpc.spec import STAGES


def slurm_checks(profile: Profile, slurm: Slurm) -> Iterator[Check]:
    """Commands, limits, and each stage's resources."""
    if not slurm.available():
        advice = "work on a login node, load the site's Slurm module, or use `--profile local`"
        yield fail("slurm", "no sbatch on PATH", advice)
        return
    try:
        limits = slurm.limits()
    except SchedulerError as error:
        yield fail("slurm", str(error), "run `scontrol ping`; ask the site's support where it says DOWN")
        return
    yield ok("slurm", f"version {limits.slurm_version}, cluster {limits.cluster}")
    if limits.accounting_error:
        yield warn(
            "accounting", limits.accounting_error, "runs work without it; past jobs' costs come from our records"
        )
    yield _array_size(profile, limits)
    yield _submit_limit(profile, limits)
    yield from _stage_checks(profile, limits)
    yield _steward(profile)


def _steward(profile: Profile) -> Check:
    layout = Layout(profile.root)
    words = steward_job.in_words(layout, profile)
    if profile.steward.enabled and steward_job.unavailable(layout, profile):
        return warn("steward", words, f"remove {layout.no_steward} when nodes can submit")
    return ok("steward", words)


def _array_size(profile: Profile, limits: Limits) -> Check:
    largest = min(limits.elements_per_array, profile.max_array or limits.elements_per_array)
    found = f"at most {largest} elements per array (MaxArraySize {limits.max_array_size})"
    if limits.max_array_size < 2:
        return fail("arrays", found, "this cluster has job arrays turned off; ask its support")
    return ok("arrays", found)


def _submit_limit(profile: Profile, limits: Limits) -> Check:
    resources = profile.stage("evaluate")
    bound = limits.max_submit(resources.account or "", resources.partition or "", resources.qos or "")
    bounds = [b for b in (bound, profile.submit_limit, limits.max_job_count) if b is not None]
    room = min(bounds) - limits.jobs_queued
    found = f"{limits.jobs_queued} elements queued, {min(bounds)} allowed"
    if room > 0:
        return ok("submit limit", found)
    return warn("submit limit", found, "wait until some have ended; `submit --continue` sends what was kept back")


def _stage_checks(profile: Profile, limits: Limits) -> Iterator[Check]:
    """One line per distinct resources."""
    stages: dict[str, list[str]] = defaultdict(list)
    for stage in STAGES:
        for problem in list(_stage_problems(profile.stage(stage), limits)) or [""]:
            stages[problem].append(stage)
    for problem, of_stages in stages.items():
        name = f"stages {', '.join(of_stages)}"
        if problem:
            yield fail(name, problem, "correct the profile's [stages.…] blocks; `sinfo` lists what there is")
        else:
            yield ok(name, "partition, time and GPUs fit")


def _stage_problems(wanted: StageResources, limits: Limits) -> Iterator[str]:
    names = ", ".join(p.name for p in limits.partitions)
    for name in (wanted.partition or "").split(",") if wanted.partition else [""]:
        found = [p for p in limits.partitions if (p.name == name if name else p.is_default)]
        if not found:
            yield f"no partition '{name}', there are: {names}" if name else f"no default partition among: {names}"
        for partition in found:
            yield from _partition_problems(wanted, partition)


def _partition_problems(wanted: StageResources, partition: Partition) -> Iterator[str]:
    if not partition.is_up:
        yield f"partition {partition.name} is not up"
    if wanted.time_min and partition.max_time_min and wanted.time_min > partition.max_time_min:
        yield f"time_min {wanted.time_min} is above the {partition.max_time_min} min of {partition.name}"
    gres = f"gpu:{wanted.gpu_type}" if wanted.gpu_type else "gpu"
    most = max((n for name, n in partition.gres.items() if name == gres or name.startswith(f"{gres}:")), default=0)
    if wanted.gpus > most:
        have = ", ".join(f"{name} × {n}" for name, n in sorted(partition.gres.items())) or "no GPUs"
        yield f"wants {wanted.gpus} × {gres} per node, nodes of {partition.name} have at most {have}"
