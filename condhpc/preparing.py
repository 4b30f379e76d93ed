"""Reading, checking and planning a manifest, and what submitting it now would do; writes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from condhpc import (
    facts,
    manifest,
    needed,
    outside,
    plan,
    predictions,
    sharding,
    store,
    survey,
)
from condhpc.arrange import Array
from condhpc.facts import Facts
from condhpc.index_cache import IndexCache
from condhpc.layout import Layout
from condhpc.outside import Outside
from condhpc.planned import Plan, Planned
from condhpc.predictions import Need
from condhpc.profile import Profile
from condhpc.runs import PlanLine
from condhpc.scheduler import Slurm
from condhpc.sizing import Sizing
from condhpc.survey import Overview


@dataclass(frozen=True)
class Prepared:
    """A checked and planned manifest, and what submitting it now would do."""

    source: bytes
    """The manifest file's bytes."""
    plan: Plan
    facts: dict[str, Facts]
    outside: tuple[Outside, ...]
    """What it takes from outside."""
    budget: str
    """As the manifest says it; empty without one."""
    profile: Profile
    overview: Overview
    indexes: IndexCache
    """Listings of folders that are not kept under the root yet."""
    needs: Mapping[str, Need]
    """By key, what new tasks need at the most."""
    arrays: list[Array]
    """What would be sent now; empty on this machine."""

    def sizing(self, layout: Layout) -> Sizing:
        """What single tasks need beside their stage, by the plan and by what was not enough before."""
        tasks = ((item.key, item.task.stage, item.label) for item in self.plan.tasks)
        return Sizing(self.needs, needed.more(layout, tasks))


def prepare(path: Path, profile: Profile) -> Prepared:
    """Read, check and plan a manifest; writes nothing. Raises ProblemsError with all problems."""
    loaded = manifest.load(path)
    taken_in = outside.used(loaded)
    profile = outside.with_downloaded((item.name for item in taken_in if item.form == "file"), profile, os.environ)
    indexes = IndexCache(Layout(profile.root))
    found = facts.gather(loaded, profile, indexes.index)
    layout = Layout(profile.root)
    planned = _spread(plan.expand(loaded, found), layout, profile)
    slurm = slurm_of(profile)
    taken = survey.take(planned, layout, slurm, profile.lease_stale_s)
    costs, needs = predictions.forecast(planned, taken.new.keys(), found, profile, layout)
    more = needed.more(layout, ((item.key, item.task.stage, item.label) for item in planned.tasks))
    arrangement, misfits = survey.arranged(taken, profile, slurm, Sizing(needs, more))
    if loaded.precision == "bf16":
        misfits += survey.on_cpus(taken, profile, gpu_here=survey.gpu_here())
    warnings = [*planned.warnings, *outside.problems(taken_in, profile, os.environ), *misfits]
    overview = survey.overview(planned, taken, arrangement, profile, warnings, costs)
    return Prepared(
        source=path.read_bytes(),
        plan=planned,
        facts=found,
        outside=taken_in,
        budget=loaded.budget,
        profile=profile,
        overview=overview,
        indexes=indexes,
        needs=needs,
        arrays=arrangement.arrays,
    )


def require_data(prepared: Prepared) -> None:
    """All data, weights and sets are here; raises ProblemsError with what is not."""
    facts.require(prepared.facts)
    outside.require(prepared.outside, prepared.profile, os.environ)


def _spread(planned: Plan, layout: Layout, profile: Profile) -> Plan:
    """With shards, as many as the profile has, of sets that are not recorded."""
    shards = profile.stage("condense").shards
    return sharding.spread(planned, shards, lambda key: store.is_recorded(layout.task("condense", key)))


def without_shards(tasks: Iterable[Planned | PlanLine]) -> set[str]:
    """Keys: what is planned, however many parts it is made in."""
    return {task.key for task in tasks if task.label.shard is None}


def slurm_of(profile: Profile) -> Slurm | None:
    """What a profile's back-end is asked with; None for local work."""
    return Slurm() if profile.backend == "slurm" else None
