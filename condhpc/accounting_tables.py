"""The tables of what a run cost: reads its accounts, diaries and records once, and has the rows made."""

from __future__ import annotations

from collections.abc import Sequence

from condhpc import accounts, runs, tries, waste
from condhpc import profile as profiles
from condhpc.attempts_table import ATTEMPTS, WASTE, attempt_rows, queue_s, waste_rows
from condhpc.cost_table import COST, CostTable
from condhpc.errors import InputError, first_few
from condhpc.findings import Row
from condhpc.layout import RunFolder
from condhpc.spec import STAGES, Stage
from condhpc.study import Study
from condhpc.tables import Table
from condhpc.task_costs import task_costs
from condhpc.tries import Try
from condhpc.waste import Spent


def tables(study: Study) -> list[Table]:
    """Costs of sets, attempts as they were charged, and waste; asks nobody, see `accounts.refresh`."""
    run, entries = study.run, study.entries
    held = accounts.read(run)
    sent = {one.intent.name: one.intent for one in runs.submissions(run)}
    tried = (p for p in study.plan if p.key in entries or _may_have_diaries(study.states.get(p.key)))
    found = tries.read(study.layout, tried, entries)
    own = [one for one in found.tries if one.run == run.name and one.element]
    spent, strays = waste.spent(held.charges, own)
    alone = _exclusive_stages(run)
    stages = {name: intent.stage or "" for name, intent in sent.items()}
    negative = dict.fromkeys(key for key, entry in entries.items() if min(entry.cost.values(), default=0.0) < 0.0)
    usable = {key: entry for key, entry in entries.items() if key not in negative} if negative else entries
    costs = CostTable(study.plan, study.lineage, usable, task_costs(study.plan, usable, found.tries))
    told = [f"{entries[key].stage} {key}" for key in negative]
    study.problems.extend(held.problems + found.problems + _oddities(run, spent, found.tries, strays, told))
    charged = attempt_rows(
        spent,
        lambda charge: stages.get(charge.submission, ""),
        lambda charge: stages.get(charge.submission, "") in alone,
    )
    return [
        Table("cost", COST, costs.rows(study.declared, study.states)),
        Table("attempts", ATTEMPTS, charged),
        Table("waste", WASTE, waste_rows(spent)),
    ]


def _may_have_diaries(row: Row | None) -> bool:
    """Not so for what waits or was never sent: asking the disk for each would take longer than all tables."""
    return row is None or row.attempts is not None or row.state not in {"queued", "new"}


def _exclusive_stages(run: RunFolder) -> frozenset[Stage]:
    """Stages whose elements have whole nodes, as far as the run's profile says."""
    try:
        profile = profiles.of_run(run.profile)
    except InputError:
        return frozenset()
    return frozenset(stage for stage in STAGES if profile.stage(stage).sbatch.get("exclusive"))


def _oddities(
    run: RunFolder, spent: Sequence[Spent], found: Sequence[Try], strays: Sequence[Try], negative: Sequence[str]
) -> list[str]:
    """One line for each kind of thing that cannot be."""
    problems = []
    if negative:
        problems.append(
            f"{first_few(negative, 3)}: records with costs below 0, made by other code or by hand; they have no "
            "part in cost.csv and in the costs of sets.csv; delete their folders and submit again to measure anew"
        )
    back = [one for one in found if one.end_s is not None and one.end_s < one.start_s]
    if back:
        problems.append(
            f"{back[0].stage} {back[0].key} and {len(back) - 1} more attempts ended before they started: a node's "
            "clock was set; their time counts as idle"
        )
    if strays:
        problems.append(
            f"{run.accounting}: {len(strays)} attempts at tasks are in no charge (first: {strays[0].stage} "
            f"{strays[0].key}, element {strays[0].element}); their accounting was purged before it was read, "
            "or clocks disagree"
        )
    early = [one.charge for one in spent if one.charge.start_s is not None and queue_s(one.charge) is None]
    early = [charge for charge in early if charge.eligible_s is not None]
    if early:
        problems.append(
            f"{run.accounting}: {early[0].element} and {len(early) - 1} more started before they were eligible: "
            "a clock was set; their wait in the queue is left out"
        )
    return problems
